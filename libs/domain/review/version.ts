/**
 * One version: its comments, annotations, references and decisions, and the lock. Stream `version-<versionId>`.
 *
 * After `VersionClosed` nothing is accepted but resolving and reopening feedback, so locking needs no look at the
 * stack.
 */
import { z } from 'zod';
import {
  AnnotationAdded,
  CommentAdded,
  DecisionRecorded,
  DecisionWithdrawn,
  id,
  isRefusal,
  ReferenceAttached,
  VersionClosed,
  VersionOpened,
  type ApprovalPolicy,
  type CommandMeta,
  type Decider,
  type FrameRange,
  type Outcome,
  type Refusal,
  type Role,
  type Verdict,
  type VersionEvent,
} from '#libs/events/catalogue/index.js';
import { can } from '../identity/permissions.js';
import { alreadyThere, isBlank, isOf, notFound, refused, type CommandsOf } from '../kit.js';
import { snapshots } from '../snapshot.js';
import { PersistentMap } from '../persistentMap.js';

const annotation = AnnotationAdded.schema.pick({ annotationId: true, range: true, shape: true, style: true });
const commentRef = z.object({ versionId: id, commentId: id });
const annotationRef = z.object({ versionId: id, annotationId: id });

export const commands = {
  /** The organisation comes from the envelope. */
  OpenVersion: VersionOpened.schema.omit({ organisationId: true }),
  /** `by` names the newer version and is required when the reason is `SUPERSEDED`. */
  CloseVersion: VersionClosed.schema
    .pick({ versionId: true, reason: true, by: true, text: true })
    .refine(({ reason, by }) => reason === 'WITHDRAWN' || by !== null, {
      path: ['by'],
      message: 'A superseded version names the newer one.',
    }),
  /**
   * The version is current again. `withdrawn` names the newer versions of the stack that were withdrawn: the lock
   * opens only when all that ever closed it are among them, so that a late reopening can't undo a newer upload.
   */
  ReopenVersion: z.object({ versionId: id, withdrawn: z.array(id).min(1) }),
  /** `referenceId` is a new id; the bytes are in the organisation's blobs already. */
  AttachReference: ReferenceAttached.schema.omit({
    organisationId: true,
    projectId: true,
    stackId: true,
    attachedBy: true,
  }),
  DetachReference: z.object({ versionId: id, referenceId: id }),
  /** The words may be empty when there is an annotation. */
  AddComment: CommentAdded.schema
    .pick({ versionId: true, commentId: true, parentId: true, text: true, range: true, mentions: true })
    .extend({
      parentId: id.nullable().default(null),
      range: CommentAdded.schema.shape.range.default(null),
      mentions: CommentAdded.schema.shape.mentions.default([]),
      annotations: z.array(annotation).max(200).default([]),
    }),
  EditComment: CommentAdded.schema
    .pick({ versionId: true, commentId: true, text: true })
    .extend({ mentions: CommentAdded.schema.shape.mentions.default([]) }),
  DeleteComment: commentRef,
  ResolveComment: commentRef,
  ReopenComment: commentRef,
  AddAnnotation: annotation.extend({ versionId: id, commentId: id }),
  RemoveAnnotation: annotationRef,
  RestoreAnnotation: annotationRef,
  RecordDecision: DecisionRecorded.schema
    .pick({ versionId: true, decisionId: true, verdict: true, text: true })
    .extend({ text: DecisionRecorded.schema.shape.text.default('') }),
  WithdrawDecision: DecisionWithdrawn.schema.pick({ versionId: true, decisionId: true, reason: true }),
};
export type VersionCommand = CommandsOf<typeof commands>;

export interface Comment {
  readonly authorId: string;
  readonly text: string;
  readonly mentions: readonly string[];
  readonly resolved: boolean;
  readonly deleted: boolean;
}
export interface Annotation {
  readonly commentId: string;
  readonly authorId: string;
  readonly removed: boolean;
}
/** What was laid beside the version. */
export interface Reference {
  readonly attachedBy: string;
  readonly detached: boolean;
}
export interface Decision {
  readonly decisionId: string;
  readonly reviewerId: string;
  readonly reviewerRole: Role;
  readonly verdict: Verdict;
}

