/** What is wrong with a medium by itself, measured from one decode. */
import { lineSink, runFfmpeg, type RunLimits } from '../ffmpeg/index.js';
import type { MediaInfo } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import { formatOf } from '../sniff.js';
import type { Rate } from '../timecode.js';

/** Frames one after another; frame 0 is the medium's first. */
export interface FrameSpan {
  readonly first: number;
  readonly count: number;
}

export interface Spread {
  readonly mean: number;
  readonly max: number;
  /** Frame of the maximum. */
  readonly maxFrame: number;
}

export interface PictureQuality {
  readonly frames: number;
  readonly rate: Rate;
  readonly black: readonly FrameSpan[];
  /** The picture stands still. */
  readonly frozen: readonly FrameSpan[];
  /** First frames of scenes after the first, with how different they are from the frame before, 0 to 100. */
  readonly cuts: readonly { readonly frame: number; readonly score: number }[];
  /** Width of edges, pixels (blurdetect): larger is softer. Null when nothing had an edge. */
  readonly blur: Spread | null;
  /** How much stronger differences are on a grid than off it (blockdetect): 1 is none. */
  readonly block: Spread | null;
  /** What each frame looks like, whatever its flags say (idet). */
  readonly fields: {
    readonly progressive: number;
    readonly topFirst: number;
    readonly bottomFirst: number;
    readonly undetermined: number;
  };
}

export interface SoundQuality {
  /** Programme loudness, LUFS (EBU R 128); null for silence. */
  readonly integrated: number | null;
  /** Loudness range, LU (EBU Tech 3342). */
  readonly range: number;
  /** Largest of any channel, dBTP; null for silence. */
  readonly truePeak: number | null;
  readonly maxMomentary: number | null;
  readonly maxShortTerm: number | null;
  /** In samples of the track. ffmpeg tells them in seconds with six digits: exact to a millisecond in the first quarter of an hour. */
  readonly silent: readonly { readonly start: number; readonly count: number }[];
  readonly sampleRate: number;
}

export interface QualityReport {
  readonly picture: PictureQuality | null;
  /** Of the first track. */
  readonly sound: SoundQuality | null;
  /** Something was found more often than is kept. */
  readonly truncated: boolean;
}

export interface MeasureOptions extends Pick<RunLimits, 'signal' | 'timeoutMs' | 'threads' | 'nice'> {
  /** Shortest black and frozen parts, frames. Defaults 1 and half a second. */
  readonly minBlack?: number;
  readonly minFrozen?: number;
  /** Shortest silence, seconds, and what is silent, dBFS. Defaults 0.5 and −60. */
  readonly minSilence?: number;
  readonly silenceBelow?: number;
  /** Scene cuts from this score on, 0 to 100. Default 10. */
  readonly cutScore?: number;
  /** Each frame's own figures, as they come; null where there is none. */
  readonly onFrame?: (frame: { frame: number; blur: number | null; block: number | null; change: number }) => void;
}

/** Of each list. */
const MAX_FOUND = 10_000;

/**
 * Black, frozen and silent parts, scene cuts, softness, blocks, fields and loudness. All filters share one decode, and one frame is
 * one second to them, so that what they call time is the number of the frame. FFMPEG_FAILED, and the runner's other codes; a still is
 * NOT_COMPARABLE.
 */
