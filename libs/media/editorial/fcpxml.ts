/**
 * FCPXML 1.9 to 1.13 (Apple, FCPXML reference): a project's sequence with its primary storyline and connected clips. Times are exact
 * seconds; every one must be on a frame.
 */
import { type Result } from '../result.js';
import {
  addRationals,
  formatFcpxTime,
  framesToSeconds,
  multiplyRationals,
  parseFcpxTime,
  rational,
  secondsToFrames,
  wholeFrames,
  type Rate,
  type Rational,
} from '../timecode.js';
import {
  Misread,
  NORMAL_SPEED,
  layOut,
  placedClips,
  reading,
  trackFrames,
  type Clip,
  type Gap,
  type Marker,
  type MediaReference,
  type Timeline,
  type Track,
  type Transition,
} from './model.js';
import { child, childrenOf, node, parseXml, writeXml, type XmlElement, type XmlNode } from './xml.js';

const ZERO: Rational = { num: 0, den: 1 };

/** The first project. EDITORIAL_INVALID names line and column. Compound and multicam clips, and titles, are read as gaps. */
export function parseFcpxml(source: string): Result<Timeline> {
  return reading('FCPXML', () => {
    const root = parseXml(source);
    if (root.name !== 'fcpxml') throw new Misread(root.where, `expected <fcpxml>, found <${root.name}>`);
    const project = find(root, 'project');
    const sequence = project && child(project, 'sequence');
    const spine = sequence && child(sequence, 'spine');
    if (!project || !sequence || !spine)
      throw new Misread(root.where, 'there is no project with a sequence and a spine');
    return new Reader(root).timeline(project, sequence, spine);
  });
}

function find(element: XmlElement, name: string): XmlElement | undefined {
  for (const inner of element.children) {
    const found = inner.name === name ? inner : find(inner, name);
    if (found) return found;
  }
  return undefined;
}

/** What a `clip` plays: the first element inside that names an asset. */
function withReference(element: XmlElement): XmlElement | undefined {
  for (const inner of element.children) {
    const found = inner.attributes['ref'] === undefined ? withReference(inner) : inner;
    if (found) return found;
  }
  return undefined;
}

function time(element: XmlElement, attribute: string, otherwise?: Rational): Rational {
  const text = element.attributes[attribute];
  if (text === undefined) {
    if (otherwise) return otherwise;
    throw new Misread(element.where, `<${element.name}> has no ${attribute}`);
  }
  const parsed = parseFcpxTime(text);
  if (!parsed.ok) throw new Misread(element.where, `${attribute} of <${element.name}>: ${parsed.error.message}`);
  return parsed.value;
}

function minus(a: Rational, b: Rational): Rational {
  return addRationals(a, { num: 0 - b.num, den: b.den });
}

interface Placed {
  readonly lane: number;
  readonly at: number;
  readonly clip: Clip;
  readonly where: string;
}

class Reader {
  private readonly resources = new Map<string, XmlElement>();
  private rate: Rate = { num: 24, den: 1 };
  /** Frames the offsets of the primary storyline count from. */
  private origin = 0;
  private readonly connected: Placed[] = [];

  constructor(root: XmlElement) {
    for (const resource of child(root, 'resources')?.children ?? []) {
      if (resource.attributes['id']) this.resources.set(resource.attributes['id'], resource);
    }
  }

  timeline(project: XmlElement, sequence: XmlElement, spine: XmlElement): Timeline {
    this.rate = this.rateOf(sequence) ?? this.rate;
    const start = time(sequence, 'tcStart', ZERO);
    const first = spine.children.find(({ attributes }) => attributes['offset'] !== undefined);
    // They count from the sequence's start timecode; some writers count from 0.
    const begins = this.frames(start, sequence, 'tcStart');
    this.origin = first && this.frames(time(first, 'offset'), first, 'offset') >= begins ? begins : 0;
    const items = this.spine(spine);
    const lanes = new Map<number, Placed[]>();
    for (const placed of this.connected) lanes.set(placed.lane, [...(lanes.get(placed.lane) ?? []), placed]);
    const tracks: Track[] = [{ kind: 'VIDEO', items }];
    const ordered = [...lanes.keys()].sort((a, b) => (a > 0 === b > 0 ? Math.abs(a) - Math.abs(b) : b - a));
    for (const lane of ordered) {
      const placed = lanes.get(lane)!.sort((a, b) => a.at - b.at);
      const laid = layOut(lane > 0 ? 'VIDEO' : 'AUDIO', placed);
      if ('overlap' in laid) throw new Misread(placed[laid.overlap]!.where, `clips of lane ${lane} overlap`);
      tracks.push(laid.track);
    }
    return {
      name: project.attributes['name'] ?? '',
      rate: this.rate,
      dropFrame: sequence.attributes['tcFormat'] === 'DF',
      start: begins,
      tracks,
      markers: [],
    };
  }