/**
 * Immutable; comments, annotations, references and decisions by id live in {@link PersistentMap}s, so folding one event takes
 * constant time however many there are, and an older state stays readable after newer ones were made from it.
 */
export type VersionState = {
  readonly versionId: string;
  readonly stackId: string;
  readonly deliverableId: string;
  readonly projectId: string;
  readonly organisationId: string;
  /** Moving picture and sound have a timeline, stills have none. */
  readonly kind: 'VIDEO' | 'AUDIO' | 'IMAGE';
  /** Number of frames; null for sound and stills, or when the probe could not tell. */
  readonly frames: number | null;
  readonly approvalPolicy: ApprovalPolicy;
  /** Why the version is read-only, and the newer versions that closed it, latest last; null while it is open. */
  readonly closed: { readonly reason: 'SUPERSEDED' | 'WITHDRAWN'; readonly by: readonly string[] } | null;
  readonly comments: PersistentMap<string, Comment>;
  readonly annotations: PersistentMap<string, Annotation>;
  readonly references: PersistentMap<string, Reference>;
  /** Every decision ever made, by id. */
  readonly decisions: PersistentMap<string, Decision & { readonly withdrawn: boolean }>;
  /** The one that stands, by reviewer. */
  readonly standing: ReadonlyMap<string, Decision>;
  readonly outcome: Outcome;
} | null;

type Existing = NonNullable<VersionState>;
type Result = readonly VersionEvent[] | Refusal;
type Data<T extends VersionCommand['type']> = Extract<VersionCommand, { type: T }>['data'];
type Path = readonly (string | number)[];

/**
 * What the standing decisions come to: one rejection rejects, else one wish for changes asks for changes, else the
 * policy says whether the approvals are enough.
 */
export function outcomeOf(standing: Iterable<Decision>, policy: ApprovalPolicy): Outcome {
  const decisions = [...standing];
  if (decisions.some(({ verdict }) => verdict === 'REJECTED')) return 'REJECTED';
  if (decisions.some(({ verdict }) => verdict === 'CHANGES_REQUESTED')) return 'CHANGES_REQUESTED';
  // Only approvals are left.
  return isMet(policy, decisions) ? 'APPROVED' : 'PENDING';
}

function isMet(policy: ApprovalPolicy, approvals: readonly Decision[]): boolean {
  switch (policy.kind) {
    case 'ANY':
      return approvals.length > 0;
    case 'ALL_REQUIRED':
      return policy.reviewers.every((reviewer) => approvals.some(({ reviewerId }) => reviewerId === reviewer));
    case 'ROLES':
      return policy.roles.every((role) => approvals.some(({ reviewerRole }) => reviewerRole === role));
  }
}

const refOf = ({ versionId, stackId, projectId, organisationId }: Existing) => ({
  versionId,
  stackId,
  projectId,
  organisationId,
});

function locked({ versionId, closed }: Existing): Refusal {
  const by = closed?.by.at(-1) ?? null;
  const why = by === null ? 'it was withdrawn' : 'a newer one has taken its place';
  return refused('VERSION_LOCKED', `This version is read-only: ${why}.`, { details: { versionId, by } });
}

const textRequired = (message: string): Refusal => refused('TEXT_REQUIRED', message, { path: ['text'] });
const actorRequired = (): Refusal => refused('ACTOR_REQUIRED', 'Only a person can do this.');

/** Frames count from 0 and both ends are included, so the last frame is `frames - 1`. */
function checkRange({ kind, frames }: Existing, range: FrameRange | null, path: Path): Refusal | null {
  if (range === null) return null;
  if (kind === 'IMAGE') return refused('NO_TIMELINE', 'A still image has no frames to point at.', { path });
  if (range.in > range.out) {
    return refused('INVALID_RANGE', 'The range ends before it begins.', { path: [...path, 'out'] });
  }
  if (frames !== null && range.out >= frames) {
    return refused('FRAME_OUT_OF_RANGE', `The last frame is ${frames - 1}.`, {
      path: [...path, 'out'],
      details: { frames },
    });
  }
  return null;
}

