import type { AnyEvent, EventType, RecordedEvent } from '#libs/events/catalogue/index.js';
import { ERASED_PERSON } from '#libs/events/catalogue/index.js';
import type { Step } from './timeline.js';

type DataOf<T extends EventType> = Extract<AnyEvent, { type: T }>['data'];

/** What a sentence may know besides the event. */
interface Knows {
  /** Name of a person as it is now. */
  person(id: string): string;
  stage(id: string): string;
  /** Words of a comment before the event, quoted. */
  comment(id: string): string;
}

const MAX_QUOTE = 200;
const quote = (text: string): string => `“${text.length > MAX_QUOTE ? `${text.slice(0, MAX_QUOTE)}…` : text}”`;
const words = (constant: string): string => constant.toLowerCase().replaceAll('_', ' ');
const because = (reason: string | null | undefined): string => (reason ? `: ${quote(reason)}` : '');
const frames = (range: { in: number; out: number } | null): string =>
  !range ? '' : range.in === range.out ? ` at frame ${range.in}` : ` at frames ${range.in} to ${range.out}`;

const compared = ({ number, referenceId, filename }: DataOf<'ComparisonRequested'>['to']): string =>
  referenceId === null ? `version ${number}` : `the reference ${quote(filename)}`;

/** What comes after the name of who did it. A new event type needs its sentence here. */
const SENTENCES: { readonly [T in EventType]: (data: DataOf<T>, knows: Knows) => string } = {
  OrganisationCreated: ({ name }) => `founded ${quote(name)}`,
  UserRegistered: ({ role, userId }, { person }) => `registered ${person(userId)} as ${words(role)}`,
  UserRoleChanged: ({ userId, from, to }, { person }) =>
    `changed the role of ${person(userId)}: ${words(from)} → ${words(to)}`,
  UserDeactivated: ({ userId, reason }, { person }) => `deactivated ${person(userId)}${because(reason)}`,
  UserReactivated: ({ userId }, { person }) => `reactivated ${person(userId)}`,
  PersonErased: () => 'had all that is personal about this person erased',
  PipelineTemplateCreated: ({ name, stages }) =>
    `created the pipeline ${quote(name)}: ${stages.map((stage) => stage.name).join(' → ')}`,
  PipelineTemplateArchived: () => 'archived the pipeline',
  ProjectCreated: ({ name, code }) => `created the project ${quote(name)} (${code})`,
  ProjectRenamed: ({ from, to }) => `renamed the project: ${quote(from)} → ${quote(to)}`,
  ProjectArchived: () => 'archived the project',
  ProjectMemberAdded: ({ userId }, { person }) => `made ${person(userId)} a member`,
  ProjectMemberRemoved: ({ userId }, { person }) => `took ${person(userId)} off the project`,
  DeliverableCreated: ({ name, stages }) => `created the deliverable ${quote(name)} with ${stages.length} stages`,
  StageAssigned: ({ stageId, userId }, { person, stage }) => `assigned ${stage(stageId)} to ${person(userId)}`,
  StageUnassigned: ({ stageId, userId }, { person, stage }) => `took ${stage(stageId)} from ${person(userId)}`,
  StageStateChanged: ({ stageId, from, to, cause, reason }, { stage }) =>
    `moved ${stage(stageId)}: ${words(from)} → ${words(to)}${cause === 'MANUAL' ? '' : ` (${words(cause)})`}${because(reason)}`,
  StageVersionRecorded: ({ stageId, versionId }, { stage }) =>
    versionId === null ? `left ${stage(stageId)} without a version` : `noted the newest version of ${stage(stageId)}`,
  VersionUploaded: ({ number, filename }) => `uploaded version ${number}: ${quote(filename)}`,
  VersionWithdrawn: ({ number, reason }) => `withdrew version ${number}${because(reason)}`,
  VersionOpened: ({ filename }) => `opened the version with ${quote(filename)}`,
  VersionClosed: ({ reason, text }) => `closed the version (${words(reason)})${because(text)}`,
  VersionReopened: () => 'made the version current again',
  CommentAdded: ({ text, parentId, range }) =>
    `${parentId ? 'answered' : 'commented'}${frames(range)}${text ? `: ${quote(text)}` : ' without words'}`,
  CommentEdited: ({ from, to }) => `changed a comment: ${quote(from)} → ${quote(to)}`,
  CommentDeleted: ({ commentId }, { comment }) => `deleted the comment ${comment(commentId)}`,
  CommentResolved: ({ commentId }, { comment }) => `resolved the comment ${comment(commentId)}`,
  CommentReopened: ({ commentId }, { comment }) => `reopened the comment ${comment(commentId)}`,
  AnnotationAdded: ({ shape, range }) => `drew a ${words(shape.kind)}${frames(range)}`,
  AnnotationRemoved: () => 'removed a drawing',
  AnnotationRestored: () => 'brought a drawing back',
  ReferenceAttached: ({ filename, note }) => `attached the reference ${quote(filename)}${because(note)}`,
  ReferenceDetached: () => 'took a reference away',
  DecisionRecorded: ({ verdict, text, supersedes }) =>
    `decided ${words(verdict)}${supersedes ? ', in place of an earlier decision' : ''}${because(text)}`,
  DecisionWithdrawn: ({ reason }) => `took the decision back${because(reason)}`,
  VersionOutcomeChanged: ({ from, to }) => `brought the outcome: ${words(from)} → ${words(to)}`,
  TranscodeCompleted: ({ files }) => `finished the review copies (${files.length} files)`,
  TranscodeFailed: ({ reason }) => `could not make the review copies${because(reason)}`,
  TranscodeRetried: () => 'asked for the review copies again',
  ComparisonRequested: ({ from, to }) => `asked how ${compared(to)} differs from ${compared(from)}`,
  ComparisonCompleted: ({ ranges }) => {
    const different = ranges.filter(({ kind }) => kind !== 'SAME').length;
    if (different === 0) return 'found no difference between the two';
    return `found ${different} ${different === 1 ? 'range of frames that differs' : 'ranges of frames that differ'}`;
  },
  ComparisonFailed: ({ reason }) => `could not compare the two${because(reason)}`,
  CommandRefused: ({ commandType, code }) => `was refused ${commandType} (${code})`,
};

/** People an event names, who acted first. */
export function peopleIn({ data, metadata }: RecordedEvent): string[] {
  const { userId } = data as { userId?: string };
  return [metadata.actor.userId, userId].filter((id) => typeof id === 'string');
}

/** One event in words: who, what, old → new. Only names are looked up; all else is what the event and its entity knew. */
export function sentenceOf({ event, before, after }: Step, nameOf: (id: string) => string | undefined): string {
  const { userId } = event.metadata.actor;
  const person = (id: string): string => nameOf(id) ?? 'somebody';
  const named = after as { stages?: readonly { stageId: string; name: string }[] } | null;
  const was = before as { comments?: { get(id: string): { text: string } | undefined } } | null;
  const what = SENTENCES[event.type as EventType] as (data: unknown, knows: Knows) => string;
  const who = userId === null ? 'The system' : (nameOf(userId) ?? ERASED_PERSON);
  return `${who} ${what(event.data, {
    person,
    stage: (id) => quote(named?.stages?.find(({ stageId }) => stageId === id)?.name ?? id),
    comment: (id) => quote(was?.comments?.get(id)?.text ?? ''),
  })}.`;
}
