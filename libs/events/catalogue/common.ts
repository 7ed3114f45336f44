import { z } from 'zod';
import { ROLES } from './decider.js';

export const id = z.uuid();
export const role = z.enum(ROLES);

/** Exact frame rate, frames per second as a fraction: 24000/1001 is `{ num: 24000, den: 1001 }`. */
export const rate = z.object({ num: z.int().positive(), den: z.int().positive() });

/** Content-addressed bytes: `sha256:` and 64 hex digits, size in bytes. Bytes themselves never go in events. */
export const blob = z.object({ hash: z.string().regex(/^sha256:[0-9a-f]{64}$/), size: z.int().nonnegative() });
export type BlobRef = z.infer<typeof blob>;

/** What the header probe found when the upload completed. Frames are integers; sound and stills have no rate. */
export const mediaFacts = z.object({
  kind: z.enum(['VIDEO', 'AUDIO', 'IMAGE']),
  container: z.string(),
  mime: z.string(),
  durationFrames: z.int().nonnegative().nullable(),
  /** Seconds, for sound; null for stills. Video time is frames and rate. */
  durationSeconds: z.number().nonnegative().nullable(),
  rate: rate.nullable(),
  startTimecode: z.string().nullable(),
  dropFrame: z.boolean(),
  width: z.int().positive().nullable(),
  height: z.int().positive().nullable(),
  videoCodec: z.string().nullable(),
  audioTracks: z.int().nonnegative(),
});
export type MediaFacts = z.infer<typeof mediaFacts>;

/** Whose approval completes a stage. */
export const approvalPolicy = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ANY') }),
  z.object({ kind: z.literal('ALL_REQUIRED'), reviewers: z.array(id).min(1) }),
  z.object({ kind: z.literal('ROLES'), roles: z.array(role).min(1) }),
]);
export type ApprovalPolicy = z.infer<typeof approvalPolicy>;

export const STAGE_STATES = [
  'BLOCKED',
  'READY',
  'IN_PROGRESS',
  'IN_REVIEW',
  'CHANGES_REQUESTED',
  'APPROVED',
  'ON_HOLD',
  'OMITTED',
] as const;
export const stageState = z.enum(STAGE_STATES);
export type StageState = z.infer<typeof stageState>;

/** First and last frame of a range, both included, counted from 0 at the first frame of the media. */
export const frameRange = z.object({ in: z.int().nonnegative(), out: z.int().nonnegative() });
export type FrameRange = z.infer<typeof frameRange>;

const unit = z.number().min(0).max(1);
const point = z.object({ x: unit, y: unit });
const box = { x: unit, y: unit, width: unit, height: unit };
/** Coordinates are fractions of the picture's width and height, so a shape is the same at any zoom. */
export const shape = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('RECTANGLE'), ...box }),
  z.object({ kind: z.literal('ELLIPSE'), ...box }),
  z.object({ kind: z.literal('HIGHLIGHT'), ...box }),
  z.object({ kind: z.literal('CALLOUT'), ...box, text: z.string().max(2000).default('') }),
  z.object({ kind: z.literal('ARROW'), from: point, to: point }),
  z.object({ kind: z.literal('FREEHAND'), points: z.array(point).min(2).max(5000) }),
  z.object({ kind: z.literal('TEXT'), at: point, text: z.string().min(1).max(2000), size: unit }),
  z.object({ kind: z.literal('PIN'), at: point }),
]);
export type Shape = z.infer<typeof shape>;

export const annotationStyle = z.object({
  colour: z.string().regex(/^#[0-9a-fA-F]{6}$/),
  /** Fraction of the picture's height. */
  strokeWidth: z.number().positive().max(0.2),
});

export const verdict = z.enum(['APPROVED', 'CHANGES_REQUESTED', 'REJECTED']);
export type Verdict = z.infer<typeof verdict>;
export const outcome = z.enum(['PENDING', 'APPROVED', 'CHANGES_REQUESTED', 'REJECTED']);
export type Outcome = z.infer<typeof outcome>;

/** What frames of one medium are to those of another. CHANGED ones are the same picture with something in it that differs. */
export const comparedKind = z.enum(['SAME', 'CHANGED', 'MOVED', 'RETIMED', 'REPLACED', 'INSERTED', 'REMOVED']);
export type ComparedKind = z.infer<typeof comparedKind>;

/** Ids used in examples, so that the generated catalogue reads as one story. */
export const EXAMPLE = {
  organisation: '5b0a3c1e-6a2e-4c56-9a53-0d1c5d0f1a01',
  user: '0d9c1f34-8a0b-4f3e-9a44-6f8d2f7e2b02',
  project: '8f6f1b0a-54f1-4c0f-8a5d-1d7f4a9c3c03',
  template: '2c7f7f0e-30d7-4f0e-bb0d-94f7b8d04d04',
  deliverable: 'a1d8a1fb-9a08-4a2f-9d2d-7e8b6e5b5e05',
  stage: 'c3c9b6f2-1a64-4ff5-8f2f-2b0a9e6f6f06',
  version: 'e7a2d4c8-4b7f-4b0b-8a43-0a6f1e707007',
  comment: '19c0f2da-6c52-4d0a-a2ef-5b9d3f818108',
  annotation: '4e1b7c93-7b0f-4a6d-9e0e-8c2a6d929209',
  decision: '6d3f5a17-02c1-4d8d-b1cd-3e7f9aa3a30a',
  reference: 'b52d8e0f-3c1a-4e77-8f60-5a9c2b6e1b0b',
  comparison: 'f1c0a9d2-5b7e-4d43-9a1c-2e6b8d4f0c0c',
  blob: { hash: `sha256:${'9f'.repeat(32)}`, size: 18_432_000 },
} as const;