/** The comment, or why nothing can be done with it. */
function findComment(state: Existing, commentId: string, path: Path): Comment | Refusal {
  const comment = state.comments.get(commentId);
  if (!comment) return refused('COMMENT_NOT_FOUND', 'The version has no such comment.', { path });
  if (comment.deleted) return refused('COMMENT_DELETED', 'The comment was deleted.', { path });
  return comment;
}

const taken = (what: string, path: Path): Refusal =>
  refused('ALREADY_EXISTS', `The id of this ${what} is taken.`, { path });

function close(state: Existing, { reason, by, text }: Data<'CloseVersion'>): Result {
  const { closed } = state;
  if (reason === 'WITHDRAWN') {
    if (closed) return closed.reason === 'WITHDRAWN' ? [] : locked(state);
    if (state.decisions.size > 0) {
      return refused('VERSION_DECIDED', 'Somebody has decided on this version: it can’t be withdrawn any more.');
    }
  } else if (closed) {
    // The stack must first say which version is current instead.
    if (closed.reason === 'WITHDRAWN') return withdrawn();
    if (by !== null && closed.by.includes(by)) return [];
  }
  return [{ type: 'VersionClosed', data: { ...refOf(state), reason, by, text } }];
}

const withdrawn = (): Refusal => refused('VERSION_WITHDRAWN', 'This version was withdrawn for good.');

function reopen(state: Existing, { withdrawn: gone }: Data<'ReopenVersion'>): Result {
  const { closed } = state;
  if (!closed) return [];
  if (closed.reason === 'WITHDRAWN') return withdrawn();
  // A version that was not withdrawn has closed this one too: it stays closed.
  if (!closed.by.every((by) => gone.includes(by))) return [];
  return [{ type: 'VersionReopened', data: refOf(state) }];
}

function addComment(state: Existing, data: Data<'AddComment'>, authorId: string): Result {
  const { commentId, parentId, text, range, mentions, annotations } = data;
  if (state.comments.has(commentId)) return taken('comment', ['commentId']);
  if (parentId !== null) {
    const parent = findComment(state, parentId, ['parentId']);
    if (isRefusal(parent)) return parent;
  }
  if (isBlank(text) && annotations.length === 0) return textRequired('A comment without a drawing needs words.');
  const refusal = checkRange(state, range, ['range']);
  if (refusal) return refusal;
  const ref = refOf(state);
  const events: VersionEvent[] = [
    { type: 'CommentAdded', data: { ...ref, commentId, authorId, parentId, text, range, mentions } },
  ];
  const ids = new Set<string>();
  for (const [i, annotation] of annotations.entries()) {
    const path = ['annotations', i];
    const { annotationId } = annotation;
    if (state.annotations.has(annotationId) || ids.has(annotationId)) {
      return taken('annotation', [...path, 'annotationId']);
    }
    ids.add(annotationId);
    const wrong = checkRange(state, annotation.range, [...path, 'range']);
    if (wrong) return wrong;
    events.push({ type: 'AnnotationAdded', data: { ...ref, ...annotation, commentId, authorId } });
  }
  return events;
}

function editComment(state: Existing, data: Data<'EditComment'>, userId: string | null): Result {
  const { commentId, text, mentions } = data;
  const comment = findComment(state, commentId, ['commentId']);
  if (isRefusal(comment)) return comment;
  if (comment.authorId !== userId) return refused('NOT_AUTHOR', 'Only its author can edit a comment.');
  if (isBlank(text)) return textRequired('A comment cannot be emptied; delete it instead.');
  const same = text === comment.text && mentions.join() === comment.mentions.join();
  if (same) return [];
  return [{ type: 'CommentEdited', data: { ...refOf(state), commentId, from: comment.text, to: text, mentions } }];
}

