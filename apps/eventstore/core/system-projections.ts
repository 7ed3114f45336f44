/**
 * The system projections: streams of links the server keeps by itself. Which of them an event belongs to, as the real
 * server's `$by_category`, `$by_event_type`, `$streams` and `$stream_by_category` decide it. Pure.
 */

export const SYSTEM_PROJECTIONS = ['$streams', '$stream_by_category', '$by_category', '$by_event_type'] as const;

export type IndexedEvent = {
  stream: string;
  revision: number;
  type: string;
  /** The stream this event deletes: a tombstone, or metadata of a soft delete. */
  deletes: string | undefined;
};

/** Longer names aren't indexed: no index takes them. */
const MAX_NAME_BYTES = 1024;

export function isLinkStream(stream: string): boolean {
  return (
    stream.startsWith('$ce-') || stream.startsWith('$et-') || stream === '$streams' || stream.startsWith('$category-')
  );
}

/** Names of the link streams that get a link to the event. The schema's migration says the same in SQL. */
export function linkStreamsOf({ stream, revision, type, deletes }: IndexedEvent): string[] {
  const names: string[] = [];
  const category = categoryOf(deletes ?? stream);
  if (category !== undefined) names.push(`$ce-${category}`);
  if (type !== '$>') names.push(`$et-${deletes === undefined ? type : '$deleted'}`);
  if (revision === 0) {
    names.push('$streams');
    const ownCategory = categoryOf(stream);
    if (ownCategory !== undefined) names.push(`$category-${ownCategory}`);
  }
  return names.filter((name) => Buffer.byteLength(name) <= MAX_NAME_BYTES);
}

/** True when `linkStreamsOf` says the same of both for sure. */
export function isIndexedAlike(one: IndexedEvent, other: IndexedEvent): boolean {
  return (
    one.stream === other.stream &&
    one.type === other.type &&
    one.deletes === other.deletes &&
    one.revision > 0 &&
    other.revision > 0
  );
}

/** What stands before the first hyphen; system streams have no category. */
function categoryOf(stream: string): string | undefined {
  const at = stream.indexOf('-');
  return at > 0 && !stream.startsWith('$') ? stream.slice(0, at) : undefined;
}

/** Type and data of the link, as each projection writes them. `data` is that of the event, needed when it is a link itself. */
export function linkContent(
  linkStream: string,
  event: { stream: string; revision: string; type: string; data: () => Buffer },
): { type: string; data: Buffer } {
  if (linkStream.startsWith('$category-')) return { type: '$@', data: Buffer.from(event.stream) };
  // A link in a stream of the category is passed on, so that the category leads to the event itself.
  if (linkStream.startsWith('$ce-') && event.type === '$>') return { type: '$>', data: event.data() };
  const stream = linkStream === '$et-$deleted' && event.stream.startsWith('$$') ? event.stream.slice(2) : event.stream;
  return { type: '$>', data: Buffer.from(`${event.revision}@${stream}`) };
}
