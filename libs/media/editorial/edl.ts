/**
 * CMX 3600 edit decision lists: as the format is used by Avid, Resolve and Premiere. Positions are timecodes of an in point and of the
 * first frame after; the format does not say its frame rate, so the reader is told.
 */
import { ok, type Result } from '../result.js';
import {
  formatTimecode,
  nominalRate,
  parseTimecode,
  rational,
  supportsDropFrame,
  type Rate,
  type Rational,
} from '../timecode.js';
import {
  Misread,
  NORMAL_SPEED,
  checkText,
  invalid,
  layOut,
  placedClips,
  reading,
  sourceFrames,
  type Clip,
  type Marker,
  type Timeline,
  type Track,
  type Transition,
} from './model.js';

/** One line of the list; a dissolve is a line of no length for what goes and one for what comes. */
export interface EdlEvent {
  readonly number: string;
  readonly reel: string;
  /** `V`, `A`, `A2`, `B` (sound and picture), `AA/V`… */
  readonly channels: string;
  readonly transition: Transition | null;
  /** Frames since 00:00:00:00. */
  readonly sourceIn: number;
  readonly sourceOut: number;
  readonly recordIn: number;
  readonly recordOut: number;
  readonly sourceDropFrame: boolean;
  readonly recordDropFrame: boolean;
  readonly speed: Rational;
  /** FROM or TO CLIP NAME. */
  readonly clipName: string | null;
  /** SOURCE FILE. */
  readonly sourceFile: string | null;
  /** LOC: at the record timecode. */
  readonly locators: readonly { readonly at: number; readonly colour: string | null; readonly note: string }[];
  /** Other comments, without the asterisk. */
  readonly comments: readonly string[];
  /** Line in the list. */
  readonly line: number;
}

export interface Edl {
  readonly title: string;
  readonly rate: Rate;
  readonly events: readonly EdlEvent[];
}