function deleteComment(state: Existing, { commentId }: Data<'DeleteComment'>, { actor }: CommandMeta): Result {
  const comment = state.comments.get(commentId);
  if (comment?.deleted) return [];
  if (!comment) return findComment(state, commentId, ['commentId']) as Refusal;
  if (comment.authorId !== actor.userId && !can(actor.role, 'comment.moderate')) {
    return refused('NOT_AUTHOR', 'Only its author, a producer or an administrator can delete a comment.');
  }
  return [{ type: 'CommentDeleted', data: { ...refOf(state), commentId } }];
}

/** Dealing with feedback goes on after a newer round has begun (RV-02), but not on what was withdrawn. */
function settleComment(
  state: Existing,
  { type, data: { commentId } }: { type: 'ResolveComment' | 'ReopenComment'; data: { commentId: string } },
): Result {
  if (state.closed?.reason === 'WITHDRAWN') return locked(state);
  const comment = findComment(state, commentId, ['commentId']);
  if (isRefusal(comment)) return comment;
  const resolved = type === 'ResolveComment';
  if (comment.resolved === resolved) return [];
  return [{ type: resolved ? 'CommentResolved' : 'CommentReopened', data: { ...refOf(state), commentId } }];
}

function addAnnotation(state: Existing, data: Data<'AddAnnotation'>, authorId: string): Result {
  const { annotationId, commentId, range, shape, style } = data;
  if (state.annotations.has(annotationId)) return taken('annotation', ['annotationId']);
  const comment = findComment(state, commentId, ['commentId']);
  if (isRefusal(comment)) return comment;
  const refusal = checkRange(state, range, ['range']);
  if (refusal) return refusal;
  return [
    { type: 'AnnotationAdded', data: { ...refOf(state), annotationId, commentId, authorId, range, shape, style } },
  ];
}

function switchAnnotation(
  state: Existing,
  { type, data: { annotationId } }: { type: 'RemoveAnnotation' | 'RestoreAnnotation'; data: { annotationId: string } },
  { actor }: CommandMeta,
): Result {
  const path = ['annotationId'];
  const annotation = state.annotations.get(annotationId);
  if (!annotation) return refused('ANNOTATION_NOT_FOUND', 'The version has no such annotation.', { path });
  const { commentId, authorId } = annotation;
  const comment = findComment(state, commentId, path);
  if (isRefusal(comment)) return comment;
  if (authorId !== actor.userId && !can(actor.role, 'annotation.moderate')) {
    return refused('NOT_AUTHOR', 'Only its author or an administrator can take a drawing away or bring it back.');
  }
  const removed = type === 'RemoveAnnotation';
  if (annotation.removed === removed) return [];
  return [
    {
      type: removed ? 'AnnotationRemoved' : 'AnnotationRestored',
      data: { ...refOf(state), annotationId, commentId },
    },
  ];
}

/** The event and, in the same append, the outcome when it changes. */
function withOutcome(state: Existing, event: VersionEvent): VersionEvent[] {
  const after = evolve(state, event) as Existing;
  const { outcome: from } = state;
  const to = outcomeOf(after.standing.values(), state.approvalPolicy);
  if (from === to) return [event];
  const { deliverableId } = state;
  return [event, { type: 'VersionOutcomeChanged', data: { ...refOf(state), deliverableId, from, to } }];
}

/** References that may lie beside one version at a time. */
export const MAX_REFERENCES = 20;

function attachReference(state: Existing, data: Data<'AttachReference'>, attachedBy: string): Result {
  const { referenceId, filename, blob, media, note } = data;
  if (state.references.has(referenceId)) return taken('reference', ['referenceId']);
  const attached = state.references.entries().filter(([, { detached }]) => !detached).length;
  if (attached >= MAX_REFERENCES) {
    return refused('TOO_MANY_REFERENCES', `${MAX_REFERENCES} references lie beside this version already.`, {
      details: { limit: MAX_REFERENCES },
    });
  }
  return [
    { type: 'ReferenceAttached', data: { ...refOf(state), referenceId, attachedBy, filename, blob, media, note } },
  ];
}

