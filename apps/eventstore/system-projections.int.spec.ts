import { AccessDeniedError, END, jsonEvent, type ResolvedEvent, StreamNotFoundError } from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { collect, events, startTestStore, type TestStore, until } from './eventstore.fixture.js';
import { MIGRATIONS } from './storage/migrations.js';

let store: TestStore;
let client: TestStore['client'];
beforeAll(async () => {
  store = await startTestStore();
  ({ client } = store);
});
afterAll(() => store.close());

const category = () => `c${randomUUID().slice(0, 8)}`;

async function resolved(stream: string, options: Parameters<typeof client.readStream>[1] = {}) {
  const all: ResolvedEvent[] = [];
  for await (const e of client.readStream(stream, { resolveLinkTos: true, ...options })) all.push(e);
  return all;
}
const linked = (all: ResolvedEvent[]) =>
  all.map((e) => `${e.link!.revision} → ${e.event?.revision}@${e.event?.streamId}`);

describe('$by_category', () => {
  it('is read in the order of the log, both ways, with and without the events linked to', async () => {
    const c = category();
    await client.appendToStream(`${c}-1`, events(2));
    await client.appendToStream(`${c}-2`, events(1));
    await client.appendToStream(`${c}-1`, events(1));
    const all = [`0 → 0@${c}-1`, `1 → 1@${c}-1`, `2 → 0@${c}-2`, `3 → 2@${c}-1`];
    expect(linked(await resolved(`$ce-${c}`))).toEqual(all);
    expect(linked(await resolved(`$ce-${c}`, { direction: 'backwards', fromRevision: END }))).toEqual(all.toReversed());
    expect(linked(await resolved(`$ce-${c}`, { fromRevision: 1n, maxCount: 2 }))).toEqual(all.slice(1, 3));

    const links = await collect(client.readStream(`$ce-${c}`));
    expect(links.map((link) => [link.streamId, Number(link.revision), link.type])).toEqual(
      [0, 1, 2, 3].map((n) => [`$ce-${c}`, n, '$>']),
    );
    // The same link has the same id whenever it is read.
    expect((await collect(client.readStream(`$ce-${c}`))).map((link) => link.id)).toEqual(links.map((link) => link.id));
    expect(new Set(links.map((link) => link.id)).size).toBe(4);
  });

  it('of many events is read from anywhere, both ways', async () => {
    const c = category();
    await client.appendToStream(`${c}-1`, events(3));
    await client.appendToStream(`${c}-2`, events(450));
    await client.appendToStream(`${c}-1`, events(2));
    const revisions = async (options: Parameters<typeof client.readStream>[1]) =>
      (await resolved(`$ce-${c}`, options)).map((e) => Number(e.link!.revision));
    expect(await revisions({})).toEqual(Array.from({ length: 455 }, (_, n) => n));
    for (const from of [0, 2, 3, 202, 203, 402, 452, 454])
      for (const maxCount of [1, 200, 201]) {
        const forwards = Array.from({ length: Math.min(maxCount, 455 - from) }, (_, n) => from + n);
        const backwards = Array.from({ length: Math.min(maxCount, from + 1) }, (_, n) => from - n);
        const fromRevision = BigInt(from);
        expect(await revisions({ fromRevision, maxCount })).toEqual(forwards);
        expect(await revisions({ fromRevision, maxCount, direction: 'backwards' })).toEqual(backwards);
      }
    expect(linked(await resolved(`$ce-${c}`, { fromRevision: 451n, maxCount: 3 }))).toEqual([
      `451 → 448@${c}-2`,
      `452 → 449@${c}-2`,
      `453 → 3@${c}-1`,
    ]);
  });

  it('is followed live', async () => {
    const c = category();
    const seen: ResolvedEvent[] = [];
    const subscription = client.subscribeToStream(`$ce-${c}`, { resolveLinkTos: true });
    let live = false;
    subscription.on('caughtUp', () => (live = true)).on('data', (e: ResolvedEvent) => seen.push(e));
    await until(() => live, 'caughtUp');
    for (let n = 0; n < 3; n++) await client.appendToStream(`${c}-${n}`, events(2));
    await until(() => seen.length === 6, 'six links');
    await subscription.unsubscribe();
    expect(linked(seen)).toEqual(linked(await resolved(`$ce-${c}`)));
    expect(seen.map((e) => e.link!.id)).toEqual((await collect(client.readStream(`$ce-${c}`))).map((e) => e.id));
  });

  it('of nothing is no stream', async () => {
    await expect(collect(client.readStream(`$ce-${category()}`))).rejects.toThrow(StreamNotFoundError);
  });

  it('honours metadata of the link stream', async () => {
    const c = category();
    await client.appendToStream(`${c}-1`, events(5));
    await client.setStreamMetadata(`$ce-${c}`, { maxCount: 2 });
    expect(linked(await resolved(`$ce-${c}`))).toEqual([`3 → 3@${c}-1`, `4 → 4@${c}-1`]);
  });

  it('has links to what is deleted, and to the deletion', async () => {
    const c = category();
    await client.appendToStream(`${c}-1`, events(1));
    await client.deleteStream(`${c}-1`);
    const all = await resolved(`$ce-${c}`);
    expect(all.map((e) => [Number(e.link!.revision), e.event?.type])).toEqual([
      [0, undefined],
      [1, '$metadata'],
    ]);
    expect(all[0]!.link!.data).toEqual(Buffer.from(`0@${c}-1`));
  });
});

