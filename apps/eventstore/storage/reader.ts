import pg from 'pg';
import { excludesOnlySystem, matches, type EventFilter } from '../core/event-filter.js';
import { mayExist, parseStreamMetadata } from '../core/stream-metadata.js';
import { HIDDEN_FROM_ALL } from '../core/persistent-settings.js';
import { isLinkStream } from '../core/system-projections.js';
import { decodeEventFrame, TOMBSTONE_REVISION } from '../protocol/frames.js';
import { encodeLinkFrame, type LinkTarget } from '../protocol/links.js';
import { copyRow, elementsOf } from './copy.js';
import { UNKNOWN_STREAM, type StreamState } from './streams-cache.js';

/** Events of one page are at most this many… */
export const PAGE_EVENTS = 1_000;
/** …and about this many bytes. */
export const PAGE_BYTES = 2 * 1024 * 1024;

export type Page = {
  /** Frames of the events in order, ready to be sent. */
  frames: Buffer;
  count: number;
  /** Position (or revision) of the last event considered; undefined for an empty page. */
  last: number | undefined;
};

export type FilteredPage = {
  /** Every event considered, in order; only those that match have a frame. */
  events: { position: number; frame: Buffer | undefined }[];
  /** Frames of those that match, in order, in one piece. */
  frames: () => Buffer;
  /** How many they are. */
  count: number;
  last: number | undefined;
};

type ConsideredPage = Omit<FilteredPage, 'events'> & {
  events: (FilteredPage['events'][number] & { subject: string })[];
};

function filteredPage<E extends FilteredPage['events'][number]>(events: E[]): FilteredPage & { events: E[] } {
  const matching = events.flatMap(({ frame }) => frame ?? []);
  return {
    events,
    frames: () => Buffer.concat(matching),
    count: matching.length,
    last: events.at(-1)?.position,
  };
}

type Queryable = Pick<pg.Pool, 'query'>;

/** `bytea` comes as `\x…`; `latin1` keeps Node from checking for UTF-8. */
function bytea(text: string): Buffer {
  return Buffer.from(text.slice(2), 'hex');
}

/** Every column as the text Postgres sent: the page's one value is decoded here, once. */
const RAW = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

/** A statement with its values in it. */
function withValues(text: string, values: readonly (number | string)[]): string {
  return text.replace(/\$(\d)/g, (_, n: string) => {
    const value = values[Number(n) - 1]!;
    return typeof value === 'number' ? `${value}::bigint` : pg.escapeLiteral(value);
  });
}

/** A pattern for LIKE of all that begins so. */
const likePrefix = (prefix: string): string => `${prefix.replace(/[\\%_]/g, '\\$&')}%`;
/** Text as an element of an array literal. */
const arrayElement = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;

/** Bytes of the frames before a row, in order. ROWS: with the default, every row is compared with its neighbours. */
const runningBytes = (order: 'ASC' | 'DESC'): string =>
  `sum(coalesce(octet_length(frame), 0)) OVER (ORDER BY key ${order} ROWS UNBOUNDED PRECEDING) - coalesce(octet_length(frame), 0)`;

const EMPTY_PAGE: Page = { frames: Buffer.alloc(0), count: 0, last: undefined };

/**
 * A page of frames glued together by the database: one row, one value, whatever the number of events. `bounded` keeps
 * the running sum of bytes so that a page of large events stays small; the first event always fits.
 */
function pageQuery(key: 'position' | 'revision', where: string, direction: 'ASC' | 'DESC'): string {
  return `
    SELECT count(*) AS count,
           ${direction === 'ASC' ? 'max' : 'min'}(key) AS last,
           string_agg(frame, ''::bytea ORDER BY key ${direction}) AS frames
      FROM (SELECT key, frame, ${runningBytes(direction)} AS before
              FROM (SELECT ${key} AS key, frame FROM eventstore.events
                     WHERE ${where} ORDER BY ${key} ${direction} LIMIT $1) p) bounded
     WHERE before < ${PAGE_BYTES}`;
}

/** What `isHiddenFromAll` says, in SQL. */
const SHOWN_IN_ALL = `NOT (starts_with(stream, '${HIDDEN_FROM_ALL.prefix}') AND (${HIDDEN_FROM_ALL.suffixes
  .map((suffix) => `right(stream, ${suffix.length}) = '${suffix}'`)
  .join(' OR ')}))`;