const EVENT =
  /^(\d{1,6})\s+(\S+)\s+(\S+)\s+(C|D|W\d{1,3}|K\s?[BO]?)\s+(?:(\d{1,4})\s+)?(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*$/;
/** Lines that are no events and that other tools write. */
const KNOWN = /^(\*|>>>|SPLIT:|GPI\b|M2\b|AUD\b|EFFECTS NAME IS|FINAL CUT PRO|BL\b|MASTER\b)/i;

type Draft = { -readonly [Key in keyof EdlEvent]: EdlEvent[Key] } & {
  locators: { at: number; colour: string | null; note: string }[];
  comments: string[];
};

/** EDITORIAL_INVALID names the line and the column. `rate` is that of both sides. */
export function parseEdl(source: string, rate: Rate): Result<Edl> {
  return reading('EDL', () => readEdl(checkText(source), rate));
}

function readEdl(text: string, rate: Rate): Edl {
  let title = '';
  let dropFrame = false;
  const events: Draft[] = [];
  for (const [index, raw] of text.split(/\r\n|\n|\r/).entries()) {
    const line = raw.trim();
    const where = (what?: string) =>
      `line ${index + 1}${what === undefined ? '' : `, column ${Math.max(0, raw.indexOf(what)) + 1}`}`;
    const last = events.at(-1);
    if (!line) continue;
    if (/^TITLE:/i.test(line)) {
      title = line.slice(6).trim();
    } else if (/^FCM:/i.test(line)) {
      const mode = /^FCM:\s*(NON[- ]DROP|DROP)[- ]FRAME/i.exec(line)?.[1];
      if (!mode) throw new Misread(where(), 'FCM is neither DROP FRAME nor NON-DROP FRAME');
      dropFrame = mode.toUpperCase() === 'DROP';
      if (dropFrame && !supportsDropFrame(rate)) throw new Misread(where(), 'the rate has no drop-frame counting');
    } else if (last && /\|[CMD]:/.test(line)) {
      // Resolve's markers: words, which may begin with a number, and what follows the bars.
      last.comments.push(line);
    } else if (/^\d/.test(line)) {
      const match = EVENT.exec(line);
      if (!match)
        throw new Misread(where(), 'not an event: number, reel, channels, transition and four timecodes are expected');
      events.push(eventOf(match, rate, dropFrame, index + 1, where));
    } else if (/^M2\b/i.test(line)) {
      const motion = /^M2\s+(\S+)\s+(-?\d{1,4}(?:\.\d{1,4})?)\s+(\S+)/i.exec(line);
      if (!motion || !last) throw new Misread(where(), 'M2 needs an event before it, a reel, a speed and a timecode');
      const target = events.findLast((event) => event.reel === motion[1]) ?? last;
      target.speed = speedOf(motion[2]!, rate);
    } else if (line.startsWith('*') || /^(EFFECTS NAME IS|(FROM|TO) CLIP NAME:)/i.test(line)) {
      if (last) comment(last, line.replace(/^\*\s*/, ''), rate, dropFrame, where);
    } else if (!KNOWN.test(line)) {
      throw new Misread(where(), `what is “${line.slice(0, 40)}”?`);
    }
  }
  for (const event of events) {
    const [source, record] = [event.sourceOut - event.sourceIn, event.recordOut - event.recordIn];
    if (record < 0) throw new Misread(`line ${event.line}`, 'the record out point is before the in point');
    const still = event.speed.num === 0;
    if (event.speed.num === event.speed.den && source !== record && !still) {
      throw new Misread(
        `line ${event.line}`,
        `${source} frames of source for ${record} of record, without an M2 speed`,
      );
    }
  }
  return { title, rate, events };
}

function eventOf(
  match: RegExpExecArray,
  rate: Rate,
  dropFrame: boolean,
  line: number,
  where: (what?: string) => string,
): Draft {
  const labels = match.slice(6, 10).map((label) => {
    // Many lists write `:` and say the counting in FCM only.
    const text = dropFrame && !/[;.,]/.test(label) ? label.replace(/:(\d+)$/, ';$1') : label;
    const parsed = parseTimecode(text, rate);
    if (!parsed.ok) throw new Misread(where(label), parsed.error.message);
    return parsed.value;
  });
  const [sourceIn, sourceOut, recordIn, recordOut] = labels.map(({ frame }) => frame) as [
    number,
    number,
    number,
    number,
  ];
  const code = match[4]!;
  const length = match[5] === undefined ? 0 : Number(match[5]);
  if (code.startsWith('K')) throw new Misread(where(code), 'keys are not read');
  if (code !== 'C' && match[5] === undefined) throw new Misread(where(code), `${code} needs its length in frames`);
  return {
    number: match[1]!,
    reel: match[2]!,
    channels: match[3]!.toUpperCase(),
    transition:
      code === 'C'
        ? null
        : { kind: code === 'D' ? 'DISSOLVE' : 'WIPE', code: code === 'D' ? null : code, frames: length },
    ...{ sourceIn, sourceOut, recordIn, recordOut },
    sourceDropFrame: labels[0]!.dropFrame,
    recordDropFrame: labels[2]!.dropFrame,
    ...{ speed: NORMAL_SPEED, clipName: null, sourceFile: null, locators: [], comments: [], line },
  };
}

/** M2 says frames of source a second; normal speed is the counting base. */
function speedOf(text: string, rate: Rate): Rational {
  const [whole, decimals = ''] = text.replace('-', '').split('.');
  const speed = rational(Number(`${whole}${decimals}`), 10 ** decimals.length * nominalRate(rate));
  return text.startsWith('-') ? { num: 0 - speed.num, den: speed.den } : speed;
}

function comment(event: Draft, text: string, rate: Rate, dropFrame: boolean, where: (what?: string) => string): void {
  const named = /^(FROM|TO) CLIP NAME:\s*(.*)$/i.exec(text);
  if (named) {
    // Of a dissolve, FROM is what the line before it showed.
    if (event.transition === null || named[1]!.toUpperCase() === 'TO') event.clipName = named[2]!;
    else event.comments.push(text);
    return;
  }
  const file = /^SOURCE FILE:\s*(.*)$/i.exec(text);
  if (file) {
    event.sourceFile = file[1]!;
    return;
  }
  const locator = /^LOC:\s*(\S+)\s+([A-Z]+)?\s*(.*)$/i.exec(text);
  if (locator) {
    const label = dropFrame ? locator[1]!.replace(/:(\d+)$/, ';$1') : locator[1]!;
    const at = parseTimecode(label, rate);
    if (!at.ok) throw new Misread(where(locator[1]), at.error.message);
    event.locators.push({ at: at.value.frame, colour: locator[2]?.toLowerCase() ?? null, note: locator[3]!.trim() });
    return;
  }
  event.comments.push(text);
}

export interface WriteEdlOptions {
  /** Longest reel name; longer ones are refused unless `shorten`. CMX has 8; Avid and Resolve read 32 and more. Default 32. */
  readonly reelLength?: number;
}

const NO_SPACE = /[^\x21-\x7e]/g;

/** The list as text, with CRLF as tools expect. EDITORIAL_INVALID when an event has no place in the format. */
export function writeEdl(edl: Edl, options: WriteEdlOptions = {}): Result<string> {
  const longest = options.reelLength ?? 32;
  const lines = [`TITLE: ${oneLine(edl.title)}`];
  let mode: boolean | null = null;
  const start = edl.events[0];
  if (!start) lines.push('FCM: NON-DROP FRAME');
  for (const event of edl.events) {
    if (event.recordDropFrame !== mode) {
      mode = event.recordDropFrame;
      lines.push(`FCM: ${mode ? 'DROP FRAME' : 'NON-DROP FRAME'}`, '');
    }
    const reel = event.reel.replace(NO_SPACE, '_') || 'AX';
    if (reel.length > longest) {
      return invalid('EDL', `event ${event.number}`, `the reel name “${reel}” is longer than ${longest} characters`);
    }
    const { transition: way, speed } = event;
    const code = way === null ? 'C' : way.kind === 'DISSOLVE' ? 'D' : (way.code ?? 'W001');
    if (way && way.frames > 9999)
      return invalid('EDL', `event ${event.number}`, 'the transition is longer than 9999 frames');
    const label = (frame: number, dropFrame: boolean) => formatTimecode(frame, edl.rate, { dropFrame });
    lines.push(
      [
        `${event.number.padStart(3, '0')}  ${reel.padEnd(8)} ${event.channels.padEnd(5)} ${code.padEnd(4)}`,
        way ? String(way.frames).padStart(3, '0') : '   ',
        label(event.sourceIn, event.sourceDropFrame),
        label(event.sourceOut, event.sourceDropFrame),
        label(event.recordIn, event.recordDropFrame),
        label(event.recordOut, event.recordDropFrame),
      ].join(' '),
    );
    if (speed.num !== speed.den) {
      const perSecond = (speed.num / speed.den) * nominalRate(edl.rate);
      const text = `${perSecond < 0 ? '-' : ''}${Math.abs(perSecond).toFixed(1).padStart(5, '0')}`;
      lines.push(`M2   ${reel.padEnd(8)} ${text}                ${label(event.sourceIn, event.sourceDropFrame)}`);
    }
    if (event.clipName !== null) lines.push(`* ${way ? 'TO' : 'FROM'} CLIP NAME: ${oneLine(event.clipName)}`);
    if (event.sourceFile !== null) lines.push(`* SOURCE FILE: ${oneLine(event.sourceFile)}`);
    for (const { at, colour, note } of event.locators) {
      lines.push(
        `* LOC: ${label(at, event.recordDropFrame)} ${(colour ?? 'red').toUpperCase().padEnd(7)} ${oneLine(note)}`,
      );
    }
    for (const text of event.comments) lines.push(/\|[CMD]:/.test(text) ? ` ${oneLine(text)}` : `* ${oneLine(text)}`);
  }
  return ok(`${lines.map((line) => line.trimEnd()).join('\r\n')}\r\n`);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

/** Tracks of picture and of sound an event goes to, counted from 0. */
function channelTracks(channels: string): { video: number[]; audio: number[] } | null {
  const video: number[] = [];
  const audio: number[] = [];
  for (const part of channels === 'B' ? ['A', 'V'] : channels.split('/')) {
    const match = /^(V|A|AA)(\d{1,2})?$/.exec(part);
    if (part === 'NONE') continue;
    if (!match) return null;
    const index = Math.max(0, Number(match[2] ?? 1) - 1);
    if (match[1] === 'V') video.push(index);
    else audio.push(...(match[1] === 'AA' ? [0, 1] : [index]));
  }
  return { video, audio };
}

/** EDITORIAL_INVALID when events overlap on a track. Lines of no length, which only say what a dissolve comes from, make no clip. */
export function edlToTimeline(edl: Edl): Result<Timeline> {
  const start = edl.events.length ? Math.min(...edl.events.map(({ recordIn }) => recordIn)) : 0;
  const lanes = new Map<string, { at: number; clip: Clip; line: number }[]>();
  for (const event of edl.events) {
    const tracks = channelTracks(event.channels);
    if (!tracks) return invalid('EDL', `line ${event.line}`, `unknown channels “${event.channels}”`);
    const frames = event.recordOut - event.recordIn;
    if (frames === 0) continue;
    const at = event.recordIn - start;
    const markers = event.locators
      .filter((locator) => locator.at >= event.recordIn && locator.at < event.recordOut)
      .map((locator): Marker => {
        return { at: locator.at - event.recordIn, frames: 1, name: '', note: locator.note, colour: locator.colour };
      });
    const clip: Clip = {
      kind: 'CLIP',
      name: event.clipName ?? event.reel,
      media: {
        name: event.clipName ?? event.reel,
        reel: event.reel,
        url: event.sourceFile,
        ...{ rate: edl.rate, start: null, frames: null },
      },
      sourceStart: event.sourceIn,
      ...{ frames, speed: event.speed, transition: event.transition, markers, notes: event.comments },
    };
    for (const [kind, indices] of [
      ['V', tracks.video],
      ['A', tracks.audio],
    ] as const) {
      for (const index of indices) {
        const key = `${kind}${String(index).padStart(2, '0')}`;
        const lane = lanes.get(key) ?? [];
        lanes.set(key, lane);
        lane.push({ at, clip: kind === 'V' ? clip : { ...clip, markers: [], notes: [] }, line: event.line });
      }
    }
  }
  const tracks: Track[] = [];
  // Picture first, then sound; lower tracks first.
  for (const [key, lane] of [...lanes].sort(([a], [b]) =>
    a[0] === b[0] ? a.localeCompare(b) : a[0] === 'V' ? -1 : 1,
  )) {
    lane.sort((a, b) => a.at - b.at);
    const laid = layOut(key.startsWith('V') ? 'VIDEO' : 'AUDIO', lane);
    if ('overlap' in laid) {
      return invalid(
        'EDL',
        `line ${lane[laid.overlap]!.line}`,
        'the event begins before the one before it on the track ends',
      );
    }
    tracks.push(laid.track);
  }
  const dropFrame = edl.events[0]?.recordDropFrame ?? false;
  return ok({ name: edl.title, rate: edl.rate, dropFrame, start, tracks, markers: [] });
}

/** All clips as events, in the order of record time. Only tracks are kept that have a name in the format: `V`, `V2`, `A`, `A2`… */
export function timelineToEdl(timeline: Timeline): Edl {
  const counts = { VIDEO: 0, AUDIO: 0 };
  const placed = timeline.tracks.flatMap((track, order) => {
    const number = (counts[track.kind] += 1);
    const channels = `${track.kind === 'VIDEO' ? 'V' : 'A'}${number > 1 ? number : ''}`;
    return placedClips(track).map(({ at, clip }, index, all) => ({
      at,
      clip,
      channels,
      order,
      before: all[index - 1],
    }));
  });
  placed.sort((a, b) => a.at - b.at || a.order - b.order);
  const events: EdlEvent[] = [];
  for (const [index, { at, clip, channels, before }] of placed.entries()) {
    const number = String(index + 1).padStart(3, '0');
    const recordIn = timeline.start + at;
    const shared = {
      ...{
        number,
        channels,
        recordIn,
        sourceDropFrame: timeline.dropFrame,
        recordDropFrame: timeline.dropFrame,
        line: 0,
      },
    };
    if (clip.transition) {
      // What goes: black, or the end of the clip that stops here.
      const touches = before && before.at + before.clip.frames === at ? before.clip : null;
      const end = touches ? touches.sourceStart + sourceFrames(touches) : 0;
      events.push({
        ...shared,
        reel: touches ? reelOf(touches) : 'BL',
        transition: null,
        ...{ sourceIn: end, sourceOut: end, recordOut: recordIn, speed: NORMAL_SPEED },
        ...{ clipName: null, sourceFile: null, locators: [], comments: [] },
      });
    }
    events.push({
      ...shared,
      reel: reelOf(clip),
      transition: clip.transition,
      sourceIn: clip.sourceStart,
      sourceOut: clip.sourceStart + sourceFrames(clip),
      recordOut: recordIn + clip.frames,
      speed: clip.speed,
      clipName: clip.name,
      sourceFile: clip.media.url,
      locators: clip.markers.map((marker) => ({
        at: recordIn + marker.at,
        colour: marker.colour,
        note: [marker.name, marker.note].filter(Boolean).join(': '),
      })),
      comments: clip.notes,
    });
  }
  return { title: timeline.name, rate: timeline.rate, events };
}

function reelOf(clip: Clip): string {
  return clip.media.reel ?? clip.media.name;
}
