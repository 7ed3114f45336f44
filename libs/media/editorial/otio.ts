/**
 * OpenTimelineIO JSON (Academy Software Foundation; schemas of OTIO 0.15 and newer, which 1.0 reads): Timeline.1 with Stack.1,
 * Track.1, Clip.1 and Clip.2, Gap.1, Transition.1, Marker.2, LinearTimeWarp.1, FreezeFrame.1, ExternalReference.1, MissingReference.1.
 * Nested stacks and generators are refused: they have no frames of a medium.
 */
import { z } from 'zod';
import { type Result } from '../result.js';
import { RATES, parseRate, rational, sameRate, type Rate, type Rational } from '../timecode.js';
import {
  Misread,
  NORMAL_SPEED,
  checkText,
  reading,
  type Clip,
  type Gap,
  type MediaReference,
  type Marker,
  type Timeline,
  type Track,
  type Transition,
} from './model.js';

/** Our own facts that OTIO has no field for live under this key of `metadata`. */
const OWN = 'picturelock';

const TimeSchema = z.looseObject({
  OTIO_SCHEMA: z.literal('RationalTime.1'),
  value: z.number(),
  rate: z.number().positive(),
});
type Time = z.infer<typeof TimeSchema>;
const RangeSchema = z.looseObject({
  OTIO_SCHEMA: z.literal('TimeRange.1'),
  start_time: TimeSchema,
  duration: TimeSchema,
});
const MetadataSchema = z.record(z.string(), z.unknown()).nullish();
const text = z.string().nullish();
const ReferenceSchema = z.looseObject({
  OTIO_SCHEMA: z.string(),
  name: text,
  target_url: text,
  available_range: RangeSchema.nullish(),
  metadata: MetadataSchema,
});
const MarkerSchema = z.looseObject({
  name: text,
  color: text,
  comment: text,
  marked_range: RangeSchema,
  metadata: MetadataSchema,
});
const ItemSchema = z.looseObject({
  OTIO_SCHEMA: z.string(),
  name: text,
  source_range: RangeSchema.nullish(),
  media_reference: ReferenceSchema.nullish(),
  media_references: z.record(z.string(), ReferenceSchema.nullable()).nullish(),
  active_media_reference_key: text,
  effects: z.array(z.looseObject({ OTIO_SCHEMA: z.string(), time_scalar: z.number().nullish() })).nullish(),
  markers: z.array(MarkerSchema).nullish(),
  transition_type: text,
  in_offset: TimeSchema.nullish(),
  out_offset: TimeSchema.nullish(),
  metadata: MetadataSchema,
});
type Item = z.infer<typeof ItemSchema>;
const TimelineSchema = z.looseObject({
  OTIO_SCHEMA: z.literal('Timeline.1'),
  name: text,
  global_start_time: TimeSchema.nullish(),
  tracks: z.looseObject({
    OTIO_SCHEMA: z.literal('Stack.1'),
    children: z.array(
      z.looseObject({
        OTIO_SCHEMA: z.literal('Track.1'),
        kind: z.string().nullish(),
        name: text,
        children: z.array(ItemSchema),
      }),
    ),
    markers: z.array(MarkerSchema).nullish(),
  }),
  metadata: MetadataSchema,
});

/** Rates are floating-point numbers there: 23.976023976… and 23.976 are 24000/1001. */
function rateOf(value: number): Rate {
  const near = Object.values(RATES).find((rate) => Math.abs(rate.num / rate.den / value - 1) < 1e-5);
  const parsed = parseRate(String(value));
  return near ?? (parsed.ok ? parsed.value : rational(Math.round(value * 1000), 1000));
}