it('$by_event_type, $streams and $stream_by_category', async () => {
  const c = category();
  await client.appendToStream(`${c}-1`, events(2, `${c}A`));
  await client.appendToStream(`${c}-2`, [...events(1, `${c}B`), ...events(1, `${c}A`)]);
  expect(linked(await resolved(`$et-${c}A`))).toEqual([`0 → 0@${c}-1`, `1 → 1@${c}-1`, `2 → 1@${c}-2`]);
  expect(linked(await resolved(`$et-${c}B`))).toEqual([`0 → 0@${c}-2`]);
  const newest = await resolved('$streams', { direction: 'backwards', fromRevision: END, maxCount: 2 });
  expect(newest.map((e) => e.event!.streamId)).toEqual([`${c}-2`, `${c}-1`]);
  const references = await collect(client.readStream(`$category-${c}`));
  expect(references.map((e) => [e.type, Buffer.from(e.data as Uint8Array).toString()])).toEqual([
    ['$@', `${c}-1`],
    ['$@', `${c}-2`],
  ]);
});

it.each(['$ce-x', '$et-x', '$streams', '$category-x'])('%s is not written by clients', async (stream) => {
  await expect(client.appendToStream(stream, events(1))).rejects.toThrow(AccessDeniedError);
  await expect(client.deleteStream(stream)).rejects.toThrow(AccessDeniedError);
});

it('links take no place in $all', async () => {
  const c = category();
  const { position } = await client.appendToStream(`${c}-1`, events(3));
  const all = await collect(client.readAll({ direction: 'backwards', fromPosition: END, maxCount: 3 }));
  expect(all.map((e) => e.streamId)).toEqual([`${c}-1`, `${c}-1`, `${c}-1`]);
  expect(all[0]!.position!.commit).toBe(position!.commit);
});

it('a log from before gets the same links that a new one has', async () => {
  const other = await startTestStore();
  const c = category();
  for (let n = 0; n < 40; n++) await other.client.appendToStream(`${c}-${n % 7}`, events(1 + (n % 3), `T${n % 5}`));
  await other.client.appendToStream('$odd-stream', events(1));
  await other.client.appendToStream('-', events(1));
  await other.client.appendToStream(`${c}-long`, events(1, 'x'.repeat(2_000)));
  await other.client.appendToStream(
    `${c}-links`,
    jsonEvent({ type: '$>', data: 'not a target' as unknown as Record<string, unknown> }),
  );
  await other.client.setStreamMetadata(`${c}-1`, { maxCount: 5 });
  await other.client.deleteStream(`${c}-2`);
  await other.client.appendToStream(`${c}-2`, events(1));
  await other.client.tombstoneStream(`${c}-3`);
  const postgres = new pg.Client(other.database.url);
  await postgres.connect();
  const links = async () =>
    (
      await postgres.query(
        `SELECT stream, revision + n - 1 AS revision, position
           FROM eventstore.links CROSS JOIN LATERAL unnest(positions) WITH ORDINALITY p(position, n) ORDER BY 1, 2`,
      )
    ).rows as unknown[];
  const before = await links();
  expect(before.length).toBeGreaterThan(150);

  await other.server.close();
  await postgres.query('DROP TABLE eventstore.links');
  for (const n of [1, 3]) await postgres.query(MIGRATIONS[n]!);
  expect(await links()).toEqual(before);
  await postgres.end();
  await other.close();
}, 60_000);

describe('management of projections', () => {
  it('shows the system projections as running', async () => {
    const all = await client.listProjections();
    expect(all.map((projection) => projection.name)).toEqual([
      '$streams',
      '$stream_by_category',
      '$by_category',
      '$by_event_type',
    ]);
    expect(await client.getProjectionStatus('$by_category')).toMatchObject({
      name: '$by_category',
      status: 'Running',
      progress: 100,
    });
    await client.enableProjection('$by_category');
    expect(await client.getProjectionState('$by_category')).toEqual({});
  });

  it('refuses to change them', async () => {
    for (const change of [
      client.disableProjection('$streams'),
      client.abortProjection('$streams'),
      client.resetProjection('$streams'),
      client.updateProjection('$streams', 'fromAll()'),
      client.deleteProjection('$streams'),
    ])
      await expect(change).rejects.toThrow("System projection '$streams' is always on");
  });

  it('knows and makes no others', async () => {
    await expect(client.createProjection('mine', 'fromAll()')).rejects.toThrow(
      'A projection of your own is not supported',
    );
    await expect(client.getProjectionStatus('mine')).rejects.toThrow("Projection 'mine' not found");
    await expect(client.enableProjection('mine')).rejects.toThrow("Projection 'mine' not found");
  });
});
