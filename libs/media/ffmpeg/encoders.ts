/**
 * Which encoder makes a kind of picture on this machine: hardware where it really works, software else. A build that lists
 * `h264_nvenc` says nothing about the card: a few frames are encoded to find out, once per process.
 */
import { readdirSync } from 'node:fs';
import { fail, ok, type Result } from '../result.js';
import { ffmpegCapabilities } from './capabilities.js';
import { ffmpegPrograms, runFfmpeg, type FfmpegJob, type RunOutcome } from './run.js';

export type PictureKind = 'h264' | 'hevc' | 'av1' | 'prores';
export type HardwareApi = 'NVENC' | 'VIDEOTOOLBOX' | 'QSV' | 'VAAPI';

export interface PictureEncoder {
  /** ffmpeg's name: `h264_nvenc`. */
  readonly name: string;
  /** Null for software. */
  readonly hardware: HardwareApi | null;
  /** Options before the inputs: the device. */
  readonly globals: readonly string[];
  /** What must end the filter chain: the pixel format it takes, and the way to the card. */
  readonly filter: string;
}

export interface ChosenEncoder {
  readonly encoder: PictureEncoder;
  /** Those that came first and do not work here, with ffmpeg's reason. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

const HARDWARE: readonly [api: HardwareApi, suffix: string, kinds: readonly PictureKind[]][] = [
  ['NVENC', 'nvenc', ['h264', 'hevc', 'av1']],
  ['VIDEOTOOLBOX', 'videotoolbox', ['h264', 'hevc', 'prores']],
  ['QSV', 'qsv', ['h264', 'hevc', 'av1']],
  ['VAAPI', 'vaapi', ['h264', 'hevc', 'av1']],
];
const SOFTWARE: Readonly<Record<PictureKind, readonly string[]>> = {
  h264: ['libx264'],
  hevc: ['libx265'],
  av1: ['libsvtav1', 'libaom-av1'],
  prores: ['prores_ks'],
};

/** All encoders of a kind, the preferred first; whether they are there is asked later. */
export function encoderCandidates(kind: PictureKind, renderDevice = firstRenderDevice()): readonly PictureEncoder[] {
  const hardware = HARDWARE.filter(([, , kinds]) => kinds.includes(kind)).map(([api, suffix]): PictureEncoder => {
    const vaapi = api === 'VAAPI';
    return {
      name: `${kind}_${suffix}`,
      hardware: api,
      globals: vaapi ? ['-vaapi_device', renderDevice] : [],
      filter: kind === 'prores' ? 'format=p210le' : vaapi ? 'format=nv12,hwupload' : 'format=nv12',
    };
  });
  const software = SOFTWARE[kind].map((name): PictureEncoder => {
    return { name, hardware: null, globals: [], filter: kind === 'prores' ? 'format=yuv422p10le' : 'format=yuv420p' };
  });
  return [...hardware, ...software];
}

function firstRenderDevice(): string {
  try {
    const name = readdirSync('/dev/dri')
      .filter((entry) => entry.startsWith('renderD'))
      .sort()[0];
    if (name) return `/dev/dri/${name}`;
  } catch {
    // No such folder: the probe will say that there is no device.
  }
  return '/dev/dri/renderD128';
}

/**
 * Constant quality in the encoder's own terms. `crf` is x264's scale, 0 to 51, smaller is better; scales of hardware are close to
 * it, not the same. ProRes has profiles instead: nothing is given.
 */
export function qualityArguments(encoder: PictureEncoder, crf: number): string[] {
  const value = String(crf);
  switch (encoder.hardware) {
    case 'NVENC':
      return ['-rc', 'vbr', '-cq', value, '-b:v', '0'];
    case 'QSV':
      return ['-global_quality', value];
    case 'VAAPI':
      return ['-rc_mode', 'CQP', '-qp', value];
    case 'VIDEOTOOLBOX':
      // 1 to 100, larger is better.
      return encoder.name.startsWith('prores') ? [] : ['-q:v', String(Math.round(100 - (crf / 51) * 99))];
    case null:
      return encoder.name.startsWith('prores') ? [] : ['-crf', value];
  }
}

const PROBE_FRAMES = 5;
const verdicts = new WeakMap<object, Map<string, Promise<string | null>>>();

function verdictsHere(): Map<string, Promise<string | null>> {
  const programs = ffmpegPrograms();
  const here = verdicts.get(programs) ?? new Map<string, Promise<string | null>>();
  verdicts.set(programs, here);
  return here;
}

/** Why an encoder does not work here; null when it does. */
async function tryEncoder(encoder: PictureEncoder): Promise<string | null> {
  const run = await runFfmpeg({
    globals: encoder.globals,
    // Large enough for the smallest picture cards take.
    inputs: [{ lavfi: 'testsrc2=size=320x192:rate=25' }],
    output: [
      ...['-frames:v', String(PROBE_FRAMES), '-vf', encoder.filter, '-c:v', encoder.name],
      ...[...qualityArguments(encoder, 23), '-f', 'null', '-'],
    ],
    timeoutMs: 20_000,
  });
  if (!run.ok) return run.error.reason ?? run.error.message;
  const frames = run.value.progress?.frame ?? 0;
  return frames === PROBE_FRAMES ? null : `only ${frames} of ${PROBE_FRAMES} frames were encoded`;
}

/**
 * The encoder to use: the first that works. `hardware: false` leaves out cards. FFMPEG_FAILED when this ffmpeg has none of the kind,
 * FFMPEG_MISSING.
 */
export async function chooseEncoder(
  kind: PictureKind,
  options: { hardware?: boolean; except?: readonly string[] } = {},
): Promise<Result<ChosenEncoder>> {
  const capabilities = await ffmpegCapabilities();
  if (!capabilities.ok) return capabilities;
  const refused: { name: string; reason: string }[] = [];
  for (const encoder of encoderCandidates(kind)) {
    if (encoder.hardware && options.hardware === false) continue;
    if (!capabilities.value.encoders.has(encoder.name) || options.except?.includes(encoder.name)) continue;
    if (!encoder.hardware) return ok({ encoder, refused });
    const here = verdictsHere();
    const verdict = here.get(encoder.name) ?? tryEncoder(encoder);
    here.set(encoder.name, verdict);
    const reason = await verdict;
    if (reason === null) return ok({ encoder, refused });
    refused.push({ name: encoder.name, reason });
  }
  return fail('FFMPEG_FAILED', `This ffmpeg has no working encoder for ${kind}.`, refused.at(-1)?.reason);
}

export interface EncodedOutcome extends RunOutcome {
  readonly encoder: PictureEncoder;
  /** Encoders that were to do it and failed, with ffmpeg's reason. */
  readonly refused: ChosenEncoder['refused'];
}

/**
 * Runs a job with the best encoder. When hardware fails in the middle (a card that is busy, gone or refuses the picture) the job is
 * done again with the next one, at last in software. When that succeeds it was the card's fault, and it is not asked again by this
 * process; when software fails too, that is the result.
 */
export async function runEncoding(
  kind: PictureKind,
  job: (encoder: PictureEncoder) => FfmpegJob,
  options: { hardware?: boolean } = {},
): Promise<Result<EncodedOutcome>> {
  const failed: { name: string; reason: string }[] = [];
  for (;;) {
    const chosen = await chooseEncoder(kind, { ...options, except: failed.map(({ name }) => name) });
    if (!chosen.ok) return chosen;
    const { encoder, refused } = chosen.value;
    const asked = job(encoder);
    const run = await runFfmpeg({ ...asked, globals: [...encoder.globals, ...(asked.globals ?? [])] });
    if (run.ok) {
      for (const { name, reason } of failed) verdictsHere().set(name, Promise.resolve(reason));
      return ok({ ...run.value, encoder, refused: [...refused, ...failed] });
    }
    const mayBeTheCard = run.error.code === 'FFMPEG_FAILED' || run.error.code === 'MEDIA_STALLED';
    if (!encoder.hardware || !mayBeTheCard) return run;
    failed.push({ name: encoder.name, reason: run.error.reason ?? run.error.message });
  }
}
