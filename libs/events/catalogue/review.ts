import { z } from 'zod';
import {
  annotationStyle,
  approvalPolicy,
  blob,
  comparedKind,
  EXAMPLE,
  frameRange,
  id,
  mediaFacts,
  outcome,
  role,
  shape,
  verdict,
  type MediaFacts,
} from './common.js';
import { defineEvent, type EventsOf } from './define.js';

const context = 'review' as const;

/** A stage holds one stack, so the stack has the stage's id. */
const stackRef = { stackId: id, deliverableId: id, projectId: id, organisationId: id };
const ref = { versionId: id, stackId: id, projectId: id, organisationId: id };
const exampleStackRef = {
  stackId: EXAMPLE.stage,
  deliverableId: EXAMPLE.deliverable,
  projectId: EXAMPLE.project,
  organisationId: EXAMPLE.organisation,
};
const exampleRef = {
  versionId: EXAMPLE.version,
  stackId: EXAMPLE.stage,
  projectId: EXAMPLE.project,
  organisationId: EXAMPLE.organisation,
};
const exampleMedia: MediaFacts = {
  kind: 'VIDEO',
  container: 'mov',
  mime: 'video/quicktime',
  durationFrames: 240,
  durationSeconds: 10.01,
  rate: { num: 24000, den: 1001 },
  startTimecode: '01:00:00:00',
  dropFrame: false,
  width: 1920,
  height: 1080,
  videoCodec: 'h264',
  audioTracks: 1,
};

/** What was uploaded: the bytes, what they are, and the words that came with them. */
const upload = {
  filename: z.string().min(1).max(255),
  blob,
  media: mediaFacts,
  note: z.string().max(5000),
  /** Set when the version repeats the media of an older one (“revert to v2”). */
  revertsTo: id.nullable(),
};
const exampleUpload = {
  filename: 'harbour_edit.mov',
  blob: EXAMPLE.blob,
  media: exampleMedia,
  note: 'First assembly',
  revertsTo: null,
};

export const VersionUploaded = defineEvent({
  type: 'VersionUploaded',
  context,
  category: 'versionStack',
  description: 'A new version joins the stack and is current from this event on. Numbers are never used twice.',
  schema: z.object({
    ...stackRef,
    versionId: id,
    number: z.int().positive(),
    ...upload,
    /** The version that was current before, already closed; null for the first. */
    supersedes: id.nullable(),
  }),
  example: { ...exampleStackRef, versionId: EXAMPLE.version, number: 1, ...exampleUpload, supersedes: null },
});
export const VersionWithdrawn = defineEvent({
  type: 'VersionWithdrawn',
  context,
  category: 'versionStack',
  description: 'A wrong upload is taken back with its derivatives; nobody had decided on it.',
  schema: z.object({
    ...stackRef,
    versionId: id,
    number: z.int().positive(),
    reason: z.string().min(1).max(2000),
    /** The version that is current again; null when the stack is empty now. */
    current: id.nullable(),
  }),
  example: { ...exampleStackRef, versionId: EXAMPLE.version, number: 2, reason: 'Wrong reel', current: null },
});

export const VersionOpened = defineEvent({
  type: 'VersionOpened',
  context,
  category: 'version',
  description:
    'The version’s own stream begins. Written before the version joins its stack, it is also the record from which an interrupted upload is finished.',
  schema: z.object({ ...ref, deliverableId: id, ...upload, approvalPolicy }),
  example: {
    ...exampleRef,
    deliverableId: EXAMPLE.deliverable,
    ...exampleUpload,
    approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
  },
});
export const VersionClosed = defineEvent({
  type: 'VersionClosed',
  context,
  category: 'version',
  description: 'The version is read-only from here: superseded by a newer one, or withdrawn.',
  schema: z.object({
    ...ref,
    reason: z.enum(['SUPERSEDED', 'WITHDRAWN']),
    /** The newer version that supersedes this one. */
    by: id.nullable(),
    text: z.string().max(2000).nullable(),
  }),
  example: { ...exampleRef, reason: 'SUPERSEDED', by: EXAMPLE.annotation, text: null },
});
export const VersionReopened = defineEvent({
  type: 'VersionReopened',
  context,
  category: 'version',
  description: 'The version is current again because the newer one was withdrawn.',
  schema: z.object({ ...ref }),
  example: exampleRef,
});

