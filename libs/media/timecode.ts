/**
 * Time on media: integer frames, exact rational rates, and their SMPTE ST 12-1 labels. Pure; no I/O.
 *
 * A frame number is never derived from a floating-point time: `floor(n / fps * fps)` is not `n` for 6 % of the frames of an hour
 * at 24000/1001. Seconds are rationals.
 */
import { fail, ok, type Result } from './result.js';

/** A rational number in lowest terms, `den` > 0. */
export interface Rational {
  readonly num: number;
  readonly den: number;
}

/** Frames per second as a rational, for instance `{ num: 24000, den: 1001 }`. */
export type Rate = Rational;

/**
 * An immutable (frozen) instant: `frame` counts from the label 00:00:00:00. It may lie beyond a day or be negative after arithmetic;
 * {@link rollOver} brings it back into the day.
 */
export interface Timecode {
  readonly frame: number;
  readonly rate: Rate;
  readonly dropFrame: boolean;
}

export interface FormatOptions {
  /** Count with drop-frame labels (29.97, 59.94 and 119.88 only). Default: that of `start`, else false. */
  dropFrame?: boolean;
  /** Label of frame 0 of the media: frames since 00:00:00:00, or a timecode. Default 0. */
  start?: number | Timecode;
  /** Writes a negative instant as `-00:00:01:00` (a duration, an offset) instead of rolling it under midnight. Default false. */
  signed?: boolean;
  /** What stands before the frames of a drop-frame label. Default `;`. */
  dropMark?: ';' | '.' | ',';
}

const NAMED_RATES = {
  '23.976': [24000, 1001],
  '24': [24, 1],
  '25': [25, 1],
  '29.97': [30000, 1001],
  '30': [30, 1],
  '47.952': [48000, 1001],
  '48': [48, 1],
  '50': [50, 1],
  '59.94': [60000, 1001],
  '60': [60, 1],
  '100': [100, 1],
  '119.88': [120000, 1001],
  '120': [120, 1],
} as const;

export type RateName = keyof typeof NAMED_RATES;

/** The rates post-production uses, by their usual names. */
export const RATES = Object.fromEntries(
  Object.entries(NAMED_RATES).map(([name, [num, den]]) => [name, Object.freeze({ num, den })]),
) as Readonly<Record<RateName, Rate>>;

/** `num/den` in lowest terms. Throws RangeError for a zero denominator or numbers that are not safe integers. */
export function rational(num: number, den: number): Rational {
  if (!Number.isSafeInteger(num) || !Number.isSafeInteger(den) || den === 0) {
    throw new RangeError(`not a rational: ${num}/${den}`);
  }
  return reduce(BigInt(num), BigInt(den));
}

function reduce(num: bigint, den: bigint): Rational {
  if (den < 0n) [num, den] = [-num, -den];
  let [a, b] = [num < 0n ? -num : num, den];
  while (b) [a, b] = [b, a % b];
  const divisor = a || 1n;
  const [n, d] = [Number(num / divisor), Number(den / divisor)];
  if (!Number.isSafeInteger(n) || !Number.isSafeInteger(d)) throw new RangeError('rational out of range');
  return { num: n, den: d };
}

export function sameRate(a: Rate, b: Rate): boolean {
  return compareRationals(a, b) === 0;
}

