/**
 * What became of the media of a version, or of a reference beside it: review copies or a failure. Stream
 * `versionMedia-<versionId>`, or `versionMedia-<referenceId>`.
 */
import { z } from 'zod';
import {
  id,
  TranscodeCompleted,
  TranscodeFailed,
  type BlobRef,
  type Decider,
  type VersionMediaEvent,
} from '#libs/events/catalogue/index.js';
import { isOf, notFound, refused, type CommandsOf } from '../kit.js';

export const commands = {
  /** The organisation comes from the envelope, here and in `FailTranscode`. */
  CompleteTranscode: TranscodeCompleted.schema.omit({ organisationId: true }),
  FailTranscode: TranscodeFailed.schema.omit({ organisationId: true }),
  RetryTranscode: z.object({ versionId: id, referenceId: id.optional() }),
};
export type VersionMediaCommand = CommandsOf<typeof commands>;

export type VersionMediaState = {
  readonly versionId: string;
  /** Absent when the media is the version's own. */
  readonly referenceId?: string;
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

/** Whose media it is, and which bytes. */
const mediaOf = (of: NonNullable<VersionMediaState> | VersionMediaEvent['data']) => {
  const { versionId, referenceId, stackId, projectId, organisationId, source } = of;
  return { versionId, ...(referenceId && { referenceId }), stackId, projectId, organisationId, source };
};

/**
 * The stream begins with the first result, whichever it is. Jobs may run twice, so results are taken as they come: the
 * same again changes nothing, a success wins over a failure whatever their order.
 */
export const versionMediaDecider: Decider<VersionMediaState, VersionMediaCommand, VersionMediaEvent> = {
  category: 'versionMedia',
  initialState: null,
  decide(command, state) {
    const { meta } = command;
    if (state && !isOf(state, meta)) return notFound('version');
    const { organisationId } = meta;
    switch (command.type) {
      case 'CompleteTranscode':
        if (state?.status === 'COMPLETED' && state.manifest === command.data.manifest.hash) return [];
        return [{ type: 'TranscodeCompleted', data: { ...command.data, organisationId } }];
      case 'FailTranscode': {
        const { code, reason } = command.data;
        if (state?.status === 'COMPLETED') return [];
        if (state?.status === 'FAILED' && state.failure?.code === code && state.failure.reason === reason) return [];
        return [{ type: 'TranscodeFailed', data: { ...command.data, organisationId } }];
      }
      case 'RetryTranscode': {
        if (state?.status !== 'FAILED') return refused('NOTHING_TO_RETRY', 'No transcode of this version has failed.');
        return [{ type: 'TranscodeRetried', data: mediaOf(state) }];
      }
    }
  },
  evolve(state, event) {
    const ref = mediaOf(event.data);
    switch (event.type) {
      case 'TranscodeCompleted':
        return { ...ref, status: 'COMPLETED', manifest: event.data.manifest.hash, failure: null };
      case 'TranscodeFailed': {
        const { code, reason } = event.data;
        return { ...ref, status: 'FAILED', manifest: null, failure: { code, reason } };
      }
      case 'TranscodeRetried':
        return { ...ref, status: 'RETRYING', manifest: null, failure: null };
      default:
        return state;
    }
  },
};