const { filename, note } = upload;
const referenceRef = { ...ref, referenceId: id };
const exampleReferenceRef = { ...exampleRef, referenceId: EXAMPLE.reference };
export const ReferenceAttached = defineEvent({
  type: 'ReferenceAttached',
  context,
  category: 'version',
  description:
    'A picture, film or sound that shows what is meant is laid beside the version: the look, the cut before.',
  schema: z.object({ ...referenceRef, attachedBy: id, filename, blob, media: mediaFacts, note }),
  example: {
    ...exampleReferenceRef,
    attachedBy: EXAMPLE.user,
    filename: 'look_reference.mov',
    blob: { hash: `sha256:${'7e'.repeat(32)}`, size: 2_310_000 },
    media: exampleMedia,
    note: 'The grade of the first season',
  },
});
export const ReferenceDetached = defineEvent({
  type: 'ReferenceDetached',
  context,
  category: 'version',
  description: 'The reference no longer lies beside the version; history keeps it.',
  schema: z.object(referenceRef),
  example: exampleReferenceRef,
});

export const CommentAdded = defineEvent({
  type: 'CommentAdded',
  context,
  category: 'version',
  description: 'A comment, on the whole version or on a frame range; an answer names its parent.',
  schema: z.object({
    ...ref,
    commentId: id,
    authorId: id,
    parentId: id.nullable(),
    text: z.string().max(10_000),
    range: frameRange.nullable(),
    mentions: z.array(id).max(50),
  }),
  example: {
    ...exampleRef,
    commentId: EXAMPLE.comment,
    authorId: EXAMPLE.user,
    parentId: null,
    text: 'Horizon tilts here',
    range: { in: 52, out: 52 },
    mentions: [],
  },
});
export const CommentEdited = defineEvent({
  type: 'CommentEdited',
  context,
  category: 'version',
  description: 'The author changed the words; both are kept.',
  schema: z.object({
    ...ref,
    commentId: id,
    from: z.string().max(10_000),
    to: z.string().min(1).max(10_000),
    mentions: z.array(id).max(50),
  }),
  example: { ...exampleRef, commentId: EXAMPLE.comment, from: 'Horizon tilts', to: 'Horizon tilts left', mentions: [] },
});
const commentRef = z.object({ ...ref, commentId: id });
const exampleCommentRef = { ...exampleRef, commentId: EXAMPLE.comment };
export const CommentDeleted = defineEvent({
  type: 'CommentDeleted',
  context,
  category: 'version',
  description: 'The comment is taken down with its annotations; its answers stay in the thread.',
  schema: commentRef,
  example: exampleCommentRef,
});
export const CommentResolved = defineEvent({
  type: 'CommentResolved',
  context,
  category: 'version',
  description: 'The thread is dealt with.',
  schema: commentRef,
  example: exampleCommentRef,
});
export const CommentReopened = defineEvent({
  type: 'CommentReopened',
  context,
  category: 'version',
  description: 'The thread is open again.',
  schema: commentRef,
  example: exampleCommentRef,
});

