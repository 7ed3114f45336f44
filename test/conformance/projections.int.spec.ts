import { type ResolvedEvent, UnsupportedError } from '@kurrent/kurrentdb-client';
import {
  connectSubject,
  CONFORMANCE_URL,
  events,
  failure,
  type Subject,
  unique,
  until,
} from './conformance.fixture.js';

let subject: Subject;
let client: Subject['client'];
beforeAll(async () => {
  subject = await connectSubject();
  ({ client } = subject);
  // Real servers have them off until somebody turns them on.
  for (const name of ['$by_category', '$by_event_type', '$streams', '$stream_by_category'])
    await client.enableProjection(name);
});
afterAll(() => subject.close());

async function resolved(stream: string): Promise<string[]> {
  const all: string[] = [];
  try {
    for await (const { event } of client.readStream(stream, { resolveLinkTos: true }))
      all.push(`${event?.revision}@${event?.streamId}`);
  } catch {
    return [];
  }
  return all;
}

it('$by_category and $by_event_type have links to the events in the order they were written', async () => {
  const category = unique('c');
  const type = unique('T');
  await client.appendToStream(`${category}-a`, events(2, type));
  await client.appendToStream(`${category}-b`, events(1, type));
  await client.appendToStream(`${category}-a`, events(1, `${type}Other`));
  await until(async () => (await resolved(`$ce-${category}`)).length === 4, 'four links');
  expect(await resolved(`$ce-${category}`)).toEqual([
    `0@${category}-a`,
    `1@${category}-a`,
    `0@${category}-b`,
    `2@${category}-a`,
  ]);
  await until(async () => (await resolved(`$et-${type}`)).length === 3, 'three links');
  expect(await resolved(`$et-${type}`)).toEqual([`0@${category}-a`, `1@${category}-a`, `0@${category}-b`]);
});

it('$by_category is followed', async () => {
  const category = unique('c');
  const seen: bigint[] = [];
  const subscription = client.subscribeToStream(`$ce-${category}`, { resolveLinkTos: true });
  subscription.on('data', (event: ResolvedEvent) => seen.push(event.link!.revision));
  for (let n = 0; n < 5; n++) await client.appendToStream(`${category}-${n}`, events(2));
  await until(() => seen.length === 10, 'ten links');
  expect(seen).toEqual(Array.from({ length: 10 }, (_, n) => BigInt(n)));
  await subscription.unsubscribe();
});

it('are shown as running', async () => {
  expect(await client.getProjectionStatus('$by_category')).toMatchObject({ name: '$by_category', status: 'Running' });
  expect((await client.listProjections()).map((projection) => projection.name)).toContain('$streams');
  await expect(client.getProjectionStatus(unique('none'))).rejects.toThrow('not found');
});

// A server that has custom projections is none of ours.
(CONFORMANCE_URL === undefined ? it : it.skip)('of one’s own are refused', async () => {
  const error = await failure(client.createProjection(unique('p'), 'fromAll()'));
  expect(error).toBeInstanceOf(Error);
  expect(error instanceof UnsupportedError || (error as Error).message.includes('not supported')).toBe(true);
});
