/**
 * Final Cut Pro 7 XML (“xmeml” 4 and 5, Apple's Final Cut Pro XML Interchange Format): what Premiere, Resolve and Avid exchange.
 * Positions are frames of the sequence; a rate is `timebase` and `ntsc`.
 */
import { type Result } from '../result.js';
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
  layOut,
  placedClips,
  reading,
  sourceFrames,
  trackFrames,
  type Clip,
  type Marker,
  type MediaReference,
  type Timeline,
  type Track,
  type Transition,
} from './model.js';
import {
  child,
  childrenOf,
  needInteger,
  needText,
  node,
  parseXml,
  textOf,
  writeXml,
  type XmlElement,
  type XmlNode,
} from './xml.js';

/** The first sequence of the project. EDITORIAL_INVALID names line and column. */
export function parseFcp7(source: string): Result<Timeline> {
  return reading('FCP7 XML', () => {
    const root = parseXml(source);
    if (root.name !== 'xmeml') throw new Misread(root.where, `expected <xmeml>, found <${root.name}>`);
    const sequence = findSequence(root);
    if (!sequence) throw new Misread(root.where, 'there is no <sequence> with <media>');
    return timelineOf(sequence);
  });
}

function findSequence(element: XmlElement): XmlElement | undefined {
  if (element.name === 'sequence' && child(element, 'media')) return element;
  for (const inner of element.children) {
    const found = findSequence(inner);
    if (found) return found;
  }
  return undefined;
}

function rateOf(element: XmlElement, otherwise?: Rate): Rate {
  const rate = child(element, 'rate');
  if (!rate) {
    if (otherwise) return otherwise;
    throw new Misread(element.where, `<${element.name}> has no rate`);
  }
  const base = needInteger(rate, 'timebase');
  if (base < 1 || base > 1000) throw new Misread(rate.where, `${base} is no timebase`);
  return /^true$/i.test(textOf(rate, 'ntsc') ?? '') ? rational(base * 1000, 1001) : { num: base, den: 1 };
}

/** Start label of a `timecode` element, and its counting. */
function timecodeOf(element: XmlElement | undefined, rate: Rate): { frame: number; dropFrame: boolean } | null {
  if (!element) return null;
  const own = rateOf(element, rate);
  // Premiere says DF of files at 30, which has no drop-frame counting.
  const dropFrame = textOf(element, 'displayformat') === 'DF' && supportsDropFrame(own);
  const text = textOf(element, 'string')?.replace(/[;.,]/g, ':');
  if (text !== undefined) {
    const parsed = parseTimecode(dropFrame ? text.replace(/:(\d+)$/, ';$1') : text, own);
    if (!parsed.ok) throw new Misread(element.where, parsed.error.message);
    return { frame: parsed.value.frame, dropFrame };
  }
  return textOf(element, 'frame') === undefined ? null : { frame: needInteger(element, 'frame'), dropFrame };
}

function timelineOf(sequence: XmlElement): Timeline {
  const rate = rateOf(sequence);
  const timecode = timecodeOf(child(sequence, 'timecode'), rate);
  const files = new Map<string, XmlElement>();
  const media = child(sequence, 'media')!;
  const tracks: Track[] = [];
  for (const [name, kind] of [
    ['video', 'VIDEO'],
    ['audio', 'AUDIO'],
  ] as const) {
    for (const track of childrenOf(child(media, name) ?? media, 'track'))
      tracks.push(trackOf(track, kind, rate, files));
  }
  while (tracks.at(-1)?.items.length === 0) tracks.pop();
  return {
    name: textOf(sequence, 'name') ?? '',
    ...{ rate, dropFrame: timecode?.dropFrame ?? false, start: timecode?.frame ?? 0, tracks },
    markers: childrenOf(sequence, 'marker').map((marker) => markerOf(marker, 0)),
  };
}