export const AnnotationAdded = defineEvent({
  type: 'AnnotationAdded',
  context,
  category: 'version',
  description: 'A drawing over the picture. It belongs to a comment and to its author’s layer.',
  schema: z.object({
    ...ref,
    annotationId: id,
    commentId: id,
    authorId: id,
    range: frameRange.nullable(),
    shape,
    style: annotationStyle,
  }),
  example: {
    ...exampleRef,
    annotationId: EXAMPLE.annotation,
    commentId: EXAMPLE.comment,
    authorId: EXAMPLE.user,
    range: { in: 52, out: 52 },
    shape: { kind: 'ARROW', from: { x: 0.2, y: 0.3 }, to: { x: 0.4, y: 0.35 } },
    style: { colour: '#ff3b30', strokeWidth: 0.004 },
  },
});
const annotationRef = z.object({ ...ref, annotationId: id, commentId: id });
const exampleAnnotationRef = { ...exampleCommentRef, annotationId: EXAMPLE.annotation };
export const AnnotationRemoved = defineEvent({
  type: 'AnnotationRemoved',
  context,
  category: 'version',
  description: 'The drawing is taken away (undo); history keeps it.',
  schema: annotationRef,
  example: exampleAnnotationRef,
});
export const AnnotationRestored = defineEvent({
  type: 'AnnotationRestored',
  context,
  category: 'version',
  description: 'A removed drawing is back (redo).',
  schema: annotationRef,
  example: exampleAnnotationRef,
});

export const DecisionRecorded = defineEvent({
  type: 'DecisionRecorded',
  context,
  category: 'version',
  description: 'A reviewer’s verdict. One stands per reviewer and version; a later one supersedes it.',
  schema: z.object({
    ...ref,
    decisionId: id,
    reviewerId: id,
    reviewerRole: role,
    verdict,
    text: z.string().max(10_000),
    supersedes: id.nullable(),
  }),
  example: {
    ...exampleRef,
    decisionId: EXAMPLE.decision,
    reviewerId: EXAMPLE.user,
    reviewerRole: 'CLIENT',
    verdict: 'CHANGES_REQUESTED',
    text: 'Trim the opening',
    supersedes: null,
  },
});
export const DecisionWithdrawn = defineEvent({
  type: 'DecisionWithdrawn',
  context,
  category: 'version',
  description: 'A reviewer takes a standing verdict back; the history shows both.',
  schema: z.object({ ...ref, decisionId: id, reviewerId: id, reason: z.string().max(2000) }),
  example: { ...exampleRef, decisionId: EXAMPLE.decision, reviewerId: EXAMPLE.user, reason: 'Clicked by accident' },
});
export const VersionOutcomeChanged = defineEvent({
  type: 'VersionOutcomeChanged',
  context,
  category: 'version',
  description: 'The standing decisions, weighed by the stage’s approval policy, come to another result.',
  schema: z.object({ ...ref, deliverableId: id, from: outcome, to: outcome }),
  example: { ...exampleRef, deliverableId: EXAMPLE.deliverable, from: 'PENDING', to: 'CHANGES_REQUESTED' },
});

