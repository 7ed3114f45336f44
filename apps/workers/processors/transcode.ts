import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { progressTopic, type TranscodeJob } from '#libs/application/index.js';
import { versionMediaDecider } from '#libs/domain/index.js';
import type { JobContext } from '#libs/jobs/index.js';
import {
  parseCube,
  probe,
  storeReviewSet,
  transcodeReview,
  type BlobHash,
  type Cube,
  type EditorialSpec,
  type MediaError,
  type MediaInfo,
  type Result,
} from '#libs/media/index.js';
import { metaOf } from './meta.js';
import type { MediaTools } from './tools.js';

export interface TranscodeTools extends MediaTools {
  readonly ladder: LadderSettings;
}

/** What the operator asks of every upload beside the review copies. */
export interface LadderSettings {
  readonly editorial?: EditorialSpec;
  /** Looks by the transfer characteristic of the source, `unknown` where it tells none. */
  readonly luts: readonly { readonly transfer: string; readonly path: string }[];
  readonly hardware: boolean;
}

/** Failures of the machine, not of the media: worth another try. */
const TRANSIENT: readonly MediaError['code'][] = ['FFMPEG_MISSING', 'MEDIA_CANCELLED', 'DISK_FULL', 'MEDIA_STALLED'];
const MAX_REASON = 5000;

/**
 * Makes the review copies of a version, or of a reference beside it, and puts the result in the log. May run twice:
 * outputs are content-addressed and the result's command id follows from the job's event, so twice is as good as once.
 */
export async function transcode(context: JobContext<TranscodeJob>, tools: TranscodeTools): Promise<void> {
  const { data, signal } = context;
  const { executor, blobs, jobs, logger } = tools;
  const { versionId, referenceId, stackId, projectId, organisationId, source } = data;
  const ref = { versionId, referenceId, stackId, projectId, source };
  const mediaId = referenceId ?? versionId;
  const meta = metaOf(data);
  const report = (fraction: number, more: { fps?: number; frame?: number } = {}) =>
    jobs.publishProgress(progressTopic(mediaId), { fraction, ...more });

  const fail = async ({ code, message, reason }: MediaError): Promise<void> => {
    if (TRANSIENT.includes(code)) throw new Error(`${code}: ${reason ?? message}`);
    const outcome = await executor.execute(versionMediaDecider, mediaId, {
      type: 'FailTranscode',
      data: { ...ref, code, reason: (reason ?? message).slice(0, MAX_REASON) },
      meta: meta('transcode failed'),
    });
    if (!outcome.ok) throw new Error(`The result was refused: ${outcome.refusal.code}`);
    report(1);
    logger.warn({ versionId, referenceId, code, reason }, 'transcode failed');
  };

  const scratch = await mkdtemp(join(tools.workDir, 'transcode-'));
  try {
    report(0);
    const input = await blobs.localPath(organisationId, source.hash as BlobHash);
    const info = await probe(input, { signal });
    if (!info.ok) return await fail(info.error);
    const lut = await lookFor(info.value, tools.ladder.luts);
    if (!lut.ok) return await fail(lut.error);
    const made = await transcodeReview(input, join(scratch, 'review'), info.value, {
      signal,
      ...{ editorial: tools.ladder.editorial, lut: lut.value, hardware: tools.ladder.hardware },
      sourceName: data.filename,
      threads: tools.threads > 0 ? tools.threads : undefined,
      onProgress: ({ fraction, fps, frame }) => {
        // The last step is in the log, not in ffmpeg.
        report(Math.min(fraction, 0.99), { fps, frame });
        context.progress(fraction);
      },
    });
    if (!made.ok) return await fail(made.error);
    const { manifest, ref: stored } = await storeReviewSet(blobs, organisationId, made.value);
    const outcome = await executor.execute(versionMediaDecider, mediaId, {
      type: 'CompleteTranscode',
      data: {
        ...ref,
        manifest: stored,
        frames: made.value.frames,
        files: manifest.files.map(
          ({ width = null, height = null, bitrate = null, frames: _frames, purpose: _purpose, ...file }) => ({
            ...file,
            width,
            height,
            bitrate,
          }),
        ),
      },
      meta: meta('transcode completed'),
    });
    // Another run of the same job was first, with files of its own: its result stands.
    if (!outcome.ok && outcome.refusal.code !== 'COMMAND_ID_REUSED')
      throw new Error(`The result was refused: ${outcome.refusal.code}`);
    report(1);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The look an operator set for pictures like these. A file that is missing is the machine's fault; one that is broken is said. */
async function lookFor(info: MediaInfo, luts: LadderSettings['luts']): Promise<Result<Cube | undefined>> {
  const transfer = info.video?.colour.transfer ?? 'unknown';
  const wanted = info.kind === 'VIDEO' ? luts.find((lut) => lut.transfer === transfer) : undefined;
  return wanted ? parseCube(await readFile(wanted.path, 'utf8')) : { ok: true, value: undefined };
}
