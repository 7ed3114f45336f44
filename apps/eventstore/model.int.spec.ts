import {
  type AppendStreamState,
  BACKWARDS,
  END,
  jsonEvent,
  StreamDeletedError,
  streamNameFilter,
  StreamNotFoundError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { collect, startTestStore, type TestStore } from './eventstore.fixture.js';

let store: TestStore;
beforeAll(async () => {
  store = await startTestStore();
});
afterAll(() => store.close());

const TOMBSTONE = '9223372036854775807';

type Metadata = { $maxCount?: number; $tb?: number | 'deleted' };
type Outcome = { revision: number } | 'wrong' | 'deleted';

/** A stream as anybody would write it down: ids in order, and the metadata events. */
class ModelStream {
  readonly ids: string[] = [];
  metadata: Metadata | undefined;
  metadataEvents = 0;
  tombstoned = false;

  get last(): number {
    return this.ids.length - 1;
  }

  get softDeleted(): boolean {
    return this.metadata?.$tb === 'deleted';
  }

  /** What may be written, answered as a repeat, or refused. */
  decide(ids: readonly string[], expected: AppendStreamState, revisionOf: (id: string) => number): Outcome | 'write' {
    if (this.tombstoned) return 'deleted';
    if (expected === 'stream_exists') {
      if (this.softDeleted) return 'deleted';
      if (this.last < 0 && this.metadataEvents === 0) return 'wrong';
    }
    if (expected === 'any' || expected === 'stream_exists') {
      const known = ids.map(revisionOf);
      if (known[0] === -1) return 'write';
      return known.includes(-1) ? 'wrong' : { revision: known.at(-1)! };
    }
    const exact = expected === 'no_stream' ? -1 : Number(expected);
    if (exact > this.last) return 'wrong';
    if (exact === this.last) return 'write';
    if (ids.every((id, n) => this.ids[exact + 1 + n] === id)) return { revision: exact + ids.length };
    return expected === 'no_stream' && this.softDeleted && this.ids[0] !== ids[0] ? 'write' : 'wrong';
  }

  /** Revisions a reader sees. */
  visible(): number[] | 'deleted' | 'not_found' {
    if (this.tombstoned) return 'deleted';
    if (this.last < 0 || this.softDeleted) return 'not_found';
    const { $maxCount = Infinity, $tb = 0 } = this.metadata ?? {};
    const first = Math.max(0, Number($tb), this.last + 1 - $maxCount);
    return this.ids.map((_, n) => n).filter((n) => n >= first);
  }
}

class Model {
  readonly streams = new Map<string, ModelStream>();
  /** The log, by stream and revision. */
  readonly all: string[] = [];
  /** Where an id was written first: that place alone is remembered, as by the real server. */
  private readonly places = new Map<string, { name: string; revision: number }>();
  /** Links of the category. */
  readonly links: string[] = [];

  stream(name: string): ModelStream {
    let stream = this.streams.get(name);
    if (stream === undefined) this.streams.set(name, (stream = new ModelStream()));
    return stream;
  }

  append(name: string, ids: readonly string[], expected: AppendStreamState): Outcome {
    const stream = this.stream(name);
    const decision = stream.decide(ids, expected, (id) => this.revisionOf(name, id));
    if (decision !== 'write') return decision;
    const revived = stream.softDeleted ? stream.last + 1 : undefined;
    for (const id of ids) {
      stream.ids.push(id);
      if (!this.places.has(id)) this.places.set(id, { name, revision: stream.last });
      this.log(name, String(stream.last));
    }
    if (revived !== undefined) this.writeMetadata(name, { ...stream.metadata, $tb: revived });
    return { revision: stream.last };
  }

  private revisionOf(name: string, id: string): number {
    const place = this.places.get(id);
    return place?.name === name ? place.revision : -1;
  }

  setMetadata(name: string, metadata: Metadata): Outcome {
    const stream = this.stream(name);
    if (stream.tombstoned) return 'deleted';
    const revived = stream.softDeleted;
    this.writeMetadata(name, metadata);
    const { metadataEvents } = stream;
    if (revived) this.writeMetadata(name, { ...metadata, $tb: stream.last + 1 });
    return { revision: metadataEvents - 1 };
  }

  delete(name: string, expected: 'any' | bigint): Outcome {
    const stream = this.stream(name);
    const decision = stream.decide([randomUUID()], expected, () => -1);
    if (decision !== 'write') return decision;
    if (stream.last < 0 && stream.metadataEvents === 0) return 'wrong';
    this.writeMetadata(name, { $tb: 'deleted' });
    return { revision: stream.last };
  }

  tombstone(name: string): Outcome {
    const stream = this.stream(name);
    if (stream.tombstoned) return 'deleted';
    stream.tombstoned = true;
    this.log(name, TOMBSTONE);
    return { revision: 0 };
  }

  private writeMetadata(name: string, metadata: Metadata): void {
    const stream = this.stream(name);
    stream.metadata = metadata;
    const entry = `${stream.metadataEvents++}@$$${name}`;
    this.all.push(entry);
    if (stream.softDeleted) this.links.push(entry);
  }

  private log(name: string, revision: string): void {
    this.all.push(`${revision}@${name}`);
    this.links.push(`${revision}@${name}`);
  }
}

const stream = fc.nat(2);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      stream,
      count: fc.integer({ min: 1, max: 4 }),
      expected: fc.constantFrom('any', 'no_stream', 'stream_exists', 'last', 'older', 'newer'),
      /** Ids of an earlier append instead of new ones. */
      repeat: fc.option(fc.nat(), { freq: 3 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), stream, right: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('metadata' as const),
      stream,
      maxCount: fc.option(fc.integer({ min: 1, max: 6 })),
      truncateBefore: fc.option(fc.nat(8)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('tombstone' as const), stream }) },
);

