/** What became of a version's media: review copies or a failure. Stream `versionMedia-<versionId>`. */
import { z } from 'zod';
import { id, TranscodeCompleted, TranscodeFailed, type BlobRef } from '#libs/events/catalogue/index.js';
import type { CommandsOf } from '../kit.js';

export const commands = {
  /** The organisation comes from the envelope, here and in `FailTranscode`. */
  CompleteTranscode: TranscodeCompleted.schema.omit({ organisationId: true }),
  FailTranscode: TranscodeFailed.schema.omit({ organisationId: true }),
  RetryTranscode: z.object({ versionId: id }),
};
export type VersionMediaCommand = CommandsOf<typeof commands>;

export type VersionMediaState = {
  readonly versionId: string;
  readonly stackId: string;
  readonly projectId: string;
  readonly organisationId: string;
  readonly source: BlobRef;
  readonly status: 'COMPLETED' | 'FAILED' | 'RETRYING';
  /** Hash of the manifest of the review copies; null until they exist. */
  readonly manifest: string | null;
  /** ffmpeg's words when it failed. */
  readonly failure: { readonly code: string; readonly reason: string } | null;
} | null;
