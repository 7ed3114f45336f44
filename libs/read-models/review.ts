import 'reflect-metadata';
import { Check, Entity, Index, JoinColumn, ManyToOne, OneToMany, OneToOne, type Relation } from 'typeorm';
import {
  outcome,
  ROLES,
  verdict,
  type MediaFacts,
  type Outcome,
  type Role,
  type Shape,
  type Verdict,
} from '#libs/events/catalogue/index.js';
import { BigInt64, Bool, Double, Int, Json, Key, oneOf, schemaName, Text, Time, Uuid, UuidList } from './columns.js';
import type { ReadModel } from './model.js';

const name = 'review';
const version = 2;
const schema = schemaName(name, version);

export const VERSION_STATUSES = ['CURRENT', 'LOCKED', 'WITHDRAWN'] as const;
export type VersionStatus = (typeof VERSION_STATUSES)[number];
export const MEDIA_STATUSES = ['PROCESSING', 'READY', 'FAILED'] as const;
export type MediaStatus = (typeof MEDIA_STATUSES)[number];
const MEDIA_KINDS = ['VIDEO', 'AUDIO', 'IMAGE'] as const satisfies readonly MediaFacts['kind'][];
/** One file of the review copies, as the transcode's event lists it. */
export interface MediaFile {
  name: string;
  role: string;
  mime: string;
  hash: string;
  size: number;
  width: number | null;
  height: number | null;
  bitrate: number | null;
}

/** What was uploaded: the bytes, and what the probe found when they were whole. */
abstract class UploadedColumns {
  @Text('filename') filename: string;
  @Text('note') note: string;
  /** `sha256:` and 64 hex digits. */
  @Text('blob_hash') blobHash: string;
  /** Bytes, as a decimal string. */
  @BigInt64('blob_size') blobSize: string;
  @Text('media_kind') mediaKind: MediaFacts['kind'];
  @Text('container') container: string;
  @Text('mime') mime: string;
  @Int('duration_frames', { nullable: true }) durationFrames: number | null;
  @Double('duration_seconds', { nullable: true }) durationSeconds: number | null;
  /** Frames per second as a fraction. */
  @Int('rate_num', { nullable: true }) rateNum: number | null;
  @Int('rate_den', { nullable: true }) rateDen: number | null;
  @Text('start_timecode', { nullable: true }) startTimecode: string | null;
  @Bool('drop_frame') dropFrame: boolean;
  @Int('width', { nullable: true }) width: number | null;
  @Int('height', { nullable: true }) height: number | null;
  @Text('video_codec', { nullable: true }) videoCodec: string | null;
  @Int('audio_tracks') audioTracks: number;
}

/** How far the review copies of something are. */
abstract class TranscodedColumns {
  @Text('status') status: MediaStatus;
  @Text('manifest_hash', { nullable: true }) manifestHash: string | null;
  @BigInt64('manifest_size', { nullable: true }) manifestSize: string | null;
  /** Encoded frames. */
  @Int('frames', { nullable: true }) frames: number | null;
  @Json('files') files: MediaFile[];
  @Text('failure_code', { nullable: true }) failureCode: string | null;
  @Text('failure_reason', { nullable: true }) failureReason: string | null;
  @Time('updated_at') updatedAt: Date;
}
export type UploadedMedia = UploadedColumns;
export type TranscodedMedia = TranscodedColumns;

/** A stage's stack; there from the moment the stage is. Its id is the stage's. */
@Entity({ schema, name: 'version_stack' })
@Index('version_stack_project', ['projectId'])
export class VersionStackRow {
  @Key('id') id: string;
  @Uuid('deliverable_id') deliverableId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('current_version_id', { nullable: true }) currentVersionId: string | null;
  /** Revision of the stack stream's last event; null before the first upload. */
  @Int('revision', { nullable: true }) revision: number | null;
  @OneToMany(() => VersionRow, (version) => version.stack) versions?: Relation<VersionRow>[];
}

