import { randomUUID } from 'node:crypto';
import { happened, type Written } from '#apps/projector/story.fixture.js';
import type { DeliverableStage, Role } from '#libs/events/catalogue/index.js';
import type { EventLog, NewEvent } from '#libs/events/log/index.js';

const STAGES_AT_ONCE = 8;
const APPEND = 400;
/** Rough size of one stage's history. */
const STAGE_EVENTS = 500;
const STAGES_OF_ORGANISATION = 200;
const PEOPLE = 12;
const ROLES: readonly Role[] = ['PRODUCER', 'ARTIST', 'ARTIST', 'REVIEWER', 'CLIENT'];

interface Organisation {
  readonly organisationId: string;
  readonly users: readonly string[];
  readonly templateId: string;
  readonly projects: readonly string[];
}

/**
 * Writes at least `count` events over all aggregates, as studios leave them: people who come, change and go, projects with
 * members, deliverables and their stages, versions with transcodes, and mostly what is said and drawn about them; refused
 * commands too. Stages go on side by side, each in its order.
 *
 * @returns how many events
 */
export async function writeHistory(log: EventLog, count: number, signal: AbortSignal): Promise<number> {
  let written = 0;
  const write = async (events: readonly Written[]): Promise<void> => {
    // Neighbours of one stream go together.
    for (let i = 0; i < events.length;) {
      signal.throwIfAborted();
      const { stream } = events[i]!;
      const together: NewEvent[] = [];
      while (events[i]?.stream === stream && together.length < APPEND) together.push(events[i++]!.event);
      const result = await log.append(stream, together, 'any');
      if (!result.ok) throw new Error(`an append to ${stream} was refused`);
      written += together.length;
    }
  };
  let organisation: Promise<Organisation> | undefined;
  let begun = 0;
  const next = (): Promise<Organisation> => {
    if (begun++ % STAGES_OF_ORGANISATION === 0) {
      const { events, made } = organisationOf();
      organisation = write(events).then(() => made);
    }
    return organisation!;
  };
  await Promise.all(
    Array.from({ length: STAGES_AT_ONCE }, async () => {
      while (written < count) await write(stageOf(await next(), begun));
    }),
  );
  return written;
}

function organisationOf(): { events: Written[]; made: Organisation } {
  const organisationId = randomUUID();
  const templateId = randomUUID();
  const users = Array.from({ length: PEOPLE }, () => randomUUID());
  const projects = [randomUUID(), randomUUID()];
  const by = { by: users[0]! };
  const [promoted, gone] = [users[1]!, users[2]!];
  return {
    made: { organisationId, templateId, users, projects },
    events: [
      happened('OrganisationCreated', { organisationId }, by),
      ...users.map((userId, i) =>
        happened('UserRegistered', {
          organisationId,
          userId,
          name: `Person ${i}`,
          email: `${userId}@studio.example`,
          role: ROLES[i % ROLES.length]!,
        }),
      ),
      happened('UserRoleChanged', { organisationId, userId: promoted, from: 'ARTIST', to: 'PRODUCER' }, by),
      happened('UserDeactivated', { organisationId, userId: gone }, by),
      happened('UserReactivated', { organisationId, userId: gone }, by),
      happened('PipelineTemplateCreated', { organisationId, templateId }, by),
      ...projects.flatMap((projectId, i) => [
        happened('ProjectCreated', { organisationId, projectId, templateId, name: `Film ${i}`, code: `F${i}` }, by),
        ...users.slice(3).map((userId) => happened('ProjectMemberAdded', { organisationId, projectId, userId }, by)),
      ]),
    ],
  };
}

/** One stage of one deliverable: an upload, its transcode, a long review, a decision, and commands that were refused. */
function stageOf({ organisationId, users, templateId, projects }: Organisation, n: number): Written[] {
  const projectId = projects[n % projects.length]!;
  const [deliverableId, stackId, versionId] = [randomUUID(), randomUUID(), randomUUID()];
  const of = { organisationId, projectId, deliverableId };
  const on = { ...of, stackId, versionId };
  const user = (i: number): string => users[3 + (i % (users.length - 3))]!;
  const by = { by: user(n) };
  const stage = { ...of, stageId: stackId };
  const review: Written[] = [];
  for (let i = 0; review.length < STAGE_EVENTS - 30; i++) {
    const commentId = randomUUID();
    const annotationId = randomUUID();
    const author = { by: user(i) };
    const text = `Note ${i}: the horizon tilts to the left here, as it did in the take before`;
    review.push(
      happened('CommentAdded', { ...on, commentId, text, mentions: i % 7 === 0 ? [user(i + 1)] : [] }, author),
      happened('AnnotationAdded', { ...on, annotationId, commentId }, author),
    );
    if (i % 6 === 0) review.push(happened('CommentResolved', { ...on, commentId }, by));
    if (i % 9 === 0) review.push(happened('CommentEdited', { ...on, commentId, from: text, to: `${text}.` }, author));
    if (i % 14 === 0) review.push(happened('AnnotationRemoved', { ...on, annotationId, commentId }, author));
    if (i % 23 === 0) review.push(happened('CommentDeleted', { ...on, commentId }, author));
  }
  const refused = happened('CommandRefused', { organisationId, userId: user(n), stream: `version-${versionId}` }, by);
  return [
    happened('DeliverableCreated', { ...of, templateId, stages: [stageCalled(stackId)] }, by),
    happened('StageAssigned', { ...stage, userId: user(n) }, by),
    happened('VersionOpened', on, by),
    happened('VersionUploaded', { ...on, number: 1, supersedes: null }, by),
    happened('StageVersionRecorded', { ...stage, versionId, outcome: 'PENDING' }, by),
    happened('StageStateChanged', { ...stage, from: 'READY', to: 'IN_REVIEW', cause: 'UPLOAD', versionId }, by),
    happened('TranscodeCompleted', on, { by: null, role: 'SERVICE' }),
    ...review,
    happened(
      'DecisionRecorded',
      { ...on, decisionId: randomUUID(), reviewerId: user(n), verdict: 'APPROVED', supersedes: null },
      by,
    ),
    happened('VersionOutcomeChanged', { ...on, to: 'APPROVED' }, by),
    ...Array.from({ length: 12 }, () => ({
      stream: `audit-${organisationId}-2026-03`,
      event: { ...refused.event, id: randomUUID(), metadata: { ...refused.event.metadata, commandId: randomUUID() } },
    })),
    happened('StageVersionRecorded', { ...stage, versionId, outcome: 'APPROVED' }, by),
    happened('StageStateChanged', { ...stage, from: 'IN_REVIEW', to: 'APPROVED', cause: 'DECISION', versionId }, by),
  ];
}

const stageCalled = (stageId: string): DeliverableStage => ({
  stageId,
  key: 'edit',
  name: 'Edit',
  dependsOn: [],
  completesOn: 'APPROVAL',
  approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
  labels: {},
  state: 'READY',
});