export async function measureQuality(
  path: string,
  info: MediaInfo,
  options: MeasureOptions = {},
): Promise<Result<QualityReport>> {
  const { video } = info;
  const [sound] = info.audio;
  if (info.kind === 'IMAGE' || (!video && !sound))
    return fail('NOT_COMPARABLE', 'A still has nothing to measure over time.');
  const fps = info.rate ? info.rate.num / info.rate.den : 25;
  const minBlack = Math.max(1, options.minBlack ?? 1);
  const minFrozen = Math.max(2, options.minFrozen ?? Math.round(fps / 2));
  const pictureReader = video && info.kind === 'VIDEO' ? new PictureReader(minBlack, options.onFrame) : null;
  const soundReader = sound ? new SoundReader(sound.sampleRate) : null;
  const graph: string[] = [];
  if (pictureReader) {
    const filters = [
      'settb=1/1,setpts=N',
      // What all of them take; 10 bits would be converted for each one anew.
      'format=yuv420p|yuv422p|yuv444p',
      'idet,blackdetect=d=0',
      // Reported when it has lasted as long as this, hence one less than the frames that make it up.
      `freezedetect=d=${minFrozen - 1}`,
      `scdet=threshold=${options.cutScore ?? 10}`,
      "blurdetect,blockdetect,metadata=mode=print:file='pipe\\:1'",
    ];
    graph.push(`[0:${video!.index}]${filters.join(',')}[picture]`);
  }
  if (soundReader) {
    const noise = 10 ** ((options.silenceBelow ?? -60) / 20);
    graph.push(
      `[0:${sound!.index}]aresample=48000,ebur128=metadata=1:peak=true,` +
        `silencedetect=noise=${noise.toFixed(8)}:duration=${options.minSilence ?? 0.5},ametadata=mode=print:file='pipe\\:4'[sound]`,
    );
  }
  const run = await runFfmpeg({
    inputs: [{ path, demuxer: formatOf(info.container).demuxer }],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...(pictureReader ? ['-map', '[picture]'] : []),
      ...(soundReader ? ['-map', '[sound]'] : []),
      ...['-fps_mode', 'passthrough', '-f', 'null', '-'],
    ],
    onStdout: lineSink((line) => pictureReader?.take(line)),
    sinks: [lineSink((line) => soundReader?.take(line))],
    timeoutMs: options.timeoutMs ?? 300_000 + 60_000 * (info.durationSeconds ?? 0),
    stallMs: 120_000,
    signal: options.signal,
    threads: options.threads,
    nice: options.nice,
  });
  if (!run.ok) return run;
  const picture = pictureReader?.finish(info.rate!, minFrozen) ?? null;
  const heard = soundReader?.finish(info.audio[0]!.durationSamples) ?? null;
  if (pictureReader && picture!.frames === 0)
    return fail('FFMPEG_FAILED', 'No frame could be decoded.', run.value.errors[0]);
  return ok({ picture, sound: heard, truncated: Boolean(pictureReader?.truncated || soundReader?.truncated) });
}

class Mean {
  private sum = 0;
  private count = 0;
  private max = Number.NEGATIVE_INFINITY;
  private maxFrame = -1;

  add(value: number, frame: number): void {
    this.sum += value;
    this.count += 1;
    if (value > this.max) [this.max, this.maxFrame] = [value, frame];
  }

  spread(): Spread | null {
    return this.count === 0 ? null : { mean: this.sum / this.count, max: this.max, maxFrame: this.maxFrame };
  }
}

/** `frame:12   pts:…` and the `key=value` lines of that frame, as `metadata=print` writes them. */
abstract class MetadataReader {
  truncated = false;
  protected frame = -1;
  private values = new Map<string, string>();

  take(line: string): void {
    const head = /^frame:(\d+)/.exec(line);
    if (head) {
      this.flush();
      this.frame = Number(head[1]);
      return;
    }
    const equals = line.indexOf('=');
    if (equals > 0) this.values.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
  }

  protected flush(): void {
    if (this.frame >= 0) this.use(this.values);
    this.values = new Map();
  }

  protected abstract use(values: ReadonlyMap<string, string>): void;

  protected keep<T>(list: T[], item: T): void {
    if (list.length < MAX_FOUND) list.push(item);
    else this.truncated = true;
  }
}

const finite = (text: string | undefined): number | null => {
  const value = text === undefined ? Number.NaN : Number(text);
  return Number.isFinite(value) ? value : null;
};

class PictureReader extends MetadataReader {
  private readonly black: FrameSpan[] = [];
  private readonly frozen: FrameSpan[] = [];
  private readonly cuts: { frame: number; score: number }[] = [];
  private readonly blur = new Mean();
  private readonly block = new Mean();
  private readonly fields = { progressive: 0, topFirst: 0, bottomFirst: 0, undetermined: 0 };
  private blackFrom: number | null = null;
  private frozenFrom: number | null = null;

  constructor(
    private readonly minBlack: number,
    private readonly onFrame: MeasureOptions['onFrame'],
  ) {
    super();
  }

