/**
 * One version: its comments, annotations and decisions, and the lock. Stream `version-<versionId>`.
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
  VersionClosed,
  VersionOpened,
  type ApprovalPolicy,
  type Outcome,
  type Role,
  type Verdict,
} from '#libs/events/catalogue/index.js';
import type { CommandsOf } from '../kit.js';
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
export interface Decision {
  readonly decisionId: string;
  readonly reviewerId: string;
  readonly reviewerRole: Role;
  readonly verdict: Verdict;
}

/**
 * Immutable; comments, annotations and decisions by id live in {@link PersistentMap}s, so folding one event takes
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
  /** Every decision ever made, by id. */
  readonly decisions: PersistentMap<string, Decision & { readonly withdrawn: boolean }>;
  /** The one that stands, by reviewer. */
  readonly standing: ReadonlyMap<string, Decision>;
  readonly outcome: Outcome;
} | null;