function detachReference(state: Existing, { referenceId }: Data<'DetachReference'>, { actor }: CommandMeta): Result {
  const reference = state.references.get(referenceId);
  if (!reference) {
    return refused('REFERENCE_NOT_FOUND', 'The version has no such reference.', { path: ['referenceId'] });
  }
  if (reference.attachedBy !== actor.userId && !can(actor.role, 'reference.moderate')) {
    return refused('NOT_AUTHOR', 'Only who attached it, a producer or an administrator can take a reference away.');
  }
  if (reference.detached) return [];
  return [{ type: 'ReferenceDetached', data: { ...refOf(state), referenceId } }];
}

function recordDecision(
  state: Existing,
  { decisionId, verdict, text }: Data<'RecordDecision'>,
  reviewerId: string,
  reviewerRole: Role,
): Result {
  if (state.decisions.has(decisionId)) return taken('decision', ['decisionId']);
  if (verdict !== 'APPROVED' && isBlank(text)) {
    return textRequired(verdict === 'REJECTED' ? 'Say why it is rejected.' : 'Say what should change.');
  }
  const supersedes = state.standing.get(reviewerId)?.decisionId ?? null;
  return withOutcome(state, {
    type: 'DecisionRecorded',
    data: { ...refOf(state), decisionId, reviewerId, reviewerRole, verdict, text, supersedes },
  });
}

function withdrawDecision(state: Existing, data: Data<'WithdrawDecision'>, { actor }: CommandMeta): Result {
  const { decisionId, reason } = data;
  const path = ['decisionId'];
  const decision = state.decisions.get(decisionId);
  if (!decision) return refused('DECISION_NOT_FOUND', 'The version has no such decision.', { path });
  const { reviewerId } = decision;
  if (reviewerId !== actor.userId) return refused('NOT_AUTHOR', 'Only who decided can take the decision back.');
  if (decision.withdrawn) return [];
  if (state.standing.get(reviewerId)?.decisionId !== decisionId) {
    return refused('DECISION_SUPERSEDED', 'A later decision has taken its place already.', { path });
  }
  return withOutcome(state, {
    type: 'DecisionWithdrawn',
    data: { ...refOf(state), decisionId, reviewerId, reason },
  });
}

function decide(command: VersionCommand, state: VersionState): Result {
  const { meta } = command;
  if (command.type === 'OpenVersion') {
    if (state) return alreadyThere('version', state, meta);
    return [{ type: 'VersionOpened', data: { ...command.data, organisationId: meta.organisationId } }];
  }
  if (!isOf(state, meta)) return notFound('version');
  switch (command.type) {
    case 'CloseVersion':
      return close(state, command.data);
    case 'ReopenVersion':
      return reopen(state, command.data);
    case 'ResolveComment':
    case 'ReopenComment':
      return settleComment(state, command);
  }
  // The lock: nothing below is accepted on a version that is not current.
  if (state.closed) return locked(state);
  const { userId, role } = meta.actor;
  switch (command.type) {
    case 'AddComment':
      return userId === null ? actorRequired() : addComment(state, command.data, userId);
    case 'EditComment':
      return editComment(state, command.data, userId);
    case 'DeleteComment':
      return deleteComment(state, command.data, meta);
    case 'AddAnnotation':
      return userId === null ? actorRequired() : addAnnotation(state, command.data, userId);
    case 'RemoveAnnotation':
    case 'RestoreAnnotation':
      return switchAnnotation(state, command, meta);
    case 'AttachReference':
      return userId === null ? actorRequired() : attachReference(state, command.data, userId);
    case 'DetachReference':
      return detachReference(state, command.data, meta);
    case 'RecordDecision':
      return userId === null ? actorRequired() : recordDecision(state, command.data, userId, role);
    case 'WithdrawDecision':
      return withdrawDecision(state, command.data, meta);
  }
}

