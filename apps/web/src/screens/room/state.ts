/**
 * What one open stack knows: a snapshot, and every message of `stackChanged` after it. Pure.
 *
 * A message carries its entity's state at its position or newer, so putting it in place is idempotent; positions decide what was
 * seen already. The snapshot is asked together with a position reached before it, and the subscription begins after that one:
 * what lies between arrives once more, nothing is missed.
 */
import type {
  AnnotationPartsFragment,
  CommentPartsFragment,
  DecisionPartsFragment,
  StackChangedSubscription,
  StagePartsFragment,
  VersionPartsFragment,
} from '../../generated/graphql.js';

export type Version = VersionPartsFragment;
export type Comment = CommentPartsFragment;
export type Annotation = AnnotationPartsFragment;
export type Decision = DecisionPartsFragment;
/** Somebody whose record is gone or not to be seen. */
const NOBODY = { id: '', name: 'Former member' } as const;

export function personOf(person: { readonly id: string; readonly name: string } | null): { id: string; name: string } {
  return person ?? NOBODY;
}

export type StackMessage = StackChangedSubscription['stackChanged'];

export interface RoomState {
  /** Log position up to which this state has seen everything; null before the snapshot. */
  readonly position: string | null;
  readonly currentVersionId: string | null;
  readonly stage: StagePartsFragment | null;
  readonly versions: ReadonlyMap<string, Version>;
  readonly comments: ReadonlyMap<string, Comment>;
  readonly decisions: ReadonlyMap<string, Decision>;
  /** State of comparisons, as messages told it. */
  readonly comparisons: ReadonlyMap<string, string>;
  /** Versions whose comments and decisions are here. */
  readonly opened: ReadonlySet<string>;
}

export const EMPTY_ROOM: RoomState = {
  position: null,
  currentVersionId: null,
  stage: null,
  versions: new Map(),
  comments: new Map(),
  decisions: new Map(),
  comparisons: new Map(),
  opened: new Set(),
};

/** Entities to put in place; missing ones stay as they are. */
export interface Entities {
  readonly stage?: StagePartsFragment | null;
  readonly currentVersionId?: string | null;
  readonly versions?: readonly Version[];
  readonly comments?: readonly Comment[];
  readonly annotations?: readonly Annotation[];
  readonly decisions?: readonly Decision[];
}

export type RoomAction =
  | { type: 'snapshot'; position: string; entities: Entities }
  | { type: 'opened'; versionId: string; entities: Entities }
  | { type: 'message'; message: StackMessage }
  /** What a mutation of this window returned. Its events arrive as messages too. */
  | { type: 'answered'; entities: Entities; position: string | null }
  /** Fresh signed addresses; nothing else of the version may be older than what is shown. */
  | { type: 'media'; versionId: string; media: Version['media'] };

/** Log positions are decimal strings that pass 2^53. */
export function isAfter(position: string, other: string | null): boolean {
  return other === null || BigInt(position) > BigInt(other);
}

export function roomReducer(state: RoomState, action: RoomAction): RoomState {
  switch (action.type) {
    case 'snapshot':
      // A new snapshot replaces everything but comments of versions opened meanwhile, which its own query refreshes.
      return { ...put({ ...state, versions: new Map() }, action.entities), position: action.position };
    case 'opened': {
      const comments = new Map([...state.comments].filter(([, comment]) => comment.versionId !== action.versionId));
      const decisions = new Map([...state.decisions].filter(([, one]) => one.versionId !== action.versionId));
      const next = put({ ...state, comments, decisions }, action.entities);
      return { ...next, opened: new Set([...state.opened, action.versionId]) };
    }
    case 'answered':
      // Messages told of it already, and perhaps of what came after: an answer that took its time is old news.
      if (action.position !== null && !isAfter(action.position, state.position)) return state;
      return put(state, action.entities);
    case 'media': {
      const version = state.versions.get(action.versionId);
      if (!version) return state;
      const versions = new Map(state.versions).set(version.id, { ...version, media: action.media });
      return { ...state, versions };
    }
    case 'message': {
      const { message } = action;
      if (!isAfter(message.position, state.position)) return state;
      const next = put(state, {
        stage: message.stage,
        currentVersionId: message.stack.current?.id ?? null,
        versions: message.version ? [message.version] : [],
        comments: message.comment ? [message.comment] : [],
        annotations: message.annotation ? [message.annotation] : [],
        decisions: message.decision ? [message.decision] : [],
      });
      const { comparison } = message;
      const comparisons = comparison
        ? new Map(next.comparisons).set(comparison.id, comparison.status)
        : next.comparisons;
      return { ...next, comparisons, position: message.position };
    }
  }
}

function put(state: RoomState, entities: Entities): RoomState {
  const versions = new Map(state.versions);
  for (const version of entities.versions ?? []) versions.set(version.id, version);

  const currentVersionId = entities.currentVersionId === undefined ? state.currentVersionId : entities.currentVersionId;
  if (currentVersionId !== state.currentVersionId) {
    // The one before is locked by the same event; its own message may come a moment later.
    const before = state.currentVersionId === null ? undefined : versions.get(state.currentVersionId);
    if (before?.status === 'CURRENT' && before.id !== currentVersionId) {
      versions.set(before.id, { ...before, status: 'LOCKED' });
    }
  }

  const comments = new Map(state.comments);
  for (const comment of entities.comments ?? []) comments.set(comment.id, comment);
  for (const annotation of entities.annotations ?? []) {
    const comment = comments.get(annotation.commentId);
    if (comment) comments.set(comment.id, withAnnotation(comment, annotation));
  }

  const decisions = new Map(state.decisions);
  for (const decision of entities.decisions ?? []) {
    if (decision.standing) {
      // One stands per reviewer and version.
      for (const [id, other] of decisions) {
        if (other.standing && other.versionId === decision.versionId && other.reviewer?.id === decision.reviewer?.id) {
          decisions.set(id, { ...other, standing: false });
        }
      }
    }
    decisions.set(decision.id, decision);
  }
  return { ...state, stage: entities.stage ?? state.stage, currentVersionId, versions, comments, decisions };
}

function withAnnotation(comment: Comment, annotation: Annotation): Comment {
  const at = comment.annotations.findIndex(({ id }) => id === annotation.id);
  const annotations = [...comment.annotations];
  if (at < 0) annotations.push(annotation);
  else annotations[at] = annotation;
  return { ...comment, annotations };
}

/** Newest first. */
export function versionList(state: RoomState): Version[] {
  return [...state.versions.values()].sort((a, b) => b.number - a.number);
}

export function decisionList(state: RoomState, versionId: string): Decision[] {
  return [...state.decisions.values()]
    .filter((decision) => decision.versionId === versionId)
    .sort((a, b) => byTime(b, a));
}

export function commentList(state: RoomState, versionId: string): Comment[] {
  return [...state.comments.values()].filter((comment) => comment.versionId === versionId).sort(byTime);
}

function byTime(a: { createdAt: string; id: string }, b: { createdAt: string; id: string }): number {
  return a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : a.id < b.id ? -1 : 1;
}