async function outcomeOf(call: Promise<{ nextExpectedRevision?: bigint }>): Promise<Outcome> {
  try {
    const { nextExpectedRevision } = await call;
    return { revision: Number(nextExpectedRevision ?? 0n) };
  } catch (error) {
    if (error instanceof WrongExpectedVersionError) return 'wrong';
    if (error instanceof StreamDeletedError) return 'deleted';
    throw error;
  }
}

const sameKind = (outcome: Outcome) => (typeof outcome === 'string' ? outcome : 'written');

it('answers every history as the model does', async () => {
  const { client } = store;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const category = `m${randomUUID().replaceAll('-', '')}`;
      const model = new Model();
      const batches: ReturnType<typeof jsonEvent>[][] = [];
      const name = (n: number) => `${category}-${n}`;
      const stateOf = (which: string, last: number): AppendStreamState => {
        if (which === 'last') return last < 0 ? 'no_stream' : BigInt(last);
        if (which === 'older') return last < 1 ? 'no_stream' : BigInt(last - 1);
        if (which === 'newer') return BigInt(last + 1);
        return which as AppendStreamState;
      };

      const readRevisions = async (stream: string, backwards: boolean) => {
        try {
          const options = backwards ? { direction: BACKWARDS, fromRevision: END } : {};
          return (await collect(client.readStream(stream, options as object))).map((e) => Number(e.revision));
        } catch (error) {
          if (error instanceof StreamNotFoundError) return 'not_found';
          if (error instanceof StreamDeletedError) return 'deleted';
          throw error;
        }
      };

      for (const action of steps) {
        const target = name(action.stream);
        const known = model.stream(target);
        switch (action.do) {
          case 'append': {
            const fresh = Array.from({ length: action.count }, (_, n) => jsonEvent({ type: 'M', data: { n } }));
            const batch = (action.repeat !== null && batches[action.repeat % Math.max(1, batches.length)]) || fresh;
            batches.push(batch);
            const streamState = stateOf(action.expected, known.last);
            const expected = model.append(
              target,
              batch.map((e) => e.id),
              streamState,
            );
            expect(await outcomeOf(client.appendToStream(target, batch, { streamState }))).toEqual(expected);
            break;
          }
          case 'delete': {
            const expectedRevision = action.right ? ('any' as const) : BigInt(known.last + 1);
            const expected = model.delete(target, expectedRevision);
            const got = await outcomeOf(client.deleteStream(target, { expectedRevision }) as Promise<object>);
            expect(sameKind(got)).toBe(sameKind(expected));
            break;
          }
          case 'metadata': {
            const { maxCount, truncateBefore } = action;
            const expected = model.setMetadata(target, {
              ...(maxCount !== null && { $maxCount: maxCount }),
              ...(truncateBefore !== null && { $tb: truncateBefore }),
            });
            const metadata = {
              ...(maxCount !== null && { maxCount }),
              ...(truncateBefore !== null && { truncateBefore }),
            };
            expect(await outcomeOf(client.setStreamMetadata(target, metadata))).toEqual(expected);
            break;
          }
          case 'tombstone': {
            const expected = model.tombstone(target);
            const got = await outcomeOf(client.tombstoneStream(target) as Promise<object>);
            expect(sameKind(got)).toBe(sameKind(expected));
          }
        }
        const visible = known.visible();
        expect(await readRevisions(target, false)).toEqual(visible);
        expect(await readRevisions(target, true)).toEqual(Array.isArray(visible) ? visible.toReversed() : visible);
      }

      const filter = streamNameFilter({ regex: `^(\\$\\$)?${category}` });
      const all = await collect(client.readAll({ filter } as object));
      expect(all.map((e) => `${e.revision}@${e.streamId}`)).toEqual(model.all);
      const links = model.links.length === 0 ? [] : await collect(client.readStream(`$ce-${category}`));
      expect(links.map((e) => Buffer.from(e.data as Uint8Array).toString())).toEqual(model.links);
      expect(links.map((e) => Number(e.revision))).toEqual(model.links.map((_, n) => n));
    }),
    { numRuns: 30 },
  );
}, 120_000);