  protected use(values: ReadonlyMap<string, string>): void {
    const { frame } = this;
    const number = (key: string) => finite(values.get(`lavfi.${key}`));
    if (values.has('lavfi.black_end')) this.endBlack(frame);
    if (values.has('lavfi.black_start')) this.blackFrom ??= frame;
    if (values.has('lavfi.freezedetect.freeze_end')) this.endFrozen(number('freezedetect.freeze_end')!);
    const frozenFrom = number('freezedetect.freeze_start');
    if (frozenFrom !== null) this.frozenFrom = Math.round(frozenFrom);
    const change = number('scd.score') ?? 0;
    if (values.has('lavfi.scd.time')) this.keep(this.cuts, { frame, score: change });
    const [blur, block] = [number('blur'), number('block')];
    if (blur !== null) this.blur.add(blur, frame);
    if (block !== null) this.block.add(block, frame);
    const looks = values.get('lavfi.idet.multiple.current_frame');
    if (looks === 'tff') this.fields.topFirst += 1;
    else if (looks === 'bff') this.fields.bottomFirst += 1;
    else if (looks === 'progressive') this.fields.progressive += 1;
    else this.fields.undetermined += 1;
    this.onFrame?.({ frame, blur, block, change });
  }

  private endBlack(end: number): void {
    const first = this.blackFrom;
    this.blackFrom = null;
    if (first !== null && end - first >= this.minBlack) this.keep(this.black, { first, count: end - first });
  }

  private endFrozen(end: number): void {
    const first = this.frozenFrom;
    this.frozenFrom = null;
    if (first !== null) this.keep(this.frozen, { first, count: Math.round(end) - first });
  }

  finish(rate: Rate, minFrozen: number): PictureQuality {
    this.flush();
    const frames = this.frame + 1;
    // What lasts to the end has no end line.
    this.endBlack(frames);
    this.endFrozen(frames);
    const { black, cuts, fields } = this;
    const frozen = this.frozen.filter(({ count }) => count >= minFrozen);
    return { frames, rate, black, frozen, cuts, blur: this.blur.spread(), block: this.block.spread(), fields };
  }
}

/** Nothing below it is loudness: ebur128 says −70 for silence. */
const SILENCE_LUFS = -69.9;

class SoundReader extends MetadataReader {
  private readonly silent: { start: number; count: number }[] = [];
  private integrated: number | null = null;
  private range = 0;
  private momentary: number | null = null;
  private shortTerm: number | null = null;
  private peak = Number.NEGATIVE_INFINITY;
  private decibels = false;
  private silentFrom: number | null = null;

  constructor(private readonly sampleRate: number) {
    super();
  }

  protected use(values: ReadonlyMap<string, string>): void {
    const loud = (key: string) => {
      const value = finite(values.get(`lavfi.r128.${key}`));
      return value === null || value < SILENCE_LUFS ? null : value;
    };
    const larger = (before: number | null, now: number | null) =>
      now === null ? before : Math.max(before ?? now, now);
    if (values.has('lavfi.r128.I')) this.integrated = loud('I');
    this.range = finite(values.get('lavfi.r128.LRA')) ?? this.range;
    this.momentary = larger(this.momentary, loud('M'));
    this.shortTerm = larger(this.shortTerm, loud('S'));
    for (const [key, value] of values) {
      if (!key.startsWith('lavfi.r128.true_peaks_ch')) continue;
      const peak = Number(value);
      // Some versions tell the amplitude, 0 to about 1, others decibels below it.
      if (peak < 0) this.decibels = true;
      if (peak > this.peak) this.peak = peak;
    }
    const at = (key: string) => {
      const found = [...values].find(([name]) => name === `lavfi.${key}` || name.startsWith(`lavfi.${key}.`));
      return found ? finite(found[1]) : null;
    };
    const end = at('silence_end');
    if (end !== null) this.endSilence(Math.round(end * this.sampleRate));
    const start = at('silence_start');
    if (start !== null) this.silentFrom = Math.max(0, Math.round(start * this.sampleRate));
  }

  private endSilence(end: number): void {
    const start = this.silentFrom;
    this.silentFrom = null;
    if (start !== null && end > start) this.keep(this.silent, { start, count: end - start });
  }

  finish(samples: number | null): SoundQuality {
    this.flush();
    if (this.silentFrom !== null) this.endSilence(samples ?? this.silentFrom);
    const { integrated, range, silent, sampleRate, peak } = this;
    const truePeak = this.decibels ? peak : 20 * Math.log10(peak);
    return {
      integrated,
      range,
      truePeak: Number.isFinite(truePeak) ? Math.round(truePeak * 100) / 100 : null,
      maxMomentary: this.momentary,
      maxShortTerm: this.shortTerm,
      silent,
      sampleRate,
    };
  }
}