  private rateOf(element: XmlElement): Rate | null {
    const format = this.resources.get(element.attributes['format'] ?? '');
    if (!format?.attributes['frameDuration']) return null;
    const duration = time(format, 'frameDuration');
    if (duration.num <= 0) throw new Misread(format.where, 'frameDuration is not a duration');
    return rational(duration.den, duration.num);
  }

  private frames(value: Rational, element: XmlElement, attribute: string, rate = this.rate): number {
    const frames = wholeFrames(value, rate);
    if (!frames.ok) throw new Misread(element.where, `${attribute} of <${element.name}>: ${frames.error.message}`);
    return frames.value;
  }

  private spine(spine: XmlElement): (Clip | Gap)[] {
    const items: (Clip | Gap)[] = [];
    let end = 0;
    let way: { transition: Transition; start: number; end: number } | null = null;
    for (const element of spine.children) {
      const frames = () => this.frames(time(element, 'duration'), element, 'duration');
      if (element.name === 'transition') {
        const length = frames();
        const start = element.attributes['offset'] === undefined ? end : this.offset(element);
        way = { transition: { kind: 'DISSOLVE', code: null, frames: length }, start, end: start + length };
        continue;
      }
      const isClip = element.name === 'asset-clip' || element.name === 'clip' || element.name === 'video';
      if (!isClip && !['gap', 'title', 'ref-clip', 'sync-clip', 'mc-clip'].includes(element.name)) continue;
      let at = element.attributes['offset'] === undefined ? end : this.offset(element);
      if (at < end) throw new Misread(element.where, 'it begins before the one before it ends');
      if (at > end) items.push({ kind: 'GAP', frames: at - end });
      let length = frames();
      this.connect(element, at);
      const read = isClip ? this.clip(element, length) : null;
      if (way && read) {
        // Centred on the cut there; here it begins with the clip.
        const early = at - way.start;
        const last = items.at(-1);
        if (early > 0 && (!last || last.frames <= early))
          throw new Misread(element.where, 'the transition is longer than what comes before it');
        if (early > 0) items[items.length - 1] = { ...last!, frames: last!.frames - early };
        [at, length] = [at - early, length + early];
        items.push({ ...read, frames: length, sourceStart: read.sourceStart - early, transition: way.transition });
      } else {
        items.push(read ?? { kind: 'GAP', frames: length });
      }
      way = null;
      end = at + length;
    }
    return items;
  }

  private offset(element: XmlElement): number {
    return this.frames(time(element, 'offset'), element, 'offset') - this.origin;
  }

  /** Clips that hang on another, in lanes: their offset counts in the time of what carries them. */
  private connect(parent: XmlElement, parentAt: number): void {
    const origin = time(parent, 'start', ZERO);
    for (const element of parent.children) {
      const lane = Number(element.attributes['lane'] ?? 0);
      if (!lane || !['asset-clip', 'clip', 'video', 'audio'].includes(element.name)) continue;
      const at = parentAt + this.frames(minus(time(element, 'offset', origin), origin), element, 'offset');
      const frames = this.frames(time(element, 'duration'), element, 'duration');
      this.connected.push({ lane, at, clip: this.clip(element, frames), where: element.where });
    }
  }