/** `number IS NULL` is an unfinished upload: readers must not see it. */
@Entity({ schema, name: 'version' })
@Check('version_status', oneOf('status', VERSION_STATUSES))
@Check('version_outcome', oneOf('outcome', outcome.options))
@Check('version_media_kind', oneOf('media_kind', MEDIA_KINDS))
@Index('version_stack_number', ['stackId', 'number'], { unique: true })
@Index('version_project', ['projectId'])
export class VersionRow extends UploadedColumns {
  @Key('id') id: string;
  @Uuid('stack_id') stackId: string;
  @ManyToOne(() => VersionStackRow, (stack) => stack.versions)
  @JoinColumn({ name: 'stack_id' })
  stack?: Relation<VersionStackRow>;
  @Uuid('deliverable_id') deliverableId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  /** From 1, never used twice; null until the version joins its stack. */
  @Int('number', { nullable: true }) number: number | null;
  @Text('status') status: VersionStatus;
  @Uuid('uploaded_by', { nullable: true }) uploadedBy: string | null;
  @Time('uploaded_at') uploadedAt: Date;
  @Text('outcome', { default: 'PENDING' }) outcome: Outcome;
  /** The newer version that superseded this one. */
  @Uuid('closed_by', { nullable: true }) closedBy: string | null;
  @Text('withdrawn_reason', { nullable: true }) withdrawnReason: string | null;
  @Uuid('reverts_to', { nullable: true }) revertsTo: string | null;
  /** Comments that are not deleted. */
  @Int('comment_count', { default: 0 }) commentCount: number;
  /** Annotations that are not removed, by themselves or with their comment. */
  @Int('annotation_count', { default: 0 }) annotationCount: number;
  /** Revision of the version stream's last event, for `expectedRevision`; −1 while it has none. */
  @Int('revision', { default: -1 }) revision: number;
  /** Log position of the event that made it visible; of its opening before. */
  @BigInt64('position') position: string;
  @OneToOne(() => VersionMediaRow, (media) => media.version) media?: Relation<VersionMediaRow>;
}

/** How far the review copies are; there as long as the version is. */
@Entity({ schema, name: 'version_media' })
@Check('version_media_status', oneOf('status', MEDIA_STATUSES))
export class VersionMediaRow extends TranscodedColumns {
  @Key('version_id') versionId: string;
  @OneToOne(() => VersionRow, (version) => version.media)
  @JoinColumn({ name: 'version_id' })
  version?: Relation<VersionRow>;
}

/** What lies beside a version to show what is meant. */
@Entity({ schema, name: 'reference' })
@Check('reference_media_kind', oneOf('media_kind', MEDIA_KINDS))
@Index('reference_version_seq', ['versionId', 'seq'], { unique: true })
export class ReferenceRow extends UploadedColumns {
  @Key('id') id: string;
  @Uuid('version_id') versionId: string;
  @ManyToOne(() => VersionRow)
  @JoinColumn({ name: 'version_id' })
  version?: Relation<VersionRow>;
  @Uuid('stack_id') stackId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('attached_by', { nullable: true }) attachedBy: string | null;
  @Time('attached_at') attachedAt: Date;
  @Bool('detached', { default: false }) detached: boolean;
  /** Revision of the event in the version's stream. */
  @Int('seq') seq: number;
  @OneToOne(() => ReferenceMediaRow, (media) => media.reference) media?: Relation<ReferenceMediaRow>;
}

/** How far the review copies of a reference are; there as long as the reference is. */
@Entity({ schema, name: 'reference_media' })
@Check('reference_media_status', oneOf('status', MEDIA_STATUSES))
export class ReferenceMediaRow extends TranscodedColumns {
  @Key('reference_id') referenceId: string;
  @OneToOne(() => ReferenceRow, (reference) => reference.media)
  @JoinColumn({ name: 'reference_id' })
  reference?: Relation<ReferenceRow>;
}