function trackOf(track: XmlElement, kind: Track['kind'], rate: Rate, files: Map<string, XmlElement>): Track {
  const placed: { at: number; clip: Clip }[] = [];
  let way: { start: number; end: number; transition: Transition } | null = null;
  for (const element of track.children) {
    if (element.name === 'transitionitem') {
      const [start, end] = [needInteger(element, 'start'), needInteger(element, 'end')];
      const effect = child(element, 'effect');
      const wipe = /wipe/i.test(textOf(effect ?? element, 'name') ?? '')
        ? Number(textOf(effect!, 'wipecode') ?? 1)
        : null;
      const code = wipe === null ? null : `W${String(wipe).padStart(3, '0')}`;
      const transition: Transition = { kind: code ? 'WIPE' : 'DISSOLVE', code, frames: end - start };
      way = { start, end, transition };
      // A clip that ends in a transition says -1: it shows until the transition's end, ours until its start.
      const last = placed.at(-1);
      if (last && last.at + last.clip.frames > start)
        placed[placed.length - 1] = { at: last.at, clip: { ...last.clip, frames: start - last.at } };
    } else if (element.name === 'clipitem') {
      const clip = clipOf(element, rate, files);
      const begins = clip.start === -1 ? (way?.start ?? Number.NaN) : clip.start;
      if (!Number.isFinite(begins))
        throw new Misread(element.where, 'the clip begins in a transition that is not there');
      const ends = clip.end === -1 ? begins + clip.out - clip.in : clip.end;
      if (ends <= begins) throw new Misread(element.where, 'the clip ends before it begins');
      const transition = way && begins >= way.start && begins < way.end ? way.transition : null;
      // A clip that begins inside the transition is drawn back to its start, as far as it shows there.
      const at = transition ? way!.start : begins;
      const early = begins - at;
      placed.push({
        at,
        clip: { ...clip.value, frames: ends - at, sourceStart: clip.value.sourceStart - early, transition },
      });
      way = null;
    } else if (element.name === 'generatoritem') {
      way = null;
    }
  }
  const laid = layOut(kind, placed);
  if ('overlap' in laid)
    throw new Misread(track.where, `clip ${laid.overlap + 1} of the track begins before the one before it ends`);
  return laid.track;
}

interface ReadClip {
  readonly start: number;
  readonly end: number;
  readonly in: number;
  readonly out: number;
  readonly value: Clip;
}

function clipOf(element: XmlElement, rate: Rate, files: Map<string, XmlElement>): ReadClip {
  const [start, end, from, to] = ['start', 'end', 'in', 'out'].map((name) => needInteger(element, name)) as [
    number,
    number,
    number,
    number,
  ];
  const named = child(element, 'file');
  const id = named?.attributes['id'];
  // A file is described once; later clips name it by its id.
  if (named && id && named.children.length > 0) files.set(id, named);
  const file = (id && files.get(id)) || named;
  const media = mediaOf(element, file, rate);
  return {
    ...{ start, end, in: from, out: to },
    value: {
      kind: 'CLIP',
      name: textOf(element, 'name') ?? '',
      media,
      sourceStart: (media.start ?? 0) + from,
      frames: to - from,
      speed: speedOf(element),
      transition: null,
      markers: childrenOf(element, 'marker').map((marker) => markerOf(marker, from)),
      notes: childrenOf(child(element, 'comments') ?? element, 'mastercomment1')
        .map(({ text }) => text)
        .filter(Boolean),
    },
  };
}

function mediaOf(clip: XmlElement, file: XmlElement | undefined, rate: Rate): MediaReference {
  if (!file) return { name: textOf(clip, 'name') ?? '', reel: null, url: null, rate, start: null, frames: null };
  const own = rateOf(file, rate);
  const timecode = child(file, 'timecode');
  const duration = textOf(file, 'duration');
  return {
    name: textOf(file, 'name') ?? textOf(clip, 'name') ?? '',
    reel: timecode ? (textOf(timecode, 'reel', 'name') ?? null) : null,
    url: textOf(file, 'pathurl') ?? null,
    rate: own,
    start: timecodeOf(timecode, own)?.frame ?? null,
    frames: duration === undefined ? null : needInteger(file, 'duration'),
  };
}

/** The Time Remap effect of constant speed, in per cent. */
function speedOf(clip: XmlElement): Rational {
  for (const filter of childrenOf(clip, 'filter')) {
    const effect = child(filter, 'effect');
    if (!effect || textOf(effect, 'effectid') !== 'timeremap') continue;
    const value = (id: string) =>
      childrenOf(effect, 'parameter').find((parameter) => textOf(parameter, 'parameterid') === id);
    const speed = value('speed');
    const percent = Number(speed ? needText(speed, 'value') : 100);
    if (!Number.isFinite(percent)) throw new Misread(effect.where, 'the speed is not a number');
    const reverse = /^true$/i.test(textOf(value('reverse') ?? effect, 'value') ?? '');
    return rational(Math.round(percent * 10_000) * (reverse ? -1 : 1), 1_000_000);
  }
  return NORMAL_SPEED;
}

function markerOf(marker: XmlElement, origin: number): Marker {
  const from = needInteger(marker, 'in');
  const to = textOf(marker, 'out') === undefined ? -1 : needInteger(marker, 'out');
  return {
    at: from - origin,
    // -1: no out point.
    frames: to > from ? to - from : 1,
    ...{ name: textOf(marker, 'name') ?? '', note: textOf(marker, 'comment') ?? '' },
    colour: textOf(marker, 'pproColor') ? null : (textOf(marker, 'color')?.toLowerCase() ?? null),
  };
}

