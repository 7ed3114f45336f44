/** What a probe tells of a file. */
import { z } from 'zod';
import type { Container, MediaKind } from '../sniff.js';

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
  /** Bits of a sample; null for lossy codecs. */
  bitDepth: z.number().int().nullable().default(null),
});

/** CIE 1931 x and y. */
const chromaticity = z.object({ x: z.number(), y: z.number() });

/** SMPTE ST 2086: the display the picture was mastered on. Luminance in cd/m². */
export const MasteringDisplaySchema = z.object({
  red: chromaticity,
  green: chromaticity,
  blue: chromaticity,
  white: chromaticity,
  minLuminance: z.number(),
  maxLuminance: z.number(),
});

/** CTA-861.3: light level of the content, cd/m². */
export const LightLevelSchema = z.object({ maxContent: z.number().int(), maxFrameAverage: z.number().int() });

export const VideoTrackSchema = z.object({
  index: z.number().int(),
  codec: z.string(),
  profile: z.string().nullable(),
  /** The four characters the container names the codec with: `apch`, `AVdh`, `hvc1`; null where it has none (MXF, Matroska). */
  codecTag: z.string().nullable().default(null),
  /** What an editor calls it: `ProRes 422 HQ`, `DNxHR HQX`; null for other codecs. */
  flavour: z.string().nullable().default(null),
  /** Coded size in pixels, before rotation and sample aspect. */
  width: z.number().int(),
  height: z.number().int(),
  /** Size as shown with square pixels: rotation and sample aspect applied. */
  displayWidth: z.number().int(),
  displayHeight: z.number().int(),
  sampleAspect: rational,
  /** Shape of the whole picture before rotation, 16/9; null when the file was read before this was told. */
  displayAspect: rational.nullable().default(null),
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
  mastering: MasteringDisplaySchema.nullable().default(null),
  lightLevel: LightLevelSchema.nullable().default(null),
  /** Closed captions (CEA-608/708) inside the picture's stream. */
  captions: z.boolean().default(false),
  fieldOrder: z.enum(['progressive', 'tt', 'bb', 'tb', 'bt']).nullable(),
  /** Frames per second; of variable-rate media the average, snapped to a usual rate when within 1 %. */
  rate: rational,
  variableRate: z.boolean(),
  /** When the first frame is shown, seconds after the start of the file; 0 in nearly all files. */
  startSeconds: z.number(),
});

export const SubtitleTrackSchema = z.object({
  index: z.number().int(),
  codec: z.string(),
  language: z.string().nullable(),
});

/** JSON-safe description of a file; what an upload record carries (what is newer than a record has a default). */
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
  /** Where the start timecode was found: a track (MOV, MP4), the container's header (MXF, Matroska), BWF, the first picture's SEI. */
  timecodeSource: z.enum(['TRACK', 'HEADER', 'BWF', 'SEI']).nullable().default(null),
  /** The rate `startTimecode` counts in, where the file has no picture (BWF with iXML). Null: the picture's. */
  timecodeRate: rational.nullable().default(null),
  /** BWF: samples since midnight of the first sample (EBU Tech 3285, TimeReference). */
  startSamples: z.number().int().nullable().default(null),
  reel: z.string().nullable(),
  /** As the recorder or camera wrote them. */
  slate: z
    .object({ scene: z.string().nullable(), take: z.string().nullable(), camera: z.string().nullable() })
    .default({ scene: null, take: null, camera: null }),
  video: VideoTrackSchema.nullable(),
  audio: z.array(AudioTrackSchema),
  /** Subtitle and caption tracks of their own: `eia_608`, `mov_text`… */
  subtitles: z.array(SubtitleTrackSchema).default([]),
  /** What looks wrong but does not prevent use. */
  warnings: z.array(
    z.enum([
      /** No label can be made of it: there is no start timecode. */
      'TIMECODE_UNREADABLE',
      /** `;` at a rate without drop-frame counting (23.976, 24, 25, 30…): read as `:`. */
      'DROP_FRAME_LABEL_AT_INTEGER_RATE',
      /** A label that drop-frame counting leaves out (`00:01:00;00`): read as the next one there is (`00:01:00;02`). */
      'DROP_FRAME_LABEL_LEFT_OUT',
      /** The timecode track has more than one start: frames are counted on from the first. */
      'TIMECODE_DISCONTINUOUS',
      'DURATION_MISMATCH',
    ]),
  ),
});

export type AudioTrack = z.infer<typeof AudioTrackSchema>;
export type VideoTrack = z.infer<typeof VideoTrackSchema>;
export type MediaInfo = z.infer<typeof MediaInfoSchema>;
export type SubtitleTrack = z.infer<typeof SubtitleTrackSchema>;
export type MasteringDisplay = z.infer<typeof MasteringDisplaySchema>;
export type LightLevel = z.infer<typeof LightLevelSchema>;
export type { MediaKind };