/** EDITORIAL_INVALID names the line of broken JSON, or the field. The timeline's rate is that of its first clip. */
export function parseOtio(source: string): Result<Timeline> {
  return reading('OTIO', () => {
    const content = checkText(source);
    let json: unknown;
    try {
      json = JSON.parse(content);
    } catch (error) {
      throw new Misread(jsonPosition(content, error as Error), 'not JSON');
    }
    const parsed = TimelineSchema.safeParse(json);
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      throw new Misread(`field ${issue.path.join('.') || '(root)'}`, issue.message);
    }
    return timelineOf(parsed.data);
  });
}

/** Node says `position 12` or, from version 20 on, mostly `(line 1 column 13)`. */
function jsonPosition(content: string, error: Error): string {
  const told = /line (\d+) column (\d+)/.exec(error.message);
  if (told) return `line ${told[1]}, column ${told[2]}`;
  const at = Number(/position (\d+)/.exec(error.message)?.[1] ?? content.length);
  const before = content.slice(0, at);
  return `line ${before.split('\n').length}, column ${at - before.lastIndexOf('\n')}`;
}

function timelineOf(data: z.infer<typeof TimelineSchema>): Timeline {
  const first = data.tracks.children
    .flatMap(({ children }) => children)
    .find((item) => item.source_range ?? mediaOf(item)?.available_range);
  const range = first?.source_range ?? (first && mediaOf(first)?.available_range);
  const rate = rateOf(data.global_start_time?.rate ?? range?.duration.rate ?? 24);
  const own = data.metadata?.[OWN] as { dropFrame?: boolean } | undefined;
  return {
    name: data.name ?? '',
    rate,
    dropFrame: own?.dropFrame === true,
    start: data.global_start_time ? whole(data.global_start_time, 'global_start_time') : 0,
    tracks: data.tracks.children.map((track, index) =>
      trackOf(track.kind, track.children, rate, `tracks.children.${index}`),
    ),
    markers: (data.tracks.markers ?? []).map((marker, index) => markerOf(marker, 0, `tracks.markers.${index}`)),
  };
}

function whole(time: Time, field: string): number {
  const rounded = Math.round(time.value);
  if (Math.abs(time.value - rounded) > 0.01)
    throw new Misread(`field ${field}`, `${time.value} is not a whole frame at ${time.rate}`);
  return rounded;
}

/** Frames of a duration in the timeline's rate. */
function framesIn(time: Time, rate: Rate, field: string): number {
  const own = rateOf(time.rate);
  if (sameRate(own, rate)) return whole(time, field);
  return Math.round((time.value / time.rate) * (rate.num / rate.den));
}

function mediaOf(item: Item): z.infer<typeof ReferenceSchema> | null {
  return item.media_reference ?? item.media_references?.[item.active_media_reference_key ?? 'DEFAULT_MEDIA'] ?? null;
}

function trackOf(kind: string | null | undefined, children: readonly Item[], rate: Rate, path: string): Track {
  const items: (Clip | Gap)[] = [];
  /** Of the transition just read: what the next clip begins with, and how much of it lies before the cut. */
  let pending: { transition: Transition; early: number } | null = null;
  for (const [index, item] of children.entries()) {
    const field = `${path}.children.${index}`;
    const schema = item.OTIO_SCHEMA.split('.')[0];
    if (schema === 'Transition') {
      const early = item.in_offset ? framesIn(item.in_offset, rate, `${field}.in_offset`) : 0;
      const late = item.out_offset ? framesIn(item.out_offset, rate, `${field}.out_offset`) : 0;
      const code = (item.metadata?.[OWN] as { code?: string } | undefined)?.code ?? null;
      // Before the first item there is nothing to take from: a fade in.
      const before = items.length > 0 ? early : 0;
      pending = { transition: { kind: code ? 'WIPE' : 'DISSOLVE', code, frames: before + late }, early: before };
      continue;
    }
    const range = item.source_range ?? mediaOf(item)?.available_range;
    if (!range) throw new Misread(`field ${field}.source_range`, 'neither the item nor its medium has a range');
    const frames = framesIn(range.duration, rate, `${field}.source_range.duration`);
    if (schema === 'Gap') {
      pending = null;
      if (frames > 0) items.push({ kind: 'GAP', frames });
      continue;
    }
    if (schema !== 'Clip') throw new Misread(`field ${field}`, `${item.OTIO_SCHEMA} inside a track is not read`);
    const clip = clipOf(item, range, frames, field);
    if (pending === null) {
      items.push(clip);
    } else {
      // Our transition begins at the cut: what lay before it goes from the clip before to this one.
      const { transition, early } = pending;
      shorten(items, early, field);
      items.push({ ...clip, sourceStart: clip.sourceStart - early, frames: clip.frames + early, transition });
      pending = null;
    }
  }
  return { kind: kind === 'Audio' ? 'AUDIO' : 'VIDEO', items };
}

