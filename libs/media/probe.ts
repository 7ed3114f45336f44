import { z } from 'zod';
import type { Result } from './result.js';
import type { Container, MediaKind } from './sniff.js';

const rational = z.object({ num: z.number().int(), den: z.number().int().positive() });

export const AudioTrackSchema = z.object({
  /** Index of the stream in the file. */
  index: z.number().int(),
  codec: z.string(),
  channels: z.number().int(),
  /** ffmpeg's name of the layout (`stereo`, `5.1(side)`), when the file tells. */
  layout: z.string().nullable(),
  sampleRate: z.number().int(),
  /** Length in samples, derived from the header. */
  durationSamples: z.number().int().nullable(),
  /** ISO 639-2 code, when the file tells. */
  language: z.string().nullable(),
});

export const VideoTrackSchema = z.object({
  index: z.number().int(),
  codec: z.string(),
  profile: z.string().nullable(),
  /** Coded size in pixels, before rotation and sample aspect. */
  width: z.number().int(),
  height: z.number().int(),
  /** Size as shown with square pixels: rotation and sample aspect applied. */
  displayWidth: z.number().int(),
  displayHeight: z.number().int(),
  sampleAspect: rational,
  /** Clockwise turn to show it upright: 0, 90, 180 or 270 degrees. */
  rotation: z.number().int(),
  pixelFormat: z.string().nullable(),
  bitDepth: z.number().int().nullable(),
  hasAlpha: z.boolean(),
  colour: z.object({
    primaries: z.string().nullable(),
    transfer: z.string().nullable(),
    matrix: z.string().nullable(),
    range: z.enum(['tv', 'pc']).nullable(),
  }),
  /** PQ or HLG. */
  hdr: z.boolean(),
  fieldOrder: z.enum(['progressive', 'tt', 'bb', 'tb', 'bt']).nullable(),
  /** Frames per second; of variable-rate media the average, snapped to a usual rate when within 1 %. */
  rate: rational,
  variableRate: z.boolean(),
});

/** JSON-safe description of a file; what an event and an upload record carry. */
export const MediaInfoSchema = z.object({
  kind: z.enum(['VIDEO', 'AUDIO', 'IMAGE']),
  container: z.string().transform((value) => value as Container),
  mime: z.string(),
  sizeBytes: z.number().int(),
  /** Seconds, for display; null for a still. */
  durationSeconds: z.number().nullable(),
  /** Frames of the picture; null for sound and stills. */
  durationFrames: z.number().int().nullable(),
  /** Whether `durationFrames` comes from a frame table or a count, not from duration × rate. */
  durationExact: z.boolean(),
  /** The picture's rate, also at `video.rate`; null for sound and stills. */
  rate: rational.nullable(),
  startTimecode: z
    .object({
      /** As labelled in the file, normalised to `HH:MM:SS:FF` or `HH:MM:SS;FF`. */
      text: z.string(),
      /** Frames since 00:00:00:00. */
      frame: z.number().int(),
      dropFrame: z.boolean(),
    })
    .nullable(),
  reel: z.string().nullable(),
  video: VideoTrackSchema.nullable(),
  audio: z.array(AudioTrackSchema),
  /** What looks wrong but does not prevent use. */
  warnings: z.array(z.enum(['TIMECODE_UNREADABLE', 'DROP_FRAME_LABEL_AT_INTEGER_RATE', 'DURATION_MISMATCH'])),
});

export type AudioTrack = z.infer<typeof AudioTrackSchema>;
export type VideoTrack = z.infer<typeof VideoTrackSchema>;
export type MediaInfo = z.infer<typeof MediaInfoSchema>;
export type { MediaKind };

export interface ProbeOptions {
  signal?: AbortSignal;
  /** Default 30,000. */
  timeoutMs?: number;
  /** Files up to this size without a frame table are counted packet by packet. Default 256 MiB; 0 reads headers only. */
  countBelowBytes?: number;
}

/** Headers of any accepted file. Refuses with EMPTY_FILE, UNSUPPORTED_MEDIA or MEDIA_UNREADABLE (with ffprobe's reason). */
export declare function probe(file: string, options?: ProbeOptions): Promise<Result<MediaInfo>>;
