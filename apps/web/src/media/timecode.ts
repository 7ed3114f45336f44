/**
 * SMPTE ST 12-1 labels of whole frames. Pure. A label is display only: places on media are integer frames everywhere else.
 */

/** Frames per second, exact: 23.976 is `{ num: 24000, den: 1001 }`. */
export interface Rate {
  readonly num: number;
  readonly den: number;
}

/** How the frames of one medium are labelled. */
export interface Labelling {
  readonly rate: Rate;
  readonly dropFrame: boolean;
  /** Count of the label of frame 0, in frames from 00:00:00:00. */
  readonly start: number;
}

/** Labels per second of the counting base: 24 for 23.976, 30 for 29.97. */
export function nominalRate(rate: Rate): number {
  return Math.max(1, Math.round(rate.num / rate.den));
}

/** Drop-frame counting exists at 29.97 and its multiples only. */
export function supportsDropFrame(rate: Rate): boolean {
  const nominal = nominalRate(rate);
  return nominal % 30 === 0 && rate.num * 1001 === nominal * 1000 * rate.den;
}

function framesPerDay(rate: Rate, dropFrame: boolean): number {
  const nominal = nominalRate(rate);
  return 86_400 * nominal - (dropFrame ? (24 * 54 * nominal) / 15 : 0);
}

/** `HH:MM:SS:FF` of an absolute count of frames; `;` before the frames when drop-frame. Rolls over at 24 hours. */
export function formatCount(count: number, rate: Rate, dropFrame: boolean): string {
  const nominal = nominalRate(rate);
  const drop = dropFrame && supportsDropFrame(rate) ? nominal / 15 : 0;
  const day = framesPerDay(rate, drop > 0);
  let label = ((Math.trunc(count) % day) + day) % day;
  if (drop > 0) {
    // Every minute leaves out its first `drop` labels, but not each tenth minute.
    const perTen = 600 * nominal - 9 * drop;
    const rest = label % perTen;
    const minutes = rest < drop ? 0 : Math.floor((rest - drop) / (60 * nominal - drop));
    label += drop * (9 * Math.floor(label / perTen) + minutes);
  }
  const seconds = Math.floor(label / nominal);
  const two = (value: number) => String(value).padStart(2, '0');
  const frames = String(label % nominal).padStart(nominal > 100 ? 3 : 2, '0');
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${drop > 0 ? ';' : ':'}${frames}`;
}

/** The count a label stands for, or null when it is no label at this rate (`00:01:00;00` is left out by drop-frame). */
export function parseCount(text: string, rate: Rate, dropFrame: boolean): number | null {
  const match = /^(\d{1,2})[:;.,](\d{1,2})[:;.,](\d{1,2})[:;.,](\d{1,3})$/.exec(text.trim());
  if (!match) return null;
  const [hours, minutes, seconds, frames] = match.slice(1).map(Number) as [number, number, number, number];
  const nominal = nominalRate(rate);
  if (hours > 23 || minutes > 59 || seconds > 59 || frames >= nominal) return null;
  const count = (hours * 3600 + minutes * 60 + seconds) * nominal + frames;
  if (!dropFrame || !supportsDropFrame(rate)) return count;
  const drop = nominal / 15;
  if (seconds === 0 && frames < drop && minutes % 10 !== 0) return null;
  const total = hours * 60 + minutes;
  return count - drop * (total - Math.floor(total / 10));
}

/** How a medium labels its frames; a missing or unreadable start counts from 00:00:00:00. */
export function labelling(rate: Rate, startTimecode: string | null | undefined, dropFrame: boolean): Labelling {
  const drop = dropFrame && supportsDropFrame(rate);
  return { rate, dropFrame: drop, start: startTimecode ? (parseCount(startTimecode, rate, drop) ?? 0) : 0 };
}

/** Label of frame `frame` of the medium, 0 the first. */
export function timecodeAt(frame: number, labels: Labelling): string {
  return formatCount(frame + labels.start, labels.rate, labels.dropFrame);
}

/**
 * The frame somebody means by what they typed: a whole label, the end of one (`2:14` is two seconds and fourteen frames of the
 * same minute counted from the start), or `+12` / `-12` frames from `current`. Null when it is none of these.
 */
export function frameFromText(text: string, labels: Labelling, current: number): number | null {
  const trimmed = text.trim();
  const step = /^([+-])(\d{1,6})$/.exec(trimmed);
  if (step) return current + (step[1] === '-' ? -1 : 1) * Number(step[2]);
  if (/^\d{1,9}$/.test(trimmed)) return Number(trimmed);
  const parts = trimmed.split(/[:;.,]/);
  if (parts.length === 4) {
    const count = parseCount(trimmed, labels.rate, labels.dropFrame);
    return count === null ? null : count - labels.start;
  }
  if (parts.length < 2 || parts.length > 3) return null;
  // A short label counts from the first frame, as people read a clip's running time.
  const padded = [...Array<string>(4 - parts.length).fill('00'), ...parts].join(':');
  return parseCount(padded, labels.rate, false);
}