function shorten(items: (Clip | Gap)[], frames: number, field: string): void {
  const last = items.at(-1);
  if (frames === 0) return;
  if (!last || last.frames <= frames)
    throw new Misread(`field ${field}`, 'the transition is longer than what comes before it');
  items[items.length - 1] = { ...last, frames: last.frames - frames };
}

function clipOf(item: Item, range: z.infer<typeof RangeSchema>, frames: number, field: string): Clip {
  const reference = mediaOf(item);
  const own = (item.metadata?.[OWN] ?? {}) as { notes?: string[]; speed?: Rational };
  const cmx = item.metadata?.['cmx_3600'] as { reel?: string } | undefined;
  const available = reference?.available_range;
  const rate = rateOf(range.start_time.rate);
  const mediaOwn = (reference?.metadata?.[OWN] ?? {}) as { reel?: string | null };
  const media: MediaReference = {
    name: reference?.name || item.name || '',
    reel: mediaOwn.reel ?? cmx?.reel ?? null,
    url: reference?.target_url ?? null,
    rate,
    start: available ? whole(available.start_time, `${field}.media_reference.available_range.start_time`) : null,
    frames: available ? whole(available.duration, `${field}.media_reference.available_range.duration`) : null,
  };
  const warp = item.effects?.find(({ OTIO_SCHEMA }) => /^(LinearTimeWarp|FreezeFrame)\./.test(OTIO_SCHEMA));
  const scalar = warp ? (warp.OTIO_SCHEMA.startsWith('FreezeFrame') ? 0 : (warp.time_scalar ?? 1)) : 1;
  const start = whole(range.start_time, `${field}.source_range.start_time`);
  return {
    kind: 'CLIP',
    name: item.name ?? '',
    media,
    sourceStart: start,
    frames,
    speed:
      own.speed && own.speed.num / own.speed.den === scalar ? rational(own.speed.num, own.speed.den) : speedOf(scalar),
    transition: null,
    // Markers of a clip count in its medium.
    markers: (item.markers ?? []).map((marker, index) => markerOf(marker, start, `${field}.markers.${index}`)),
    notes: own.notes ?? [],
  };
}

function speedOf(scalar: number): Rational {
  return scalar === 1 ? NORMAL_SPEED : rational(Math.round(scalar * 1_000_000), 1_000_000);
}

function markerOf(marker: z.infer<typeof MarkerSchema>, origin: number, field: string): Marker {
  const own = (marker.metadata?.[OWN] ?? {}) as { note?: string };
  return {
    at: whole(marker.marked_range.start_time, `${field}.marked_range.start_time`) - origin,
    frames: Math.max(1, whole(marker.marked_range.duration, `${field}.marked_range.duration`)),
    name: marker.name ?? '',
    note: marker.comment ?? own.note ?? '',
    colour: marker.color?.toLowerCase() ?? null,
  };
}