/** From so many events on a page comes by COPY, which isn't prepared but leaves bytes as they are. */
const WIDE_PAGE = 200;

const ALL_WHERE = {
  forwards: `position > $2 AND position <= $3 AND ${SHOWN_IN_ALL}`,
  backwards: `position < $2 AND position > $3 AND ${SHOWN_IN_ALL}`,
};
const ALL_FORWARDS = pageQuery('position', ALL_WHERE.forwards, 'ASC');
const ALL_BACKWARDS = pageQuery('position', ALL_WHERE.backwards, 'DESC');
const STREAM_FORWARDS = pageQuery(
  'revision',
  'stream = $4 AND revision >= $2 AND revision <= $3 AND created >= $5::timestamptz',
  'ASC',
);
const STREAM_BACKWARDS = pageQuery(
  'revision',
  'stream = $4 AND revision <= $2 AND revision >= $3 AND created >= $5::timestamptz',
  'DESC',
);

/** Most links of one row of `eventstore.links`. */
export const LINKS_PER_ROW = 200;

/**
 * Links $1 to $2 of a system projection, built from the events they point at; what was scavenged is passed over. A row
 * may begin before the first link asked for.
 */
function linksQuery(direction: 'ASC' | 'DESC'): string {
  return `
    SELECT l.revision AS link_revision, e.position, e.stream, e.revision, e.event_id, e.type,
           (extract(epoch FROM e.created) * 1000)::bigint || '0000' AS ticks,
           CASE WHEN e.type = '$>' THEN e.frame END AS frame
      FROM (SELECT r.revision + p.n - 1 AS revision, p.position
              FROM eventstore.links r CROSS JOIN LATERAL unnest(r.positions) WITH ORDINALITY p(position, n)
             WHERE r.stream = $3 AND r.revision > $1::bigint - ${LINKS_PER_ROW} AND r.revision <= $2::bigint) l
      LEFT JOIN eventstore.events e ON e.position = l.position AND e.created >= $4::timestamptz
     WHERE l.revision BETWEEN $1::bigint AND $2::bigint
     ORDER BY l.revision ${direction}`;
}

const LINKS_FORWARDS = linksQuery('ASC');
const LINKS_BACKWARDS = linksQuery('DESC');

export class LogReader {
  constructor(private readonly pool: Queryable) {}

  /** Forwards: positions in (from, to]. Backwards: positions below `from`. */
  all(direction: 'forwards' | 'backwards', from: number, to: number, limit: number): Promise<Page> {
    const width = Math.min(limit, Math.abs(from - to));
    return direction === 'forwards'
      ? this.page('es_all_f', ALL_FORWARDS, [limit, from, to], width)
      : this.page('es_all_b', ALL_BACKWARDS, [limit, from, to], width);
  }

  /** Forwards: revisions in [from, to]. Backwards: revisions in [to, from], highest first. */
  stream(
    direction: 'forwards' | 'backwards',
    stream: string,
    from: number,
    to: number,
    limit: number,
    notBefore: Date | undefined,
  ): Promise<Page> {
    const since = notBefore?.toISOString() ?? '-infinity';
    if (isLinkStream(stream)) {
      // Link streams have no gaps.
      return direction === 'forwards'
        ? this.links('es_links_f', LINKS_FORWARDS, [from, Math.min(to, from + limit - 1), stream, since])
        : this.links('es_links_b', LINKS_BACKWARDS, [Math.max(to, from - limit + 1), from, stream, since]);
    }
    const width = Math.min(limit, Math.abs(from - to) + 1);
    return direction === 'forwards'
      ? this.page('es_stream_f', STREAM_FORWARDS, [limit, from, to, stream, since], width)
      : this.page('es_stream_b', STREAM_BACKWARDS, [limit, from, to, stream, since], width);
  }

  private async links(
    name: string,
    text: string,
    values: [first: number, last: number, stream: string, since: string],
  ): Promise<Page> {
    const stream = values[2];
    const { rows } = await this.pool.query<{
      link_revision: string;
      position: string | null;
      stream: string;
      revision: string;
      event_id: string;
      type: string;
      ticks: string;
      frame: string | null;
    }>({ name, text, values, types: RAW });
    const frames = rows.flatMap((row) =>
      row.position === null
        ? []
        : encodeLinkFrame(stream, Number(row.link_revision), {
            id: row.event_id,
            stream: row.stream,
            revision: Number(row.revision),
            type: row.type,
            position: Number(row.position),
            createdTicks: row.ticks,
            data: () => decodeEventFrame(bytea(row.frame ?? '')).data,
          }),
    );
    const last = rows.at(-1)?.link_revision;
    return {
      frames: Buffer.concat(frames),
      count: frames.length,
      last: last === undefined ? undefined : Number(last),
    };
  }

