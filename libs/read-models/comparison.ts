import 'reflect-metadata';
import { Check, Entity, Index, JoinColumn, ManyToOne, OneToMany, PrimaryColumn, type Relation } from 'typeorm';
import { comparedKind, type ComparedKind } from '#libs/events/catalogue/index.js';
import { BigInt64, Bool, Double, Int, Json, Key, oneOf, schemaName, Text, Time, Uuid } from './columns.js';
import type { ReadModel } from './model.js';
import { MEDIA_STATUSES, type MediaStatus } from './review.js';

const name = 'comparison';
const version = 1;
const schema = schemaName(name, version);

/** One file that a comparison made, as its event lists it. */
export interface ComparisonFile {
  name: string;
  role: 'REPORT' | 'DIFFERENCE';
  mime: string;
  hash: string;
  size: number;
}
/** A pair of frames that are the same picture. */
export interface ComparedPair {
  from: number;
  to: number;
  ssim: number;
  /** dB; null for identical frames. */
  psnr: number | null;
}

/** How a version differs from another one, or from a reference. */
@Entity({ schema, name: 'comparison' })
@Check('comparison_status', oneOf('status', MEDIA_STATUSES))
@Index('comparison_version', ['versionId', 'position'])
@Index('comparison_from_version', ['fromVersionId', 'position'])
export class ComparisonRow {
  @Key('id') id: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('stack_id') stackId: string;
  /** The later one of the two. */
  @Uuid('version_id') versionId: string;
  @Uuid('from_version_id') fromVersionId: string;
  /** Set when it is a reference beside that version. */
  @Uuid('from_reference_id', { nullable: true }) fromReferenceId: string | null;
  @Text('status') status: MediaStatus;
  /** Who asked last. */
  @Uuid('requested_by', { nullable: true }) requestedBy: string | null;
  @Time('requested_at') requestedAt: Date;
  /** When it ended, well or not. */
  @Time('ended_at', { nullable: true }) endedAt: Date | null;
  @Text('failure_code', { nullable: true }) failureCode: string | null;
  @Text('failure_reason', { nullable: true }) failureReason: string | null;
  /** How many frames each has. */
  @Int('frames_from', { nullable: true }) framesFrom: number | null;
  @Int('frames_to', { nullable: true }) framesTo: number | null;
  @Double('ssim_mean', { nullable: true }) ssimMean: number | null;
  @Double('ssim_min', { nullable: true }) ssimMin: number | null;
  /** dB; null where all pairs are identical. */
  @Double('psnr_mean', { nullable: true }) psnrMean: number | null;
  @Double('psnr_min', { nullable: true }) psnrMin: number | null;
  @Json('worst') worst: ComparedPair[];
  /** There are more ranges than are kept; the report has them. */
  @Bool('truncated') truncated: boolean;
  @Text('report_hash', { nullable: true }) reportHash: string | null;
  @Json('files') files: ComparisonFile[];
  /** Log position of the first request. */
  @BigInt64('position') position: string;
  @OneToMany(() => ComparedRangeRow, (range) => range.comparison) ranges?: Relation<ComparedRangeRow>[];
}

/** Frames of the two that are something to each other; first and last, both included. */
@Entity({ schema, name: 'compared_range' })
@Check('compared_range_kind', oneOf('kind', comparedKind.options))
export class ComparedRangeRow {
  @Key('comparison_id') comparisonId: string;
  @ManyToOne(() => ComparisonRow, (comparison) => comparison.ranges)
  @JoinColumn({ name: 'comparison_id' })
  comparison?: Relation<ComparisonRow>;
  /** Its place in the list, from 0. */
  @PrimaryColumn({ name: 'seq', type: 'integer' }) seq: number;
  @Text('kind') kind: ComparedKind;
  @Int('from_in', { nullable: true }) fromIn: number | null;
  @Int('from_out', { nullable: true }) fromOut: number | null;
  @Int('to_in', { nullable: true }) toIn: number | null;
  @Int('to_out', { nullable: true }) toOut: number | null;
  @Double('ssim_mean', { nullable: true }) ssimMean: number | null;
  @Double('ssim_min', { nullable: true }) ssimMin: number | null;
  /** File that shows where in the picture a pair differs, and the pair. */
  @Text('still', { nullable: true }) still: string | null;
  @Int('still_from', { nullable: true }) stillFrom: number | null;
  @Int('still_to', { nullable: true }) stillTo: number | null;
}

export const comparison: ReadModel = {
  name,
  version,
  schema,
  entities: [ComparisonRow, ComparedRangeRow],
  categories: ['comparison'],
};