/** The timeline as OTIO JSON. Nothing of the model is lost: what OTIO has no field for is in `metadata.picturelock`. */
export function writeOtio(timeline: Timeline): string {
  const time = (value: number, rate: Rate = timeline.rate) => ({
    OTIO_SCHEMA: 'RationalTime.1',
    rate: rate.num / rate.den,
    value,
  });
  const range = (start: number, duration: number, rate?: Rate, durationRate = rate) => ({
    OTIO_SCHEMA: 'TimeRange.1',
    duration: time(duration, durationRate),
    start_time: time(start, rate),
  });
  const marker = (origin: number) => (value: Marker) => ({
    OTIO_SCHEMA: 'Marker.2',
    metadata: { [OWN]: { note: value.note } },
    name: value.name,
    color: value.colour?.toUpperCase() ?? null,
    comment: value.note,
    marked_range: range(origin + value.at, value.frames),
  });
  const clip = (value: Clip) => ({
    OTIO_SCHEMA: 'Clip.2',
    metadata: { [OWN]: { notes: value.notes, speed: value.speed } },
    name: value.name,
    source_range: range(value.sourceStart, value.frames, value.media.rate, timeline.rate),
    effects: warp(value.speed),
    markers: value.markers.map(marker(value.sourceStart)),
    enabled: true,
    media_references: {
      DEFAULT_MEDIA: {
        OTIO_SCHEMA: value.media.url === null ? 'MissingReference.1' : 'ExternalReference.1',
        metadata: { [OWN]: { reel: value.media.reel } },
        name: value.media.name,
        available_range:
          value.media.start === null || value.media.frames === null
            ? null
            : range(value.media.start, value.media.frames, value.media.rate),
        available_image_bounds: null,
        ...(value.media.url === null ? {} : { target_url: value.media.url }),
      },
    },
    active_media_reference_key: 'DEFAULT_MEDIA',
  });
  const children = (track: Track) =>
    track.items.flatMap((item): object[] => {
      if (item.kind === 'GAP') {
        const gap = { OTIO_SCHEMA: 'Gap.1', metadata: {}, name: '', source_range: range(0, item.frames) };
        return [{ ...gap, effects: [], markers: [], enabled: true }];
      }
      if (!item.transition) return [clip(item)];
      const transition = {
        OTIO_SCHEMA: 'Transition.1',
        metadata: { [OWN]: { code: item.transition.code } },
        name: item.transition.kind === 'WIPE' ? (item.transition.code ?? 'Wipe') : 'Cross Dissolve',
        in_offset: time(0),
        out_offset: time(item.transition.frames),
        transition_type: item.transition.kind === 'DISSOLVE' ? 'SMPTE_Dissolve' : 'Custom_Transition',
      };
      return [transition, clip(item)];
    });
  const document = {
    OTIO_SCHEMA: 'Timeline.1',
    metadata: { [OWN]: { dropFrame: timeline.dropFrame } },
    name: timeline.name,
    global_start_time: time(timeline.start),
    tracks: {
      OTIO_SCHEMA: 'Stack.1',
      metadata: {},
      name: 'tracks',
      source_range: null,
      effects: [],
      markers: timeline.markers.map(marker(0)),
      enabled: true,
      children: timeline.tracks.map((track, index) => ({
        OTIO_SCHEMA: 'Track.1',
        metadata: {},
        name: `${track.kind === 'VIDEO' ? 'V' : 'A'}${timeline.tracks.slice(0, index + 1).filter(({ kind }) => kind === track.kind).length}`,
        source_range: null,
        effects: [],
        markers: [],
        enabled: true,
        kind: track.kind === 'VIDEO' ? 'Video' : 'Audio',
        children: children(track),
      })),
    },
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function warp(speed: Rational): object[] {
  if (speed.num === speed.den) return [];
  const base = {
    metadata: {},
    name: '',
    effect_name: speed.num === 0 ? 'FreezeFrame' : 'LinearTimeWarp',
    enabled: true,
  };
  if (speed.num === 0) return [{ OTIO_SCHEMA: 'FreezeFrame.1', ...base, time_scalar: 0 }];
  return [{ OTIO_SCHEMA: 'LinearTimeWarp.1', ...base, time_scalar: speed.num / speed.den }];
}