/** Exact order: negative, 0 or positive. */
export function compareRationals(a: Rational, b: Rational): number {
  const difference = BigInt(a.num) * BigInt(b.den) - BigInt(b.num) * BigInt(a.den);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** Exact sum. Throws RangeError when it does not fit safe integers. */
export function addRationals(a: Rational, b: Rational): Rational {
  return reduce(BigInt(a.num) * BigInt(b.den) + BigInt(b.num) * BigInt(a.den), BigInt(a.den) * BigInt(b.den));
}

export function multiplyRationals(a: Rational, b: Rational): Rational {
  return reduce(BigInt(a.num) * BigInt(b.num), BigInt(a.den) * BigInt(b.den));
}

/** Accepts `24000/1001`, `24`, and the usual names (`23.976`, `23.98`, `29.97`, `47.95`, `59.94`…). */
export function parseRate(text: string): Result<Rate> {
  const trimmed = text.trim();
  const fraction = /^(\d{1,9})\s*\/\s*(\d{1,9})$/.exec(trimmed);
  if (fraction) {
    const [num, den] = [Number(fraction[1]), Number(fraction[2])];
    if (num > 0 && den > 0) return ok(rational(num, den));
    return fail('INVALID_RATE', `“${text}” is not a frame rate.`);
  }
  if (/^\d{1,4}$/.test(trimmed) && Number(trimmed) > 0) return ok({ num: Number(trimmed), den: 1 });
  if (/^\d{1,4}\.\d{1,6}$/.test(trimmed)) {
    const value = Number(trimmed);
    // The decimal names round or truncate num/1001: 23.976, 23.98, 23.97, 29.97, 47.95, 47.952, 59.94, 119.88.
    const nominal = Math.ceil(value - 1e-9);
    if (nominal > 0 && Math.abs((nominal * 1000) / 1001 - value) < 0.0101 && value < nominal) {
      return ok({ num: nominal * 1000, den: 1001 });
    }
    if (value === nominal) return ok({ num: nominal, den: 1 });
    const decimals = trimmed.split('.')[1]!.length;
    if (value > 0) return ok(rational(Math.round(value * 10 ** decimals), 10 ** decimals));
  }
  return fail('INVALID_RATE', `“${text}” is not a frame rate.`);
}

/** Labels per second of the counting base: 24 for 23.976, 30 for 29.97. */
export function nominalRate(rate: Rate): number {
  return Math.max(1, Math.round(rate.num / rate.den));
}

/** Drop-frame counting is defined for n × 30000/1001 only (ST 12-1: 29.97 and, by frame pairs, 59.94; likewise 119.88). */
export function supportsDropFrame(rate: Rate): boolean {
  const nominal = nominalRate(rate);
  return nominal % 30 === 0 && BigInt(rate.num) * 1001n === BigInt(nominal) * 1000n * BigInt(rate.den);
}

/** Labels left out at the start of every minute that is not a multiple of ten. */
function droppedPerMinute(rate: Rate): number {
  return nominalRate(rate) / 15;
}

/** Frames from 00:00:00:00 to the same label a day later. */
export function framesPerDay(rate: Rate, dropFrame = false): number {
  const nominal = nominalRate(rate);
  return 86_400 * nominal - (dropFrame ? 24 * 54 * droppedPerMinute(rate) : 0);
}

/**
 * Parses `HH:MM:SS:FF`. A `;`, `.` or `,` before the frames (or between all fields) means drop-frame, as ffmpeg and most editors
 * read it. A leading `-` negates. Refused (`INVALID_TIMECODE`): fields out of range, drop-frame marks at a rate that has none,
 * labels that drop-frame leaves out (`00:01:00;00`), more than 23 hours.
 */
export function parseTimecode(text: string, rate: Rate): Result<Timecode> {
  const refuse = (why: string) =>
    fail('INVALID_TIMECODE', `“${text.slice(0, 32)}” is not a timecode at ${rateText(rate)}: ${why}.`);
  const match = /^(-?)(\d{2})([:;.,])(\d{2})([:;.,])(\d{2})([:;.,])(\d{2,3})$/.exec(text.trim());
  if (!match) return refuse('expected HH:MM:SS:FF');
  const [hours, minutes, seconds, frames] = [match[2], match[4], match[6], match[8]].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const separators = [match[3], match[5], match[7]] as [string, string, string];
  const dropFrame = separators[2] !== ':';
  const all = separators[0] === separators[2] && separators[1] === separators[2];
  if (!all && !(separators[0] === ':' && separators[1] === ':')) return refuse('mixed separators');
  const nominal = nominalRate(rate);
  if (hours > 23) return refuse('hours go to 23');
  if (minutes > 59) return refuse('minutes go to 59');
  if (seconds > 59) return refuse('seconds go to 59');
  if (frames >= nominal) return refuse(`frames go to ${nominal - 1}`);
  if (match[8]!.length !== frameDigits(nominal)) return refuse(`frames have ${frameDigits(nominal)} digits`);
  if (dropFrame && !supportsDropFrame(rate)) return refuse('this rate has no drop-frame counting');
  const totalMinutes = hours * 60 + minutes;
  let frame = (totalMinutes * 60 + seconds) * nominal + frames;
  if (dropFrame) {
    const drop = droppedPerMinute(rate);
    if (seconds === 0 && frames < drop && minutes % 10 !== 0)
      return refuse('drop-frame counting leaves this label out');
    frame -= drop * (totalMinutes - Math.floor(totalMinutes / 10));
  }
  return ok(timecode(match[1] ? 0 - frame : frame, rate, dropFrame));
}

function frameDigits(nominal: number): number {
  return nominal > 100 ? 3 : 2;
}

/**
 * The label of frame `frame` of a medium whose frame 0 is labelled `start`. Rolls over at 24 hours; negative instants before
 * midnight roll under (`-1` is 23:59:59:23 at 24) unless `signed`. Throws RangeError for a non-integer frame or drop-frame at a rate without it.
 */
export function formatTimecode(frame: number, rate: Rate, options: FormatOptions = {}): string {
  const start = options.start ?? 0;
  const origin = typeof start === 'number' ? start : start.frame;
  const dropFrame = options.dropFrame ?? (typeof start === 'number' ? false : start.dropFrame);
  const absolute = frame + origin;
  if (!Number.isSafeInteger(absolute)) throw new RangeError(`not a frame number: ${frame}`);
  if (dropFrame && !supportsDropFrame(rate)) throw new RangeError(`${rateText(rate)} has no drop-frame counting`);
  const nominal = nominalRate(rate);
  const day = framesPerDay(rate, dropFrame);
  const minus = options.signed === true && absolute < 0;
  let label = modulo(minus ? -absolute : absolute, day);
  if (dropFrame) {
    const drop = droppedPerMinute(rate);
    const tenMinutes = 600 * nominal - 9 * drop;
    const tens = Math.floor(label / tenMinutes);
    const rest = label % tenMinutes;
    // The first minute of each ten has all its labels; each of the other nine lacks `drop`.
    const minutesPast = rest < drop ? 0 : Math.floor((rest - drop) / (60 * nominal - drop));
    label += drop * (9 * tens + minutesPast);
  }
  const pad = (value: number, width = 2) => String(value).padStart(width, '0');
  const seconds = Math.floor(label / nominal);
  return (
    `${minus ? '-' : ''}${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}` +
    `${dropFrame ? (options.dropMark ?? ';') : ':'}${pad(label % nominal, frameDigits(nominal))}`
  );
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

/** The label of a timecode value itself. */
export function timecodeText(timecode: Timecode): string {
  return formatTimecode(timecode.frame, timecode.rate, { dropFrame: timecode.dropFrame });
}

/** A timecode value, checked. Throws RangeError for a non-integer frame or drop-frame at a rate without it. */
export function timecode(frame: number, rate: Rate, dropFrame = false): Timecode {
  if (!Number.isSafeInteger(frame)) throw new RangeError(`not a frame number: ${frame}`);
  if (dropFrame && !supportsDropFrame(rate)) throw new RangeError(`${rateText(rate)} has no drop-frame counting`);
  return Object.freeze({ frame, rate, dropFrame });
}

/** `timecode` moved by whole frames, without roll-over (formatting rolls over). */
export function addFrames(value: Timecode, frames: number): Timecode {
  return timecode(value.frame + frames, value.rate, value.dropFrame);
}

/** The same label within the day, 00:00:00:00 to the last frame before midnight. */
export function rollOver(value: Timecode): Timecode {
  return timecode(modulo(value.frame, framesPerDay(value.rate, value.dropFrame)), value.rate, value.dropFrame);
}

/** Frames from `a` to `b`, negative when `b` is earlier. Throws RangeError when their rates differ: their frames are not the same. */
export function framesBetween(a: Timecode, b: Timecode): number {
  if (!sameRate(a.rate, b.rate)) throw new RangeError(`${rateText(a.rate)} and ${rateText(b.rate)} share no frames`);
  return b.frame - a.frame;
}

/** Order in real time, exact across rates: negative, 0 or positive. */
export function compareTimecodes(a: Timecode, b: Timecode): number {
  return compareRationals(framesToSeconds(a.frame, a.rate), framesToSeconds(b.frame, b.rate));
}

/** The frame of another rate or counting that is shown at the start of this one, both counted from 00:00:00:00. */
export function atRate(value: Timecode, rate: Rate, dropFrame = false): Timecode {
  return timecode(secondsToFrames(framesToSeconds(value.frame, value.rate), rate), rate, dropFrame);
}

/** Exact start time of a frame, in seconds. */
export function framesToSeconds(frame: number, rate: Rate): Rational {
  return reduce(BigInt(frame) * BigInt(rate.den), BigInt(rate.num));
}

/** The frame shown at an exact time: floor(seconds × rate). */
export function secondsToFrames(seconds: Rational, rate: Rate): number {
  return floorDivide(BigInt(seconds.num) * BigInt(rate.num), BigInt(seconds.den) * BigInt(rate.den));
}

function floorDivide(num: bigint, den: bigint): number {
  const quotient = num / den;
  return Number(num % den < 0n ? quotient - 1n : quotient);
}

/**
 * The frame shown at a player's floating-point time. Players report the start of a frame a little early or late, so a time within
 * `tolerance` of a frame (default 1 %) before its start counts as that frame.
 */
export function frameAtTime(seconds: number, rate: Rate, tolerance = 0.01): number {
  return Math.floor((seconds * rate.num) / rate.den + tolerance);
}

/** First audio sample at or after the start of a frame. */
export function framesToSamples(frame: number, rate: Rate, sampleRate: number): number {
  return 0 - floorDivide(-BigInt(frame) * BigInt(rate.den) * BigInt(sampleRate), BigInt(rate.num));
}

/** The frame during which a sample sounds: the inverse of {@link framesToSamples} for the samples it gives. */
export function samplesToFrames(sample: number, rate: Rate, sampleRate: number): number {
  return floorDivide(BigInt(sample) * BigInt(rate.num), BigInt(sampleRate) * BigInt(rate.den));
}

/** Frames in a foot of film: 16 mm, and 35 mm of four perforations. */
const FRAMES_PER_FOOT = { '16mm': 40, '35mm': 16 } as const;
export type FilmGauge = keyof typeof FRAMES_PER_FOOT;

/** `5584+12`: whole feet and the frames beyond them. Throws RangeError for a non-integer frame. */
export function formatFeetFrames(frame: number, gauge: FilmGauge): string {
  if (!Number.isSafeInteger(frame)) throw new RangeError(`not a frame number: ${frame}`);
  const perFoot = FRAMES_PER_FOOT[gauge];
  const count = Math.abs(frame);
  return `${frame < 0 ? '-' : ''}${Math.floor(count / perFoot)}+${String(count % perFoot).padStart(2, '0')}`;
}

/** Frames of `5584+12`. INVALID_TIMECODE for another shape or more frames than a foot holds. */
export function parseFeetFrames(text: string, gauge: FilmGauge): Result<number> {
  const match = /^(-?)(\d{1,12})\+(\d{1,2})$/.exec(text.trim());
  const perFoot = FRAMES_PER_FOOT[gauge];
  if (!match || Number(match[3]) >= perFoot) {
    return fail(
      'INVALID_TIMECODE',
      `“${text.slice(0, 32)}” is not feet+frames of ${gauge} (${perFoot} frames a foot).`,
    );
  }
  const frames = Number(match[2]) * perFoot + Number(match[3]);
  return ok(match[1] ? 0 - frames : frames);
}

/** `1001/24000s`, or `5s` when whole: a time of FCPXML (Apple, FCPXML reference, time values). */
export function formatFcpxTime(seconds: Rational): string {
  return `${rateText(seconds)}s`;
}

/** Seconds of an FCPXML time. INVALID_TIMECODE for another shape, a zero denominator or numbers beyond 2⁵³ in lowest terms. */
export function parseFcpxTime(text: string): Result<Rational> {
  const refuse = () => fail('INVALID_TIMECODE', `“${text.slice(0, 48)}” is not a time like 1001/24000s.`);
  const match = /^(-?\d{1,19})(?:\/(\d{1,10})|\.(\d{1,9}))?s$/.exec(text.trim());
  if (!match) return refuse();
  const decimals = match[3] ?? '';
  const den = match[2] === undefined ? 10n ** BigInt(decimals.length) : BigInt(match[2]);
  try {
    return den === 0n ? refuse() : ok(reduce(BigInt(`${match[1]}${decimals}`), den));
  } catch {
    return refuse();
  }
}

/** Frames of an exact time. INVALID_TIMECODE when it is not the start of a frame: nothing is rounded silently. */
export function wholeFrames(seconds: Rational, rate: Rate): Result<number> {
  const frames = multiplyRationals(seconds, rate);
  if (frames.den === 1) return ok(frames.num);
  return fail('INVALID_TIMECODE', `${formatFcpxTime(seconds)} is not on a frame of ${rateText(rate)}.`);
}

/** `24000/1001`, or `24` when whole. */
export function rateText(rate: Rate): string {
  return rate.den === 1 ? String(rate.num) : `${rate.num}/${rate.den}`;
}
