/** A few hundred numbers a frame, from which frames of two encodings are told to be the same picture. */
import { runFfmpeg, type RunLimits } from '../ffmpeg/index.js';
import type { MediaInfo } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import { formatOf } from '../sniff.js';

/** Brightness in a coarse grid, one after another, row by row, 0 to 255. */
export interface Signatures {
  readonly count: number;
  readonly columns: number;
  readonly rows: number;
  readonly data: Uint8Array;
}

export const SIGNATURE_COLUMNS = 32;
export const SIGNATURE_ROWS = 18;
/** Six hours at 24 frames a second; 300 MB. */
const MAX_FRAMES = 518_400;

/**
 * The signature of every frame, from one decode. 576 bytes a frame. NOT_COMPARABLE when there is no picture or more than 518,400
 * frames; else the runner's codes.
 */
export async function frameSignatures(
  path: string,
  info: MediaInfo,
  {
    onProgress,
    ...limits
  }: Pick<RunLimits, 'signal' | 'timeoutMs' | 'threads' | 'nice'> & {
    /** 0 to 1, where the number of frames is known. */
    readonly onProgress?: (fraction: number) => void;
  } = {},
): Promise<Result<Signatures>> {
  if (info.kind !== 'VIDEO' || !info.video) return fail('NOT_COMPARABLE', 'There is no moving picture to compare.');
  if ((info.durationFrames ?? 0) > MAX_FRAMES)
    return fail('NOT_COMPARABLE', `More than ${MAX_FRAMES} frames are too many.`);
  const cells = SIGNATURE_COLUMNS * SIGNATURE_ROWS;
  let data = new Uint8Array(((info.durationFrames ?? 0) + 16) * cells);
  let filled = 0;
  const abort = new AbortController();
  const run = await runFfmpeg({
    inputs: [{ path, demuxer: formatOf(info.container).demuxer }],
    output: [
      ...['-map', `0:${info.video.index}`, '-fps_mode', 'passthrough'],
      ...['-vf', `scale=${SIGNATURE_COLUMNS}:${SIGNATURE_ROWS}:flags=area,format=gray`, '-f', 'rawvideo', 'pipe:1'],
    ],
    timeoutMs: 300_000 + 60_000 * (info.durationSeconds ?? 0),
    stallMs: 120_000,
    ...limits,
    signal: limits.signal ? AbortSignal.any([limits.signal, abort.signal]) : abort.signal,
    onStdout: (chunk) => {
      if (filled + chunk.length > data.length) {
        if (filled + chunk.length > MAX_FRAMES * cells) return abort.abort();
        const larger = new Uint8Array(Math.min(MAX_FRAMES * cells, (data.length + chunk.length) * 2));
        larger.set(data);
        data = larger;
      }
      data.set(chunk, filled);
      filled += chunk.length;
      if (info.durationFrames) onProgress?.(Math.min(1, filled / cells / info.durationFrames));
    },
  });
  if (abort.signal.aborted) return fail('NOT_COMPARABLE', `More than ${MAX_FRAMES} frames are too many.`);
  if (!run.ok) return run;
  const count = Math.floor(filled / cells);
  if (count === 0) return fail('NOT_COMPARABLE', 'No frame could be decoded.', run.value.errors[0]);
  return ok({ count, columns: SIGNATURE_COLUMNS, rows: SIGNATURE_ROWS, data: data.subarray(0, count * cells) });
}