/** Whose copies they are. */
const transcoded = {
  ...ref,
  /** Set when they are of a reference of the version; absent when they are of the version itself. */
  referenceId: id.optional(),
  source: blob,
};
export const TranscodeCompleted = defineEvent({
  type: 'TranscodeCompleted',
  context,
  category: 'versionMedia',
  description: 'The review copies are stored; the manifest blob lists every file by name and hash.',
  schema: z.object({
    ...transcoded,
    manifest: blob,
    /** Encoded frames, equal to the source’s; null for sound and stills. */
    frames: z.int().nonnegative().nullable(),
    files: z
      .array(
        z.object({
          name: z.string(),
          role: z.string(),
          mime: z.string(),
          hash: blob.shape.hash,
          size: blob.shape.size,
          width: z.int().positive().nullable(),
          height: z.int().positive().nullable(),
          bitrate: z.int().nonnegative().nullable(),
        }),
      )
      .max(500),
    /** EBU R 128 of each programme of sound; absent in events from before it was measured. */
    loudness: z
      .array(
        z.object({
          /** Streams of the file that are one programme. */
          tracks: z.array(z.int().nonnegative()),
          /** LUFS; null for silence. */
          integrated: z.number().nullable(),
          /** LU. */
          range: z.number().nonnegative(),
          /** dBTP; null for silence. */
          truePeak: z.number().nullable(),
        }),
      )
      .max(64)
      .optional(),
  }),
  example: {
    ...exampleRef,
    source: EXAMPLE.blob,
    manifest: { hash: `sha256:${'a0'.repeat(32)}`, size: 1432 },
    frames: 240,
    files: [
      {
        name: 'poster.jpg',
        role: 'POSTER',
        mime: 'image/jpeg',
        hash: `sha256:${'b1'.repeat(32)}`,
        size: 48_210,
        width: 1280,
        height: 720,
        bitrate: null,
      },
    ],
  },
});
export const TranscodeFailed = defineEvent({
  type: 'TranscodeFailed',
  context,
  category: 'versionMedia',
  description: 'The media could not be transcoded; the original is kept and the reason is ffmpeg’s own.',
  schema: z.object({ ...transcoded, code: z.string(), reason: z.string().max(5000) }),
  example: { ...exampleRef, source: EXAMPLE.blob, code: 'TRANSCODE_FAILED', reason: 'moov atom not found' },
});
export const TranscodeRetried = defineEvent({
  type: 'TranscodeRetried',
  context,
  category: 'versionMedia',
  description: 'Somebody asked to transcode again after a failure.',
  schema: z.object(transcoded),
  example: { ...exampleRef, source: EXAMPLE.blob },
});

