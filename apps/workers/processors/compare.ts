import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { COMPARE_ATTEMPTS, comparisonTopic, type CompareJob } from '#libs/application/index.js';
import { comparisonDecider, type ComparisonCommand } from '#libs/domain/index.js';
import type { JobContext } from '#libs/jobs/index.js';
import {
  comparedRanges,
  compareMedia,
  comparisonReport,
  MediaFailure,
  probe,
  worstPairs,
  type BlobHash,
  type BlobRef,
  type Comparison,
  type MediaError,
  type Medium,
  type Result,
} from '#libs/media/index.js';
import { metaOf } from './meta.js';
import type { MediaTools } from './tools.js';

/** Failures of the machine, not of the media: worth another try. */
const TRANSIENT: readonly MediaError['code'][] = ['FFMPEG_MISSING', 'DISK_FULL', 'MEDIA_STALLED'];
const MAX_REASON = 5000;
const MAX_RANGES = 1000;
const MAX_WORST = 10;
/** Nobody waits for a comparison as for a picture. */
const NICE = 5;

type Completed = Extract<ComparisonCommand, { type: 'CompleteComparison' }>['data'];

/**
 * Compares two originals and puts the result in the log. May run twice: files are content-addressed, the result's command
 * id follows from the job's event, and the first success stands.
 */
export async function compare(context: JobContext<CompareJob>, tools: MediaTools): Promise<void> {
  const { data, signal, attempt } = context;
  const { comparisonId, organisationId } = data;
  const { executor, blobs, jobs, logger } = tools;
  const meta = metaOf(data);
  const report = (fraction: number): void => {
    jobs.publishProgress(comparisonTopic(comparisonId), { fraction });
    if (fraction < 1) context.progress(fraction);
  };

  const fail = async ({ code, message, reason }: MediaError): Promise<void> => {
    const tryAgain = code === 'MEDIA_CANCELLED' || (TRANSIENT.includes(code) && attempt < COMPARE_ATTEMPTS);
    if (tryAgain) throw new Error(`${code}: ${reason ?? message}`);
    // Another run of the same job may have been first, with other words: they stand.
    const outcome = await executor.execute(comparisonDecider, comparisonId, {
      type: 'FailComparison',
      data: { comparisonId, code, reason: (reason ?? message).slice(0, MAX_REASON) },
      meta: meta('comparison failed'),
    });
    if (!outcome.ok && outcome.refusal.code !== 'COMMAND_ID_REUSED')
      throw new Error(`The result was refused: ${outcome.refusal.code}`);
    report(1);
    logger.warn({ comparisonId, code, reason }, 'comparison failed');
  };

  const scratch = await mkdtemp(join(tools.workDir, 'compare-'));
  try {
    report(0);
    const stills = join(scratch, 'stills');
    const made = await measured();
    if (!made.ok) return await fail(made.error);
    const outcome = await executor.execute(comparisonDecider, comparisonId, {
      type: 'CompleteComparison',
      data: { comparisonId, ...(await stored(made.value, stills)) },
      meta: meta('comparison completed'),
    });
    // Another run of the same job was first, with files of its own: its result stands.
    if (!outcome.ok && outcome.refusal.code !== 'COMMAND_ID_REUSED')
      throw new Error(`The result was refused: ${outcome.refusal.code}`);
    report(1);

    async function measured(): Promise<Result<Comparison>> {
      let told = 0;
      const [from, to] = [await medium(data.from), await medium(data.to)];
      if (!from.ok) return from;
      if (!to.ok) return to;
      return compareMedia(from.value, to.value, stills, {
        signal,
        threads: tools.threads > 0 ? tools.threads : undefined,
        nice: NICE,
        onProgress: (fraction) => {
          const percent = Math.floor(fraction * 100);
          if (percent > told) report(Math.min((told = percent) / 100, 0.99));
        },
      });
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }

  async function medium(blob: CompareJob['from']): Promise<Result<Medium>> {
    let path: string;
    try {
      path = await blobs.localPath(organisationId, blob.hash as BlobHash);
    } catch (error) {
      if (error instanceof MediaFailure) {
        const { code, message, reason } = error;
        return { ok: false, error: { code, message, reason } };
      }
      throw error;
    }
    const info = await probe(path, { signal });
    return info.ok ? { ok: true, value: { path, info: info.value } } : info;
  }

  async function stored(comparison: Comparison, folder: string): Promise<Omit<Completed, 'comparisonId'>> {
    const ranges = comparedRanges(comparison);
    const kept = ranges.slice(0, MAX_RANGES);
    const files: Completed['files'] = [];
    for (const { still } of ranges) {
      if (!still) continue;
      const ref: BlobRef = await blobs.putFile(organisationId, join(folder, still.name));
      files.push({ name: still.name, role: 'DIFFERENCE', mime: 'image/png', ...ref });
    }
    const text = Buffer.from(JSON.stringify(comparisonReport(comparison)));
    const ref = await blobs.putStream(organisationId, Readable.from([text]));
    files.push({ name: 'comparison.json', role: 'REPORT', mime: 'application/json', ...ref });
    const { overall, pairs, frames } = comparison;
    const [worst] = worstPairs(comparison, 1);
    const noise = pairs.map(({ psnr }) => psnr).filter((psnr) => psnr !== null);
    return {
      frames: { from: frames.a, to: frames.b },
      ranges: kept.map((range) => ({
        ...range,
        ssim: range.ssim && { ...range.ssim },
        still: range.still && { ...range.still },
      })),
      truncated: kept.length < ranges.length,
      quality: overall && {
        ssim: { mean: overall.ssim, min: worst!.ssim },
        psnr:
          overall.psnr === null
            ? null
            : { mean: overall.psnr, min: noise.reduce((least, psnr) => (psnr < least ? psnr : least)) },
      },
      worst: worstPairs(comparison, MAX_WORST)
        .filter(({ ssim, psnr }) => ssim < 1 || psnr !== null)
        .map(({ a, b, ssim, psnr }) => ({ from: a, to: b, ssim, psnr })),
      report: ref,
      files,
    };
  }
}
