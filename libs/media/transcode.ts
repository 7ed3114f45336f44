import { z } from 'zod';
import { BlobHashSchema, type BlobRef, type BlobStore } from './blobs.js';
import type { MediaInfo } from './probe.js';
import type { Result } from './result.js';

export const ReviewRoleSchema = z.enum([
  'POSTER',
  'HLS_MASTER',
  'HLS_MEDIA',
  'HLS_SEGMENTS',
  'PROXY',
  'SPRITES',
  'SPRITES_VTT',
  /** Browser-viewable copy of a still, alpha flattened on white. */
  'VIEW',
]);
export type ReviewRole = z.infer<typeof ReviewRoleSchema>;

export const ReviewFileSchema = z.object({
  /** Relative name; playlists refer to their neighbours by it. No folders. */
  name: z.string().regex(/^[A-Za-z0-9_.-]+$/),
  role: ReviewRoleSchema,
  mime: z.string(),
  size: z.number().int(),
  width: z.number().int().optional(),
  height: z.number().int().optional(),
  /** Measured average, bits per second. */
  bitrate: z.number().int().optional(),
  /** Frames of picture. */
  frames: z.number().int().optional(),
});

export interface ReviewFile extends z.infer<typeof ReviewFileSchema> {
  /** Where it is on disk. */
  readonly path: string;
}

/** The verified files of one transcode, in one directory. */
export interface ReviewSet {
  readonly directory: string;
  readonly files: readonly ReviewFile[];
  /** Frames of picture in every rendition, equal to the source's; null for sound and stills. */
  readonly frames: number | null;
  readonly ffmpegVersion: string;
}

export interface TranscodeProgress {
  /** 0 to 1. */
  readonly fraction: number;
  readonly frame: number;
  readonly fps: number;
}

export interface TranscodeOptions {
  onProgress?: (progress: TranscodeProgress) => void;
  signal?: AbortSignal;
  /** Encoder and decoder threads; results repeat bit for bit at a fixed count. Default: the machine's cores. */
  threads?: number;
  /** Default: 5 minutes plus 60 times the duration. */
  timeoutMs?: number;
}

/**
 * Review copies of a verified upload, from one decode. `outDir` must not exist; it appears complete or not at all.
 * TRANSCODE_FAILED carries ffmpeg's reason.
 */
export declare function transcodeReview(
  input: string,
  outDir: string,
  info: MediaInfo,
  options?: TranscodeOptions,
): Promise<Result<ReviewSet>>;

export const ReviewManifestSchema = z.object({
  schema: z.literal('picturelock.review-manifest/1'),
  frames: z.number().int().nullable(),
  ffmpegVersion: z.string(),
  files: z.array(ReviewFileSchema.extend({ hash: BlobHashSchema })),
});
/** JSON document, itself a blob: an event names only its hash. */
export type ReviewManifest = z.infer<typeof ReviewManifestSchema>;

/** Moves the set's files into the store and writes the manifest blob. Running it twice gives the same hashes. */
export declare function storeReviewSet(
  blobs: BlobStore,
  org: string,
  set: ReviewSet,
): Promise<{ manifest: ReviewManifest; ref: BlobRef }>;

/** Reads a manifest back. Rejects with MediaFailure BLOB_NOT_FOUND. */
export declare function readReviewManifest(
  blobs: BlobStore,
  org: string,
  hash: BlobRef['hash'],
): Promise<ReviewManifest>;