/** One of the two that are compared: a version, or a reference beside it. */
const compared = z.object({
  versionId: id,
  referenceId: id.nullable(),
  stackId: id,
  /** Of the version. */
  number: z.int().positive(),
  filename,
  blob,
});
const comparisonRef = {
  comparisonId: id,
  /** The version that is compared with something earlier, and its stack: where it is shown. */
  ...ref,
};
const exampleComparison = { comparisonId: EXAMPLE.comparison, ...exampleRef };
const exampleCompared = {
  versionId: EXAMPLE.version,
  referenceId: null,
  stackId: EXAMPLE.stage,
  number: 2,
  filename: 'harbour_edit_v2.mov',
  blob: EXAMPLE.blob,
};
export const ComparisonRequested = defineEvent({
  type: 'ComparisonRequested',
  context,
  category: 'comparison',
  description: 'Somebody asked how a version differs from another or from a reference; again after a failure.',
  schema: z.object({ ...comparisonRef, from: compared, to: compared }),
  example: {
    ...exampleComparison,
    from: {
      ...exampleCompared,
      versionId: EXAMPLE.annotation,
      number: 1,
      filename: 'harbour_edit.mov',
      blob: { hash: `sha256:${'8d'.repeat(32)}`, size: 18_102_400 },
    },
    to: exampleCompared,
  },
});
const frame = z.int().nonnegative();
/** Structural similarity, 0 to 1. */
const ssim = z.number().max(1);
export const ComparisonCompleted = defineEvent({
  type: 'ComparisonCompleted',
  context,
  category: 'comparison',
  description:
    'Which frames of the two are which, how alike they are, and where they differ; stills show where in the picture.',
  schema: z.object({
    ...comparisonRef,
    /** How many each has. */
    frames: z.object({ from: frame, to: frame }),
    /** In the order of the later one; what was removed stands where it was. */
    ranges: z
      .array(
        z.object({
          kind: comparedKind,
          /** Null for INSERTED. */
          from: frameRange.nullable(),
          /** Null for REMOVED. */
          to: frameRange.nullable(),
          /** Of the pairs in it; null where nothing is paired. */
          ssim: z.object({ mean: ssim, min: ssim }).nullable(),
          /** A file that shows where a pair of its frames differs. */
          still: z.object({ name: z.string(), from: frame, to: frame }).nullable(),
        }),
      )
      .max(1000),
    /** There are more ranges than the list takes; the report has them. */
    truncated: z.boolean(),
    /** Of all pairs; null when nothing of the two is the same. PSNR in dB, null when all are identical. */
    quality: z
      .object({
        ssim: z.object({ mean: ssim, min: ssim }),
        psnr: z.object({ mean: z.number(), min: z.number() }).nullable(),
      })
      .nullable(),
    /** The pairs least alike, worst first. */
    worst: z.array(z.object({ from: frame, to: frame, ssim, psnr: z.number().nullable() })).max(10),
    /** JSON with SSIM and PSNR of every pair. */
    report: blob,
    files: z
      .array(
        z.object({
          name: z.string(),
          role: z.enum(['REPORT', 'DIFFERENCE']),
          mime: z.string(),
          hash: blob.shape.hash,
          size: blob.shape.size,
        }),
      )
      .max(64),
  }),
  example: {
    ...exampleComparison,
    frames: { from: 240, to: 230 },
    ranges: [
      { kind: 'SAME', from: { in: 0, out: 51 }, to: { in: 0, out: 51 }, ssim: null, still: null },
      { kind: 'REMOVED', from: { in: 52, out: 61 }, to: null, ssim: null, still: null },
      {
        kind: 'CHANGED',
        from: { in: 62, out: 73 },
        to: { in: 52, out: 63 },
        ssim: { mean: 0.91, min: 0.89 },
        still: { name: 'difference-01.png', from: 66, to: 56 },
      },
      { kind: 'SAME', from: { in: 74, out: 239 }, to: { in: 64, out: 229 }, ssim: null, still: null },
    ],
    truncated: false,
    quality: { ssim: { mean: 0.985, min: 0.89 }, psnr: { mean: 38.2, min: 24.1 } },
    worst: [{ from: 66, to: 56, ssim: 0.89, psnr: 24.1 }],
    report: { hash: `sha256:${'c3'.repeat(32)}`, size: 9120 },
    files: [
      {
        name: 'difference-01.png',
        role: 'DIFFERENCE',
        mime: 'image/png',
        hash: `sha256:${'d4'.repeat(32)}`,
        size: 31_400,
      },
      {
        name: 'comparison.json',
        role: 'REPORT',
        mime: 'application/json',
        hash: `sha256:${'c3'.repeat(32)}`,
        size: 9120,
      },
    ],
  },
});
export const ComparisonFailed = defineEvent({
  type: 'ComparisonFailed',
  context,
  category: 'comparison',
  description: 'The two could not be compared; the reason is ffmpeg’s own. It may be asked for again.',
  schema: z.object({ ...comparisonRef, code: z.string(), reason: z.string().max(5000) }),
  example: { ...exampleComparison, code: 'FFMPEG_FAILED', reason: 'Invalid data found when processing input' },
});

export const versionStackEvents = [VersionUploaded, VersionWithdrawn] as const;
export const versionEvents = [
  VersionOpened,
  VersionClosed,
  VersionReopened,
  ReferenceAttached,
  ReferenceDetached,
  CommentAdded,
  CommentEdited,
  CommentDeleted,
  CommentResolved,
  CommentReopened,
  AnnotationAdded,
  AnnotationRemoved,
  AnnotationRestored,
  DecisionRecorded,
  DecisionWithdrawn,
  VersionOutcomeChanged,
] as const;
export const versionMediaEvents = [TranscodeCompleted, TranscodeFailed, TranscodeRetried] as const;
export const comparisonEvents = [ComparisonRequested, ComparisonCompleted, ComparisonFailed] as const;
export type VersionStackEvent = EventsOf<typeof versionStackEvents>;
export type VersionEvent = EventsOf<typeof versionEvents>;
export type VersionMediaEvent = EventsOf<typeof versionMediaEvents>;
export type ComparisonEvent = EventsOf<typeof comparisonEvents>;