/** The timeline as an xmeml 5 project of one sequence. */
export function writeFcp7(timeline: Timeline): string {
  const rate = (value: Rate) =>
    node('rate', {}, [
      node('timebase', {}, nominalRate(value)),
      node('ntsc', {}, nominalRate(value) * value.den === value.num ? 'FALSE' : 'TRUE'),
    ]);
  const timecode = (frame: number, of: Rate, dropFrame: boolean, reel: string | null) =>
    node('timecode', {}, [
      rate(of),
      node('string', {}, formatTimecode(frame, of, { dropFrame })),
      node('frame', {}, frame),
      node('displayformat', {}, dropFrame ? 'DF' : 'NDF'),
      ...(reel === null ? [] : [node('reel', {}, [node('name', {}, reel)])]),
    ]);
  const marker = (origin: number) => (value: Marker) =>
    node('marker', {}, [
      node('comment', {}, value.note),
      node('name', {}, value.name),
      node('in', {}, origin + value.at),
      node('out', {}, value.frames > 1 ? origin + value.at + value.frames : -1),
      ...(value.colour === null ? [] : [node('color', {}, value.colour)]),
    ]);
  const known = new Map<string, string>();
  const file = (media: MediaReference): XmlNode => {
    const key = JSON.stringify(media);
    const before = known.get(key);
    if (before) return node('file', { id: before });
    const id = `file-${known.size + 1}`;
    known.set(key, id);
    return node('file', { id }, [
      node('name', {}, media.name),
      ...(media.url === null ? [] : [node('pathurl', {}, media.url)]),
      rate(media.rate),
      ...(media.frames === null ? [] : [node('duration', {}, media.frames)]),
      ...(media.start === null && media.reel === null
        ? []
        : [timecode(media.start ?? 0, media.rate, timeline.dropFrame, media.reel)]),
    ]);
  };
  let clips = 0;
  const clip = ({ at, clip: value }: { at: number; clip: Clip }): XmlNode[] => {
    clips += 1;
    // In and out count from the medium's first frame; a reel alone gives the file a timecode, which begins at 0.
    const from = value.sourceStart - (value.media.start ?? 0);
    const item = node('clipitem', { id: `clipitem-${clips}` }, [
      node('name', {}, value.name),
      node('duration', {}, value.media.frames ?? from + Math.max(value.frames, sourceFrames(value))),
      rate(timeline.rate),
      node('start', {}, value.transition ? -1 : at),
      node('end', {}, at + value.frames),
      node('in', {}, from),
      node('out', {}, from + value.frames),
      file(value.media),
      ...timeRemap(value.speed),
      ...value.markers.map(marker(from)),
      ...(value.notes.length
        ? [
            node(
              'comments',
              {},
              value.notes.map((note) => node('mastercomment1', {}, note)),
            ),
          ]
        : []),
    ]);
    if (!value.transition) return [item];
    const { kind, code, frames } = value.transition;
    const effect = [
      node('name', {}, kind === 'WIPE' ? 'Edge Wipe' : 'Cross Dissolve'),
      node('effectid', {}, kind === 'WIPE' ? 'Edge Wipe' : 'Cross Dissolve'),
      node('effecttype', {}, 'transition'),
      node('mediatype', {}, 'video'),
      ...(code ? [node('wipecode', {}, Number(code.slice(1)))] : []),
    ];
    const transition = node('transitionitem', {}, [
      node('start', {}, at),
      node('end', {}, at + frames),
      node('alignment', {}, 'start-black'),
      rate(timeline.rate),
      node('effect', {}, effect),
    ]);
    return [transition, item];
  };
  const tracks = (kind: Track['kind']) =>
    timeline.tracks
      .filter((track) => track.kind === kind)
      .map((track) => node('track', {}, placedClips(track).flatMap(clip)));
  const sequence = node('sequence', { id: 'sequence-1' }, [
    node('name', {}, timeline.name),
    node('duration', {}, Math.max(0, ...timeline.tracks.map(trackFrames))),
    rate(timeline.rate),
    timecode(timeline.start, timeline.rate, timeline.dropFrame, null),
    node('media', {}, [node('video', {}, tracks('VIDEO')), node('audio', {}, tracks('AUDIO'))]),
    ...timeline.markers.map(marker(0)),
  ]);
  return writeXml(node('xmeml', { version: '5' }, [sequence]), 'xmeml');
}

function timeRemap(speed: Rational): XmlNode[] {
  if (speed.num === speed.den) return [];
  const parameter = (id: string, value: string) =>
    node('parameter', {}, [node('parameterid', {}, id), node('name', {}, id), node('value', {}, value)]);
  return [
    node('filter', {}, [
      node('effect', {}, [
        node('name', {}, 'Time Remap'),
        node('effectid', {}, 'timeremap'),
        parameter('variablespeed', '0'),
        parameter('speed', String(Math.round((Math.abs(speed.num) / speed.den) * 1_000_000) / 10_000)),
        parameter('reverse', speed.num < 0 ? 'TRUE' : 'FALSE'),
      ]),
    ]),
  ];
}