  private clip(element: XmlElement, frames: number): Clip {
    const named = element.attributes['ref'] === undefined ? (withReference(element) ?? element) : element;
    const asset = this.resources.get(named.attributes['ref'] ?? '');
    if (!asset) throw new Misread(element.where, `<${element.name}> names no asset of the resources`);
    const media = this.media(asset);
    const start = time(element, 'start', media.start === null ? ZERO : framesToSeconds(media.start, media.rate));
    const map = child(element, 'timeMap');
    const speed = map ? speedOf(map) : NORMAL_SPEED;
    const inMedium = map ? mapped(map, start) : start;
    return {
      kind: 'CLIP',
      name: element.attributes['name'] ?? asset.attributes['name'] ?? '',
      media,
      sourceStart: this.frames(inMedium, element, 'start', media.rate),
      ...{ frames, speed, transition: null },
      markers: [...childrenOf(element, 'marker'), ...childrenOf(element, 'chapter-marker')].map((marker) => {
        const at = this.frames(minus(time(marker, 'start'), start), marker, 'start');
        const length = this.frames(time(marker, 'duration', framesToSeconds(1, this.rate)), marker, 'duration');
        return {
          ...{
            at,
            frames: Math.max(1, length),
            name: marker.attributes['value'] ?? '',
            note: marker.attributes['note'] ?? '',
          },
          colour: null,
        };
      }),
      notes: childrenOf(element, 'note')
        .map(({ text }) => text)
        .filter(Boolean),
    };
  }

  /** A file with sound need not end on a frame: whole frames count. */
  private media(asset: XmlElement): MediaReference {
    const rate = this.rateOf(asset) ?? this.rate;
    const metadata = child(asset, 'metadata');
    const reel =
      metadata &&
      childrenOf(metadata, 'md').find(({ attributes }) => attributes['key'] === 'com.apple.proapps.studio.reel');
    return {
      name: asset.attributes['name'] ?? '',
      reel: reel?.attributes['value'] ?? null,
      url: asset.attributes['src'] ?? child(asset, 'media-rep')?.attributes['src'] ?? null,
      rate,
      start: asset.attributes['start'] === undefined ? null : secondsToFrames(time(asset, 'start'), rate),
      frames: asset.attributes['duration'] === undefined ? null : secondsToFrames(time(asset, 'duration'), rate),
    };
  }
}

/** Constant speed: the slope between the first and the last point of the map. */
function speedOf(map: XmlElement): Rational {
  const points = childrenOf(map, 'timept');
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || points.length < 2) throw new Misread(map.where, 'a timeMap needs two points');
  const span = minus(time(last, 'time'), time(first, 'time'));
  if (span.num <= 0) throw new Misread(map.where, 'the points of the timeMap are not in order');
  return multiplyRationals(minus(time(last, 'value'), time(first, 'value')), { num: span.den, den: span.num });
}

function mapped(map: XmlElement, at: Rational): Rational {
  const first = childrenOf(map, 'timept')[0]!;
  return addRationals(time(first, 'value'), multiplyRationals(minus(at, time(first, 'time')), speedOf(map)));
}

/**
 * The timeline as FCPXML 1.10. The first picture track is the primary storyline, all others hang on it in lanes. The format has no
 * place for transitions of connected clips, which become cuts, nor for wipes (dissolves), colours of markers and markers of the timeline.
 */
