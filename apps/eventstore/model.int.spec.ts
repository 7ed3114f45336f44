import {
  BACKWARDS,
  END,
  type KurrentDBClient,
  START,
  StreamDeletedError,
  StreamNotFoundError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { collect, event, startTestStore, type TestStore } from './eventstore.fixture.js';

let store: TestStore;
let client: KurrentDBClient;
beforeAll(async () => {
  store = await startTestStore();
  ({ client } = store);
});
afterAll(() => store.close());

/** What a store must answer, in the simplest terms: one list of events, and per stream its metadata and tombstone. */
class Model {
  readonly log: { id: string; stream: string; revision: number }[] = [];
  private readonly last = new Map<string, number>();
  private readonly metadata = new Map<string, { maxCount?: number; truncateBefore?: number; deleted?: boolean }>();
  private readonly tombstones = new Set<string>();

  lastOf(stream: string): number {
    return this.last.get(stream) ?? -1;
  }

  private bounds(stream: string) {
    return this.metadata.get(stream);
  }

  isTombstoned(stream: string): boolean {
    return this.tombstones.has(stream);
  }

  private add(stream: string, id: string): number {
    const revision = this.lastOf(stream) + 1;
    this.last.set(stream, revision);
    this.log.push({ id, stream, revision });
    return revision;
  }

  append(stream: string, ids: readonly string[], expected: Expected): Answer {
    if (this.isTombstoned(stream)) return 'deleted';
    const last = this.lastOf(stream);
    const deleted = this.bounds(stream)?.deleted === true;
    if (expected === 'stream_exists') {
      if (deleted) return 'deleted';
      if (last < 0 && this.bounds(stream) === undefined) return 'wrong';
    } else if (expected === 'no_stream' && last >= 0 && !deleted) return 'wrong';
    else if (typeof expected === 'number' && expected !== last) return 'wrong';
    for (const id of ids) this.add(stream, id);
    if (deleted) this.metadata.set(stream, { truncateBefore: last + 1 });
    return this.lastOf(stream);
  }

  /** Metadata of a deleted stream brings it back, without what was deleted. */
  setMetadata(stream: string, metadata: { maxCount?: number; truncateBefore?: number }): Answer {
    if (this.isTombstoned(stream)) return 'deleted';
    const deleted = this.bounds(stream)?.deleted === true;
    this.metadata.set(stream, deleted ? { ...metadata, truncateBefore: this.lastOf(stream) + 1 } : metadata);
    return 'done';
  }

  delete(stream: string): Answer {
    if (this.isTombstoned(stream)) return 'deleted';
    if (this.lastOf(stream) < 0 && this.bounds(stream) === undefined) return 'wrong';
    this.metadata.set(stream, { deleted: true });
    return 'done';
  }

  tombstone(stream: string): Answer {
    if (this.isTombstoned(stream)) return 'deleted';
    this.tombstones.add(stream);
    return 'done';
  }

  read(stream: string): 'deleted' | 'not_found' | { id: string; revision: number }[] {
    if (this.isTombstoned(stream)) return 'deleted';
    const bounds = this.bounds(stream);
    if (this.lastOf(stream) < 0 || bounds?.deleted === true) return 'not_found';
    const first = Math.max(
      bounds?.truncateBefore ?? 0,
      bounds?.maxCount === undefined ? 0 : this.lastOf(stream) - bounds.maxCount + 1,
    );
    return this.log.filter((e) => e.stream === stream && e.revision >= first);
  }
}

type Expected = 'any' | 'no_stream' | 'stream_exists' | number;
type Answer = number | 'done' | 'wrong' | 'deleted';

type Command =
  | { do: 'append'; stream: number; count: number; expected: 'any' | 'no_stream' | 'stream_exists' | 'head' | 'older' }
  | { do: 'metadata'; stream: number; maxCount: number | undefined; truncateBefore: number | undefined }
  | { do: 'delete' | 'tombstone' | 'read'; stream: number }
  | { do: 'page'; stream: number; from: number; count: number; backwards: boolean }
  | { do: 'readAll'; skip: number; count: number; backwards: boolean };

const stream = fc.nat(3);
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      stream,
      count: fc.integer({ min: 1, max: 4 }),
      expected: fc.constantFrom('any', 'no_stream', 'stream_exists', 'head', 'older'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('metadata' as const),
      stream,
      maxCount: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
      truncateBefore: fc.option(fc.nat(6), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), stream }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('tombstone' as const), stream: fc.constantFrom(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const), stream }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('page' as const),
      stream,
      from: fc.nat(12),
      count: fc.integer({ min: 1, max: 5 }),
      backwards: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('readAll' as const),
      skip: fc.nat(10),
      count: fc.integer({ min: 1, max: 20 }),
      backwards: fc.boolean(),
    }),
  },
);