  /** @param width most events that there can be */
  private async page(name: string, text: string, values: readonly (number | string)[], width: number): Promise<Page> {
    if (width >= WIDE_PAGE) {
      const [count, last, frames] = await copyRow(this.pool, withValues(text, values));
      if (count === undefined || last === undefined || frames === undefined) return EMPTY_PAGE;
      return { frames, count: Number(count.readBigInt64BE()), last: Number(last.readBigInt64BE()) };
    }
    const result = await this.pool.query<{ count: string; last: string | null; frames: string | null }>({
      name,
      text,
      values: [...values],
      types: RAW,
    });
    const row = result.rows[0];
    if (row === undefined || row.last === null || row.frames === null) return EMPTY_PAGE;
    return { frames: bytea(row.frames), count: Number(row.count), last: Number(row.last) };
  }

  /**
   * A page of `$all` through a filter. Prefixes are decided by the database, which then sends only frames that match;
   * regular expressions are JavaScript's and decided here.
   */
  async allFiltered(
    direction: 'forwards' | 'backwards',
    from: number,
    to: number,
    limit: number,
    filter: EventFilter,
  ): Promise<FilteredPage> {
    const column = filter.on;
    const values: (number | string)[] = [limit, from, to];
    let match = 'true';
    let how = 'regex';
    if (filter.by.kind === 'prefix') {
      const prefixes = filter.by.prefixes.filter(mayExist);
      values.push(`{${prefixes.map((prefix) => arrayElement(likePrefix(prefix))).join(',')}}`);
      how = 'prefix';
      match = `${column} LIKE ANY ($4::text[])`;
    } else if (excludesOnlySystem(filter)) {
      how = 'nosystem';
      match = `NOT starts_with(${column}, '$')`;
    }
    const inMemory = match === 'true';
    const order = direction === 'forwards' ? 'ASC' : 'DESC';
    const considered = `
      SELECT key, subject, frame FROM (
        SELECT key, subject, frame, ${runningBytes(order)} AS before
          FROM (SELECT position AS key, ${inMemory ? column : "''"} AS subject, CASE WHEN ${match} THEN frame END AS frame
                  FROM eventstore.events WHERE ${ALL_WHERE[direction]} ORDER BY position ${order} LIMIT $1) p) bounded
       WHERE before < ${PAGE_BYTES}`;
    const found =
      Math.min(limit, Math.abs(from - to)) >= WIDE_PAGE
        ? await this.gluedRows(considered, order, values)
        : await this.singleRows(`es_all_${direction}_${column}_${how}`, considered, order, values);
    if (!inMemory) return found;
    return filteredPage(
      found.events.map(({ position, subject, frame }) => ({
        position,
        frame: matches(filter, { stream: subject, type: subject }) ? frame : undefined,
      })),
    );
  }

  private async singleRows(
    name: string,
    considered: string,
    order: 'ASC' | 'DESC',
    values: readonly (number | string)[],
  ): Promise<ConsideredPage> {
    const result = await this.pool.query<{ key: string; subject: string; frame: string | null }>({
      name,
      text: `${considered} ORDER BY key ${order}`,
      values: [...values],
      types: RAW,
    });
    return filteredPage(
      result.rows.map(({ key, subject, frame }) => ({
        position: Number(key),
        subject,
        frame: frame === null ? undefined : bytea(frame),
      })),
    );
  }

  /** One row for all of them, by COPY. */
  private async gluedRows(
    considered: string,
    order: 'ASC' | 'DESC',
    values: readonly (number | string)[],
  ): Promise<ConsideredPage> {
    const all = (value: string): string => `array_agg(${value} ORDER BY key ${order})`;
    const text = `
      SELECT ${all('key')}, ${all('subject')}, ${all('coalesce(octet_length(frame), -1)')},
             string_agg(frame, ''::bytea ORDER BY key ${order})
        FROM (${considered}) considered`;
    const [keys, subjects, lengths, frames = Buffer.alloc(0)] = await copyRow(this.pool, withValues(text, values));
    if (keys === undefined || subjects === undefined || lengths === undefined) return filteredPage([]);
    const names = elementsOf(subjects);
    const sizes = elementsOf(lengths);
    let at = 0;
    const events = elementsOf(keys).map((key, index) => {
      const length = sizes[index]!.readInt32BE();
      const frame = length < 0 ? undefined : frames.subarray(at, (at += length));
      return { position: Number(key.readBigInt64BE()), subject: names[index]!.toString('utf8'), frame };
    });
    return { ...filteredPage(events), frames: () => frames };
  }

