/** How near the copies of a medium are to it: what the automatic choice holds against its floors. */
import { lineSink, runFfmpeg, type RunLimits } from '../ffmpeg/index.js';
import { fitInside } from '../ladder.js';
import { fail, ok, type Result } from '../result.js';
import { framesToMeasure, mediumInput, type Medium } from './compare.js';

/** A copy with the frames of its source, as a transcode lists it. */
export interface RenditionFile {
  readonly name: string;
  readonly path: string;
  readonly role: string;
  /** Pixels; none of what is only heard. */
  readonly width?: number | null;
}

export interface RenditionOptions extends Pick<RunLimits, 'signal' | 'threads' | 'nice'> {
  /** Frames that are looked at, spread evenly. Default 120. All are decoded. */
  readonly samples?: number;
}

/** Moving pictures, frame for frame with their source. */
const ROLES = ['HLS_SEGMENTS', 'PROXY', 'EDITORIAL'];
/** They are compared at the source's size, and at this when it is larger. Pixels. */
const LARGEST = { width: 1920, height: 1080 };

/**
 * The files with the mean structural similarity (SSIM of brightness and colour, 0 to 1) of each copy to its source, by one pass over
 * all of them: `ssim` for {@link chooseFile}. Copies are scaled up to the source's size, so that what a small one has lost counts.
 * Null for what is no moving picture, and where the pictures differ by design: of HDR, whose copies are brought to SDR, and of
 * interlaced and variable-rate sources, whose frames are made anew or paired by a map. The runner's codes.
 */
export async function measureRenditions<F extends RenditionFile>(
  source: Medium,
  files: readonly F[],
  { samples = 120, ...limits }: RenditionOptions = {},
): Promise<Result<(F & { readonly ssim: number | null })[]>> {
  const { info } = source;
  const video = info.video;
  const interlaced = video?.fieldOrder != null && video.fieldOrder !== 'progressive';
  const comparable = info.kind === 'VIDEO' && video && !video.hdr && !video.variableRate && !interlaced;
  const copies = comparable ? files.filter(({ role, width }) => ROLES.includes(role) && width != null) : [];
  if (copies.length === 0) return ok(files.map((file) => ({ ...file, ssim: null })));

  const size = fitInside({ width: video!.displayWidth, height: video!.displayHeight }, LARGEST);
  const every = Math.max(1, Math.ceil((info.durationFrames ?? 0) / samples));
  const chain = framesToMeasure(`not(mod(n,${every}))`, size, 'yuv420p');
  const graph = [
    `[0:${video!.index}]${chain},split=${copies.length}${copies.map((_, n) => `[s${n}]`).join('')}`,
    ...copies.flatMap((_, n) => [
      `[${n + 1}:v:0]${chain}[c${n}]`,
      `[s${n}][c${n}]ssim,metadata=mode=print:key=lavfi.ssim.All:file='pipe\\:${4 + n}'[o${n}]`,
    ]),
  ];
  const found = copies.map(() => ({ sum: 0, count: 0 }));
  const run = await runFfmpeg({
    inputs: [mediumInput(source), ...copies.map(({ path }) => ({ path, demuxer: 'mov' as const }))],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...copies.flatMap((_, n) => ['-map', `[o${n}]`, '-fps_mode', 'passthrough', '-f', 'null', '-']),
    ],
    sinks: found.map((of) =>
      lineSink((line) => {
        if (!line.startsWith('lavfi.ssim.All=')) return;
        of.sum += Number(line.slice(15));
        of.count += 1;
      }),
    ),
    timeoutMs: 300_000 + 120_000 * (info.durationSeconds ?? 0),
    stallMs: 600_000,
    ...limits,
  });
  if (!run.ok) return run;
  const unmeasured = found.findIndex(({ count }) => count === 0);
  if (unmeasured >= 0) return fail('FFMPEG_FAILED', `${copies[unmeasured]!.name} could not be measured.`);
  return ok(
    files.map((file) => {
      const n = copies.indexOf(file);
      return { ...file, ssim: n < 0 ? null : found[n]!.sum / found[n]!.count };
    }),
  );
}