async function answer(call: () => Promise<Answer>): Promise<Answer> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof WrongExpectedVersionError) return 'wrong';
    if (error instanceof StreamDeletedError) return 'deleted';
    throw error;
  }
}

async function readOf(read: Parameters<typeof collect>[0]): Promise<ReturnType<Model['read']>> {
  try {
    return (await collect(read)).map((e) => ({ id: e.id, revision: Number(e.revision) }));
  } catch (error) {
    if (error instanceof StreamNotFoundError) return 'not_found';
    if (error instanceof StreamDeletedError) return 'deleted';
    throw error;
  }
}

const brief = (answered: ReturnType<Model['read']>) =>
  typeof answered === 'string' ? answered : answered.map(({ id, revision }) => ({ id, revision }));

it('answers every command and every read as the model does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
      const run = randomUUID();
      const model = new Model();
      const head = (await collect(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 })))[0];
      const before = head?.position ?? START;
      for (const c of commands) {
        const name = 'stream' in c ? `s${c.stream}-${run}` : '';
        switch (c.do) {
          case 'append': {
            const batch = Array.from({ length: c.count }, (_, n) => event(n));
            const last = model.lastOf(name);
            const expected: Expected =
              c.expected === 'head' ? last : c.expected === 'older' ? Math.max(0, last - 1) : c.expected;
            const wanted: Expected = expected === -1 ? 'no_stream' : expected;
            const answered = await answer(async () => {
              const streamState = typeof wanted === 'number' ? BigInt(wanted) : wanted;
              return Number((await client.appendToStream(name, batch, { streamState })).nextExpectedRevision);
            });
            expect(answered).toEqual(
              model.append(
                name,
                batch.map((e) => e.id),
                wanted,
              ),
            );
            break;
          }
          case 'metadata': {
            const metadata = {
              ...(c.maxCount !== undefined && { maxCount: c.maxCount }),
              ...(c.truncateBefore !== undefined && { truncateBefore: c.truncateBefore }),
            };
            const answered = await answer(() => client.setStreamMetadata(name, metadata).then(() => 'done' as const));
            expect(answered).toEqual(model.setMetadata(name, metadata));
            break;
          }
          case 'delete':
            expect(await answer(() => client.deleteStream(name).then(() => 'done' as const))).toEqual(
              model.delete(name),
            );
            break;
          case 'tombstone':
            expect(await answer(() => client.tombstoneStream(name).then(() => 'done' as const))).toEqual(
              model.tombstone(name),
            );
            break;
          case 'read':
            expect(await readOf(client.readStream(name))).toEqual(brief(model.read(name)));
            expect(await readOf(client.readStream(name, { direction: BACKWARDS, fromRevision: END }))).toEqual(
              reversed(brief(model.read(name))),
            );
            break;
          case 'page': {
            const options = { fromRevision: BigInt(c.from), maxCount: c.count };
            const all = brief(model.read(name));
            const due =
              typeof all === 'string'
                ? all
                : (c.backwards
                    ? all.filter((e) => e.revision <= c.from).reverse()
                    : all.filter((e) => e.revision >= c.from)
                  ).slice(0, c.count);
            const read = c.backwards
              ? client.readStream(name, { ...options, direction: BACKWARDS })
              : client.readStream(name, options);
            // Backwards from beyond the end, the count is that of a page of events, not of revisions.
            expect(await readOf(read)).toEqual(due);
            break;
          }
          case 'readAll': {
            const all = (await collect(client.readAll({ fromPosition: before })))
              .filter((e) => e.streamId.endsWith(run) && !e.streamId.startsWith('$'))
              .filter((e) => e.type !== '$streamDeleted');
            expect(all.map((e) => e.id)).toEqual(model.log.map((e) => e.id));
            const direction = c.backwards ? BACKWARDS : 'forwards';
            const from = model.log.length === 0 ? undefined : all[Math.min(c.skip, all.length - 1)]!;
            if (from === undefined) break;
            const page = await collect(
              client.readAll({ direction, fromPosition: from.position!, maxCount: c.count } as never),
            );
            const positions = page.map((e) => Number(e.position!.commit));
            const first = Number(from.position!.commit);
            // Forwards the event at the position is the first one, backwards the one before it.
            const due = positions.map((_, n) => (c.backwards ? first - 1 - n : first + n));
            expect(positions).toEqual(due);
            expect(page.length).toBeLessThanOrEqual(c.count);
            break;
          }
        }
      }
      // And at the end, everything once more.
      for (let n = 0; n < 4; n++) {
        const name = `s${n}-${run}`;
        expect(await readOf(client.readStream(name))).toEqual(brief(model.read(name)));
      }
    }),
    { numRuns: 60 },
  );
}, 120_000);

function reversed<T>(all: T[] | string): T[] | string {
  return typeof all === 'string' ? all : [...all].reverse();
}
