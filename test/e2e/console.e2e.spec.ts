import { jest } from '@jest/globals';
import { consoleVerb } from '#apps/studio/console.js';
import { ApiClient } from '#apps/studio/api-client.js';
import { loadSettings, operatorToken, loadConfig } from '#libs/runtime/index.js';
import { type Studio, foundStudio } from '../bench/studio.js';
import { startStack, type TestStack } from '../support/stack.js';
import { Person } from './support.js';

jest.setTimeout(120_000);

/** What the operator sees of a running installation, over GraphQL and on the command line. */

let stack: TestStack;
let studio: Studio;
let versionId: string;

beforeAll(async () => {
  stack = await startStack();
  studio = await foundStudio(stack);
  ({ versionId } = await studio.addVersion('spot'));
  await studio.transcoded([versionId]);
});

afterAll(async () => {
  await studio?.close();
  await stack?.stop();
});

interface Status {
  operations: {
    head: string;
    projections: { name: string; position: string; lag: { events: number; more: boolean; seconds: number } }[];
    reactions: { name: string; lag: { events: number } }[];
    queues: { name: string; completed: number; failed: number }[];
  };
}
const STATUS = `{ operations {
  head projections { name position lag { events more seconds } } reactions { name lag { events } }
  queues { name completed failed }
} }`;

/** What a verb prints. */
async function printed(command: string, ...args: string[]): Promise<string> {
  let text = '';
  const settings = loadSettings({ ...stack.env, PICTURELOCK_HOME: stack.home });
  const io = { screen: { write: (more: string) => (text += more) }, signal: AbortSignal.timeout(30_000) };
  expect(await consoleVerb(command, [...args, '--url', stack.apiUrl], settings, io)).toBe(0);
  return text;
}

/** Until everything that follows the log has seen its end. */
async function settled(): Promise<Status['operations']> {
  for (;;) {
    const { operations } = await studio.admin.graphql<Status>(STATUS);
    if ([...operations.projections, ...operations.reactions].every(({ lag }) => lag.events === 0)) return operations;
  }
}

it('shows nothing behind once all is quiet, and the transcode among the finished jobs', async () => {
  const operations = await settled();
  expect(operations.projections.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['identity', 'production', 'review', 'feed']),
  );
  expect(operations.projections.every(({ lag }) => !lag.more && lag.seconds === 0)).toBe(true);
  expect(operations.reactions.map(({ name }) => name)).toContain('transcode-uploads');
  expect(operations.queues).toEqual([{ name: 'transcode', completed: 1, failed: 0 }]);
});

it('a projector that is down is seen to lag by what was written since, and to catch up', async () => {
  await settled();
  await stack.killService('projector');
  const { operations: quiet } = await studio.admin.graphql<Status>(STATUS);
  for (let i = 0; i < 3; i++)
    await studio.client.graphql(
      `mutation ($input: AddCommentInput!) { addComment(input: $input) { position errors { ... on RefusalInfo { code message } } } }`,
      { input: { versionId, text: `Note ${i}` } },
    );
  const { operations } = await studio.admin.graphql<Status>(STATUS);
  expect(BigInt(operations.head)).toBeGreaterThan(BigInt(quiet.head));
  const review = operations.projections.find(({ name }) => name === 'review')!;
  expect(review.lag).toMatchObject({ events: 3, more: false });
  expect(review.lag.seconds).toBeGreaterThan(0);
  await stack.restartService('projector');
  await settled();
});

it('counts what is in the log', async () => {
  await settled();
  const { logStatistics } = await studio.admin.graphql<{
    logStatistics: { events: number; types: { type: string; events: number }[]; organisations: { name: string }[] };
  }>('{ logStatistics { events types { type events } organisations { name } } }');
  expect(logStatistics.types).toContainEqual({ type: 'VersionUploaded', events: 1 });
  expect(logStatistics.types.reduce((sum, { events }) => sum + events, 0)).toBe(logStatistics.events);
  expect(logStatistics.organisations).toEqual([{ name: 'Measured Pictures' }]);
});

it('tells who watches, once a second, how fast events come', async () => {
  const person = new Person(stack.apiUrl, studio.admin.token!);
  const feed = await person.follow('operationsLooked', {}, 'at head eventsPerSecond subscribers { followers }');
  try {
    await feed.until((messages) => messages.length >= 2);
    expect(feed.messages[1]).toMatchObject({ eventsPerSecond: expect.any(Number) });
  } finally {
    await feed.close();
  }
});

it('the operator’s token opens the console and nothing else', async () => {
  const operator = new ApiClient(stack.apiUrl, undefined, operatorToken(loadConfig(stack.env).keys.master));
  expect((await operator.graphql<Status>(STATUS)).operations.head).toMatch(/^\d+$/);
  await expect(operator.graphql('{ users { totalCount } }')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  await expect(studio.client.graphql(STATUS)).rejects.toMatchObject({ code: 'FORBIDDEN' });
});

it('the command line shows the same, as tables or as JSON', async () => {
  await settled();
  const text = await printed('status');
  expect(text).toMatch(/^review +1 +\d+ +0 +0 s$/m);
  expect(text).toMatch(/^QUEUE +WAITING/m);
  const status = JSON.parse(await printed('status', '--json')) as Status['operations'];
  expect(status.projections.map(({ name }) => name)).toContain('feed');
  expect(await printed('log')).toMatch(/^VersionUploaded +1 +20/m);
});
