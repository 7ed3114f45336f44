/** Small entities for specs. */
import type { Annotation, Comment, Decision, StackMessage, Version } from './state.js';

export const ADA = { id: 'ada', name: 'Ada', role: 'PRODUCER' as const };
export const MIRA = { id: 'mira', name: 'Mira', role: 'CLIENT' as const };

export function version(number: number, change: Partial<Version> = {}): Version {
  return {
    id: `v${number}`,
    number,
    status: 'CURRENT',
    filename: 'clip.mov',
    note: '',
    uploadedAt: '2026-01-01T00:00:00Z',
    uploadedBy: ADA,
    outcome: 'PENDING',
    revision: 1,
    withdrawnReason: null,
    commentCount: 0,
    annotationCount: 0,
    revertsTo: null,
    media: {
      status: 'READY',
      kind: 'VIDEO',
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
      sizeBytes: '1000',
      hash: 'sha256:00',
      failure: null,
      posterUrl: null,
      hlsUrl: '/media/a',
      proxyUrl: null,
      originalUrl: null,
    },
    ...change,
  };
}

export function comment(id: string, change: Partial<Comment> = {}): Comment {
  return {
    id,
    versionId: 'v1',
    parentId: null,
    author: ADA,
    text: `text of ${id}`,
    range: null,
    createdAt: `2026-01-01T00:00:00Z`,
    editedAt: null,
    resolved: false,
    deleted: false,
    annotations: [],
    ...change,
  };
}

export function annotation(id: string, commentId: string, change: Partial<Annotation> = {}): Annotation {
  return {
    id,
    commentId,
    author: ADA,
    range: { in: 10, out: 10 },
    shape: {
      kind: 'PIN',
      at: { x: 0.5, y: 0.5 },
      x: null,
      y: null,
      width: null,
      height: null,
      from: null,
      to: null,
      points: null,
      text: null,
      size: null,
    },
    colour: '#ff453a',
    strokeWidth: 0.006,
    removed: false,
    createdAt: '2026-01-01T00:00:00Z',
    ...change,
  };
}

export function decision(id: string, change: Partial<Decision> = {}): Decision {
  return {
    id,
    versionId: 'v1',
    reviewer: MIRA,
    reviewerRole: 'CLIENT',
    verdict: 'APPROVED',
    text: '',
    standing: true,
    withdrawn: false,
    createdAt: '2026-01-01T00:00:00Z',
    ...change,
  };
}

export function message(position: number | string, change: Partial<StackMessage> = {}): StackMessage {
  return {
    position: String(position),
    eventType: 'CommentAdded',
    at: '2026-01-01T00:00:00Z',
    actor: ADA,
    stack: { id: 'stack', current: { id: 'v1' } },
    stage: null,
    version: null,
    comment: null,
    annotation: null,
    decision: null,
    comparison: null,
    ...change,
  };
}