export function writeFcpxml(timeline: Timeline): string {
  const formats = new Map<string, { id: string; rate: Rate }>();
  const assets = new Map<string, { id: string; media: MediaReference }>();
  const formatId = (rate: Rate) => {
    const key = `${rate.num}/${rate.den}`;
    const known = formats.get(key) ?? { id: `r${formats.size + assets.size + 1}`, rate };
    formats.set(key, known);
    return known.id;
  };
  const assetId = (media: MediaReference) => {
    formatId(media.rate);
    const key = JSON.stringify(media);
    const known = assets.get(key) ?? { id: `r${formats.size + assets.size + 1}`, media };
    assets.set(key, known);
    return known.id;
  };
  const text = (frames: number, rate: Rate = timeline.rate) => formatFcpxTime(framesToSeconds(frames, rate));
  formatId(timeline.rate);
  const primary = timeline.tracks.findIndex(({ kind }) => kind === 'VIDEO');
  const others = timeline.tracks.flatMap((track, index) => (index === primary ? [] : [track]));
  const lanes = { VIDEO: 0, AUDIO: 0 };
  const hanging = others.flatMap((track) => {
    lanes[track.kind] += 1;
    const lane = track.kind === 'VIDEO' ? lanes.VIDEO : -lanes.AUDIO;
    return placedClips(track).map((placed) => ({ ...placed, lane }));
  });
  const items: (Clip | Gap)[] = primary < 0 ? [] : [...timeline.tracks[primary]!.items];
  const end = Math.max(0, ...timeline.tracks.map(trackFrames));
  const length = items.reduce((sum, { frames }) => sum + frames, 0);
  if (end > length) items.push({ kind: 'GAP', frames: end - length });

  const marker = (value: Marker, start: Rational): XmlNode =>
    node('marker', {
      start: formatFcpxTime(addRationals(start, framesToSeconds(value.at, timeline.rate))),
      duration: text(value.frames),
      value: value.name,
      note: value.note || null,
    });
  const clip = (value: Clip, offset: string, lane: number | null, extra: (start: Rational) => XmlNode[]): XmlNode => {
    const source = framesToSeconds(value.sourceStart, value.media.rate);
    const still = value.speed.num === value.speed.den;
    const span = framesToSeconds(Math.max(1, value.frames), timeline.rate);
    const points: [Rational, Rational][] = [
      [source, source],
      [addRationals(source, span), addRationals(source, multiplyRationals(span, value.speed))],
    ];
    const map = points.map(([at, to]) =>
      node('timept', { time: formatFcpxTime(at), value: formatFcpxTime(to), interp: 'linear' }),
    );
    return node(
      'asset-clip',
      {
        ...{ ref: assetId(value.media), lane, offset, name: value.name, start: formatFcpxTime(source) },
        ...{ duration: text(value.frames), tcFormat: timeline.dropFrame ? 'DF' : 'NDF' },
      },
      [
        ...value.notes.map((note) => node('note', {}, note)),
        ...(still ? [] : [node('timeMap', {}, map)]),
        ...extra(source),
        ...value.markers.map((each) => marker(each, source)),
      ],
    );
  };
  const spine: XmlNode[] = [];
  let at = 0;
  for (const item of items) {
    const from = at;
    at += item.frames;
    const extra = (start: Rational): XmlNode[] =>
      hanging
        .filter((placed) => placed.at >= from && placed.at < at)
        .map((placed) => {
          const offset = formatFcpxTime(addRationals(start, framesToSeconds(placed.at - from, timeline.rate)));
          return clip(placed.clip, offset, placed.lane, () => []);
        });
    if (item.kind === 'GAP') {
      spine.push(
        node(
          'gap',
          { name: 'Gap', offset: text(timeline.start + from), duration: text(item.frames), start: '0s' },
          extra(ZERO),
        ),
      );
      continue;
    }
    if (item.transition) {
      spine.push(
        node('transition', {
          name: 'Cross Dissolve',
          offset: text(timeline.start + from),
          duration: text(item.transition.frames),
        }),
      );
    }
    spine.push(clip(item, text(timeline.start + from), null, extra));
  }
  const sequence = node(
    'sequence',
    {
      ...{ format: formatId(timeline.rate), duration: text(end), tcStart: text(timeline.start) },
      tcFormat: timeline.dropFrame ? 'DF' : 'NDF',
    },
    [node('spine', {}, spine)],
  );
  const resources = [
    ...[...formats.values()].map(({ id, rate }) =>
      node('format', { id, frameDuration: formatFcpxTime({ num: rate.den, den: rate.num }) }),
    ),
    ...[...assets.values()].map(({ id, media }) =>
      node(
        'asset',
        {
          ...{ id, name: media.name, hasVideo: 1, format: formatId(media.rate) },
          start: media.start === null ? null : text(media.start, media.rate),
          duration: media.frames === null ? null : text(media.frames, media.rate),
        },
        [
          ...(media.url === null ? [] : [node('media-rep', { kind: 'original-media', src: media.url })]),
          ...(media.reel === null
            ? []
            : [node('metadata', {}, [node('md', { key: 'com.apple.proapps.studio.reel', value: media.reel })])]),
        ],
      ),
    ),
  ];
  const event = node('event', { name: timeline.name }, [node('project', { name: timeline.name }, [sequence])]);
  const document = node('fcpxml', { version: '1.10' }, [
    node('resources', {}, resources),
    node('library', {}, [event]),
  ]);
  return writeXml(document, 'fcpxml');
}