function evolve(state: VersionState, event: VersionEvent): VersionState {
  if (event.type === 'VersionOpened') {
    const { versionId, stackId, deliverableId, projectId, organisationId, media, approvalPolicy } = event.data;
    return {
      versionId,
      stackId,
      deliverableId,
      projectId,
      organisationId,
      kind: media.kind,
      frames: media.kind === 'VIDEO' ? media.durationFrames : null,
      approvalPolicy,
      closed: null,
      comments: new PersistentMap(),
      annotations: new PersistentMap(),
      references: new PersistentMap(),
      decisions: new PersistentMap(),
      standing: new Map(),
      outcome: 'PENDING',
    };
  }
  if (!state) return state;
  switch (event.type) {
    case 'VersionClosed': {
      const { reason, by } = event.data;
      return { ...state, closed: { reason, by: [...(state.closed?.by ?? []), ...(by === null ? [] : [by])] } };
    }
    case 'VersionReopened':
      return { ...state, closed: null };
    case 'CommentAdded': {
      const { commentId, authorId, text, mentions } = event.data;
      const comment: Comment = { authorId, text, mentions, resolved: false, deleted: false };
      return { ...state, comments: state.comments.set(commentId, comment) };
    }
    case 'CommentEdited':
      return withComment(state, event.data.commentId, { text: event.data.to, mentions: event.data.mentions });
    case 'CommentDeleted':
      return withComment(state, event.data.commentId, { deleted: true });
    case 'CommentResolved':
      return withComment(state, event.data.commentId, { resolved: true });
    case 'CommentReopened':
      return withComment(state, event.data.commentId, { resolved: false });
    case 'AnnotationAdded': {
      const { annotationId, commentId, authorId } = event.data;
      return { ...state, annotations: state.annotations.set(annotationId, { commentId, authorId, removed: false }) };
    }
    case 'AnnotationRemoved':
      return withAnnotation(state, event.data.annotationId, true);
    case 'AnnotationRestored':
      return withAnnotation(state, event.data.annotationId, false);
    case 'ReferenceAttached': {
      const { referenceId, attachedBy } = event.data;
      return { ...state, references: state.references.set(referenceId, { attachedBy, detached: false }) };
    }
    case 'ReferenceDetached': {
      const { referenceId } = event.data;
      const reference = state.references.get(referenceId);
      if (!reference) return state;
      return { ...state, references: state.references.set(referenceId, { ...reference, detached: true }) };
    }
    case 'DecisionRecorded': {
      const { decisionId, reviewerId, reviewerRole, verdict } = event.data;
      const decision: Decision = { decisionId, reviewerId, reviewerRole, verdict };
      return {
        ...state,
        decisions: state.decisions.set(decisionId, { ...decision, withdrawn: false }),
        standing: new Map(state.standing).set(reviewerId, decision),
      };
    }
    case 'DecisionWithdrawn': {
      const { decisionId, reviewerId } = event.data;
      const decision = state.decisions.get(decisionId);
      const standing = new Map(state.standing);
      standing.delete(reviewerId);
      const decisions = decision ? state.decisions.set(decisionId, { ...decision, withdrawn: true }) : state.decisions;
      return { ...state, decisions, standing };
    }
    case 'VersionOutcomeChanged':
      return { ...state, outcome: event.data.to };
    default:
      return state;
  }
}

function withComment(state: Existing, commentId: string, change: Partial<Comment>): VersionState {
  const comment = state.comments.get(commentId);
  return comment ? { ...state, comments: state.comments.set(commentId, { ...comment, ...change }) } : state;
}

function withAnnotation(state: Existing, annotationId: string, removed: boolean): VersionState {
  const annotation = state.annotations.get(annotationId);
  if (!annotation) return state;
  return { ...state, annotations: state.annotations.set(annotationId, { ...annotation, removed }) };
}

export const versionDecider: Decider<VersionState, VersionCommand, VersionEvent> = {
  category: 'version',
  initialState: null,
  snapshot: snapshots(2),
  decide,
  evolve,
};