  /** Frames of single events by `eventKey`; what isn't there is missing. */
  async events(targets: readonly LinkTarget[]): Promise<Map<string, Buffer>> {
    const found = new Map<string, Buffer>();
    for (const { stream, revision } of targets.filter((target) => isLinkStream(target.stream))) {
      const link = await this.stream('forwards', stream, revision, revision, 1, undefined);
      if (link.count > 0) found.set(eventKey(stream, revision), link.frames);
    }
    const stored = targets.filter((target) => !isLinkStream(target.stream));
    const result = await this.pool.query<{ stream: string; revision: string; frame: string }>({
      name: 'es_events',
      text: `SELECT e.stream, e.revision, e.frame
               FROM unnest($1::text[], $2::bigint[]) t(stream, revision)
               JOIN eventstore.events e USING (stream, revision)`,
      values: [stored.map((target) => target.stream), stored.map((target) => target.revision)],
      types: RAW,
    });
    for (const row of result.rows) found.set(eventKey(row.stream, Number(row.revision)), bytea(row.frame));
    return found;
  }
}

/** Name of an event in a stream, for maps. */
export function eventKey(stream: string, revision: number): string {
  return `${revision}@${stream}`;
}

/** Position of the last event; 0 for an empty log (positions start at 1). */
export async function readHead(client: Queryable): Promise<number> {
  const result = await client.query<{ head: string | null }>(
    'SELECT max(position)::text AS head FROM eventstore.events',
  );
  return Number(result.rows[0]?.head ?? 0);
}

/** Last revisions of link streams; an empty one is missing. */
export async function readLinkHeads(client: Queryable, names: string[]): Promise<Map<string, number>> {
  const result = await client.query<{ name: string; head: string }>({
    name: 'es_link_heads',
    text: `
      SELECT n.name, (l.revision + cardinality(l.positions) - 1)::text AS head
        FROM unnest($1::text[]) n(name)
       CROSS JOIN LATERAL (SELECT revision, positions FROM eventstore.links
                            WHERE stream = n.name ORDER BY revision DESC LIMIT 1) l`,
    values: [names],
  });
  return new Map(result.rows.map((row) => [row.name, Number(row.head)]));
}

/** What stands in the table about streams, by name. Names must be those of base streams, not of metadata streams. */
export async function readStreamStates(client: Queryable, names: string[]): Promise<Map<string, StreamState>> {
  const result = await client.query<{
    name: string;
    last: string | null;
    meta_last: string | null;
    meta_frame: string | null;
  }>({
    name: 'es_states',
    text: `
      SELECT n.name, h.revision::text AS last, m.revision::text AS meta_last, m.frame::text AS meta_frame
        FROM unnest($1::text[]) n(name)
        LEFT JOIN LATERAL (SELECT revision FROM eventstore.events
                            WHERE stream = n.name ORDER BY revision DESC LIMIT 1) h ON true
        LEFT JOIN LATERAL (SELECT revision, frame FROM eventstore.events
                            WHERE stream = '$$' || n.name ORDER BY revision DESC LIMIT 1) m ON true`,
    values: [names],
    types: RAW,
  });
  const states = new Map<string, StreamState>();
  for (const row of result.rows) {
    const last = row.last === null ? -1 : Number(row.last);
    const rawMetadata = row.meta_frame === null ? undefined : Buffer.from(decodeEventFrame(bytea(row.meta_frame)).data);
    const metadata = rawMetadata === undefined ? {} : parseStreamMetadata(rawMetadata);
    states.set(row.name, {
      ...UNKNOWN_STREAM,
      lastRevision: last,
      tombstoned: last >= TOMBSTONE_REVISION,
      metaLastRevision: row.meta_last === null ? -1 : Number(row.meta_last),
      metadata,
      rawMetadata,
      softDeleted: metadata.truncateBefore === 'deleted',
    });
  }
  return states;
}
