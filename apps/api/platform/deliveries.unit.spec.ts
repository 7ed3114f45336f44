import { buildSchema, type ExecutionResult, type GraphQLSchema, parse } from 'graphql';
import type { RequestContext } from './context.js';
import { deliveredIn, questionOf, SharedReads, subscribeShared } from './deliveries.js';
import type { ReadSession } from './read-store.js';

let opened: { position: bigint; released: number }[];
let reads: SharedReads;
/** How often the field was resolved. */
let resolved: number;
let schema: GraphQLSchema;

beforeEach(() => {
  opened = [];
  resolved = 0;
  reads = new SharedReads({
    session: () => {
      const session = { position: 0n, released: 0 };
      opened.push(session);
      return {
        require: (position: bigint) => Promise.resolve(void (session.position = position)),
        release: () => Promise.resolve(void session.released++),
      } as unknown as ReadSession;
    },
  });
  schema = buildSchema(`
    type Message { text(upper: Boolean): String mine: String read: Boolean }
    type Query { none: Int }
    type Subscription { changed(stackId: ID!, after: String): Message }`);
  const fields = (
    schema.getType('Message') as unknown as { getFields(): Record<string, { resolve: unknown }> }
  ).getFields();
  // The message itself, as our own root fields hand it on.
  schema.getSubscriptionType()!.getFields()['changed']!.resolve = (message: unknown) => message;
  fields['text']!.resolve = ({ text }: { text: string }, { upper }: { upper?: boolean }) => {
    resolved++;
    return upper ? text.toUpperCase() : text;
  };
  fields['mine']!.resolve = (_: unknown, __: unknown, { viewer }: RequestContext) => {
    resolved++;
    return viewer!.userId;
  };
  fields['read']!.resolve = (_: unknown, __: unknown, { read }: RequestContext) => read !== undefined;
});

/** A subscriber that is told of one change. */
async function told(query: string, userId: string, variableValues: Record<string, unknown> = {}) {
  async function* messages() {
    const hold = await reads.take(7n);
    const message = { text: 'hello' };
    deliveredIn(message, hold);
    try {
      yield message;
    } finally {
      hold.release();
    }
  }
  const stream = (await subscribeShared({
    schema,
    document: parse(query),
    contextValue: { viewer: { userId } },
    variableValues,
    rootValue: { changed: () => messages() },
  })) as AsyncGenerator<ExecutionResult>;
  return stream;
}
const answers = async (...streams: Promise<AsyncGenerator<ExecutionResult>>[]) =>
  (await Promise.all(streams.map(async (stream) => (await (await stream).next()).value as ExecutionResult))).map(
    ({ data, errors }) => errors?.[0]?.message ?? JSON.stringify(Object.values(data ?? {})[0]),
  );
const Q = (fields: string, more = '') =>
  `subscription ($stackId: ID!, $after: String${more}) { changed(stackId: $stackId, after: $after) { ${fields} } }`;

it('one snapshot serves all who are told of a change, and is closed by the last of them, once', async () => {
  const [one, two] = [await reads.take(7n), await reads.take(7n)];
  const other = await reads.take(8n);
  expect(one.read).toBe(two.read);
  expect(other.read).not.toBe(one.read);
  expect(opened.map(({ position }) => position)).toEqual([7n, 8n]);
  one.release();
  one.release();
  expect(opened[0]!.released).toBe(0);
  two.release();
  expect(opened[0]!.released).toBe(1);
  expect((await reads.take(7n)).read).not.toBe(one.read);
});

it('who asks the same is answered once, wherever each began', async () => {
  const query = Q('text read');
  expect(
    await answers(
      told(query, 'a', { stackId: 's', after: '1' }),
      told(query, 'b', { stackId: 's', after: '2' }),
      told(query, 'c', { stackId: 's' }),
    ),
  ).toEqual(Array(3).fill('{"text":"hello","read":true}'));
  expect(resolved).toBe(1);
  expect(opened).toHaveLength(1);
  expect(opened[0]!.released).toBe(1);
});

it('an answer that depends on who asks is given to nobody else', async () => {
  const query = Q('mine');
  expect(await answers(told(query, 'a', { stackId: 's' }), told(query, 'b', { stackId: 's' }))).toEqual([
    '{"mine":"a"}',
    '{"mine":"b"}',
  ]);
});

it('another question has an answer of its own', async () => {
  const query = Q('text(upper: $upper)', ', $upper: Boolean');
  expect(
    await answers(
      told(query, 'a', { stackId: 's', upper: true }),
      told(query, 'b', { stackId: 's', upper: false }),
      told(Q('again: text'), 'c', { stackId: 's' }),
    ),
  ).toEqual(['{"text":"HELLO"}', '{"text":"hello"}', '{"again":"hello"}']);
});

it('tells questions apart by what is used beneath the root field', () => {
  const question = (query: string, variableValues: Record<string, unknown>) =>
    questionOf({ schema, document: parse(query), variableValues });
  const same = Q('text');
  expect(question(same, { stackId: 'a', after: '1' })).toBe(question(same, { stackId: 'b', after: '2' }));
  const other = 'subscription ($i: Boolean!) { changed(stackId: 1) { text @include(if: $i) } }';
  expect(question(other, { i: true })).not.toBe(question(other, { i: false }));
  const rooted = 'subscription ($i: Boolean!) { changed(stackId: 1) @include(if: $i) { text } }';
  expect(question(rooted, { i: true })).not.toBe(question(rooted, { i: false }));
  const spread =
    'subscription ($i: Boolean!) { ...f } fragment f on Subscription { changed(stackId: 1) { text(upper: $i) } }';
  expect(question(spread, { i: true })).not.toBe(question(spread, { i: false }));
});