@Entity({ schema, name: 'comment' })
@Index('comment_version_seq', ['versionId', 'seq'], { unique: true })
export class CommentRow {
  @Key('id') id: string;
  @Uuid('version_id') versionId: string;
  @ManyToOne(() => VersionRow)
  @JoinColumn({ name: 'version_id' })
  version?: Relation<VersionRow>;
  @Uuid('stack_id') stackId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('parent_id', { nullable: true }) parentId: string | null;
  @Uuid('author_id', { nullable: true }) authorId: string | null;
  /** Empty once deleted. */
  @Text('text') text: string;
  /** First and last frame, both included; null for the whole version. */
  @Int('range_in', { nullable: true }) rangeIn: number | null;
  @Int('range_out', { nullable: true }) rangeOut: number | null;
  @UuidList('mentions') mentions: string[];
  @Time('created_at') createdAt: Date;
  @Time('edited_at', { nullable: true }) editedAt: Date | null;
  @Bool('resolved', { default: false }) resolved: boolean;
  @Bool('deleted', { default: false }) deleted: boolean;
  /** Revision of the event in the version's stream: the order of creation, unique in the version. */
  @Int('seq') seq: number;
  @OneToMany(() => AnnotationRow, (annotation) => annotation.comment) annotations?: Relation<AnnotationRow>[];
}

@Entity({ schema, name: 'annotation' })
@Index('annotation_comment_seq', ['commentId', 'seq'], { unique: true })
@Index('annotation_version_seq', ['versionId', 'seq'], { unique: true })
export class AnnotationRow {
  @Key('id') id: string;
  @Uuid('comment_id') commentId: string;
  @ManyToOne(() => CommentRow, (comment) => comment.annotations)
  @JoinColumn({ name: 'comment_id' })
  comment?: Relation<CommentRow>;
  @Uuid('version_id') versionId: string;
  @Uuid('stack_id') stackId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  /** Its layer. */
  @Uuid('author_id', { nullable: true }) authorId: string | null;
  @Int('range_in', { nullable: true }) rangeIn: number | null;
  @Int('range_out', { nullable: true }) rangeOut: number | null;
  @Json('shape') shape: Shape;
  @Text('colour') colour: string;
  /** Fraction of the picture's height. */
  @Double('stroke_width') strokeWidth: number;
  /** By itself, or with its comment. */
  @Bool('removed', { default: false }) removed: boolean;
  @Time('created_at') createdAt: Date;
  /** Revision of the event in the version's stream. */
  @Int('seq') seq: number;
}

@Entity({ schema, name: 'decision' })
@Check('decision_verdict', oneOf('verdict', verdict.options))
@Check('decision_reviewer_role', oneOf('reviewer_role', ROLES))
@Index('decision_version_seq', ['versionId', 'seq'], { unique: true })
export class DecisionRow {
  @Key('id') id: string;
  @Uuid('version_id') versionId: string;
  @ManyToOne(() => VersionRow)
  @JoinColumn({ name: 'version_id' })
  version?: Relation<VersionRow>;
  @Uuid('stack_id') stackId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('reviewer_id') reviewerId: string;
  @Text('reviewer_role') reviewerRole: Role;
  @Text('verdict') verdict: Verdict;
  @Text('text') text: string;
  /** False once superseded or withdrawn. */
  @Bool('standing', { default: true }) standing: boolean;
  @Bool('withdrawn', { default: false }) withdrawn: boolean;
  @Text('withdrawn_reason', { nullable: true }) withdrawnReason: string | null;
  @Uuid('supersedes', { nullable: true }) supersedes: string | null;
  @Time('created_at') createdAt: Date;
  /** Revision of the event in the version's stream. */
  @Int('seq') seq: number;
}

export const review: ReadModel = {
  name,
  version,
  schema,
  entities: [
    VersionStackRow,
    VersionRow,
    VersionMediaRow,
    ReferenceRow,
    ReferenceMediaRow,
    CommentRow,
    AnnotationRow,
    DecisionRow,
  ],
  categories: ['deliverable', 'versionStack', 'version', 'versionMedia'],
  lookups: ['annotation_comment_seq'],
};
