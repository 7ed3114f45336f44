import { excludeSystemEvents, type KurrentDBClient, START, WrongExpectedVersionError } from '@kurrent/kurrentdb-client';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { clientOf, collect, event, startTestStore, type TestStore, until } from './eventstore.fixture.js';

let store: TestStore;
let clients: KurrentDBClient[];
beforeAll(async () => {
  store = await startTestStore();
  clients = [store.client, clientOf(store.server.port), clientOf(store.server.port)];
});
afterAll(async () => {
  await Promise.all(clients.slice(1).map((client) => client.dispose()));
  await store.close();
});

type Step = {
  client: number;
  stream: number;
  count: number;
  expect: 'any' | 'head' | 'no_stream';
  credentials: boolean;
  repeat: boolean;
};

const step: fc.Arbitrary<Step> = fc.record({
  client: fc.nat(2),
  stream: fc.nat(3),
  count: fc.integer({ min: 1, max: 4 }),
  expect: fc.constantFrom('any', 'head', 'no_stream'),
  credentials: fc.boolean(),
  repeat: fc.boolean(),
});

it('whatever the interleaving of concurrent appends, all readers see one gap-free history', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 8 }),
      async (workers) => {
        const run = randomUUID();
        const from =
          (await collect(store.client.readAll({ direction: 'backwards', fromPosition: 'end', maxCount: 1 })))[0]
            ?.position ?? START;
        const seen: { stream: string; revision: bigint; position: bigint; id: string }[] = [];
        const subscription = clients[1]!.subscribeToAll({ fromPosition: from, filter: excludeSystemEvents() });
        subscription.on('data', ({ event: e }) => {
          if (e) seen.push({ stream: e.streamId, revision: e.revision, position: e.position.commit, id: e.id });
        });

        const acknowledged: { stream: string; last: bigint; ids: string[] }[] = [];
        await Promise.all(
          workers.map(async (steps) => {
            const heads = new Map<string, bigint>();
            for (const s of steps) {
              const stream = `p${s.stream}-${run}`;
              const batch = Array.from({ length: s.count }, (_, n) => event(n));
              const expected = s.expect === 'head' ? (heads.get(stream) ?? 'no_stream') : s.expect;
              const call = {
                streamState: expected,
                ...(s.credentials && { credentials: { username: 'a', password: 'b' } }),
              };
              for (let time = 0; time < (s.repeat ? 2 : 1); time++) {
                try {
                  const result = await clients[s.client]!.appendToStream(stream, batch, call);
                  if (time === 0)
                    acknowledged.push({ stream, last: result.nextExpectedRevision, ids: batch.map((e) => e.id) });
                  // A repeat is answered like the first time.
                  else
                    expect(acknowledged.find((a) => a.ids[0] === batch[0]!.id)!.last).toBe(result.nextExpectedRevision);
                  heads.set(stream, result.nextExpectedRevision);
                } catch (error) {
                  expect(error).toBeInstanceOf(WrongExpectedVersionError);
                  expect(time).toBe(0);
                  break;
                }
              }
            }
          }),
        );

        const after = typeof from === 'string' ? 0n : from.commit;
        const all = (await collect(store.client.readAll({ fromPosition: from })))
          .map((e) => ({ stream: e.streamId, revision: e.revision, position: e.position!.commit, id: e.id }))
          .filter((e) => e.position > after);
        await until(() => seen.length >= all.length, 'the subscriber');
        await subscription.unsubscribe();

        expect(seen).toEqual(all);
        const heads = new Map<string, bigint>();
        for (const [n, e] of all.entries()) {
          expect(e.position).toBe(after + BigInt(n) + 1n);
          expect(e.revision).toBe((heads.get(e.stream) ?? -1n) + 1n);
          heads.set(e.stream, e.revision);
        }
        // Acknowledged appends stand where their answers said, together, once.
        expect(all).toHaveLength(acknowledged.reduce((sum, a) => sum + a.ids.length, 0));
        for (const a of acknowledged) {
          const first = all.findIndex((e) => e.id === a.ids[0]);
          expect(all.slice(first, first + a.ids.length).map((e) => e.id)).toEqual(a.ids);
          expect(all[first + a.ids.length - 1]).toMatchObject({ stream: a.stream, revision: a.last });
        }
        for (const stream of heads.keys()) {
          const read = await collect(store.client.readStream(stream));
          expect(read.map((e) => e.id)).toEqual(all.filter((e) => e.stream === stream).map((e) => e.id));
        }
      },
    ),
    { numRuns: 25 },
  );
}, 120_000);
