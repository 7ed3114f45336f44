/** What became of a version's media: review copies or a failure. Stream `versionMedia-<versionId>`. */
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
        const { versionId, stackId, projectId, source } = state;
        return [{ type: 'TranscodeRetried', data: { versionId, stackId, projectId, organisationId, source } }];
      }
    }
  },
  evolve(state, event) {
    const { versionId, stackId, projectId, organisationId, source } = event.data;
    const ref = { versionId, stackId, projectId, organisationId, source };
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
