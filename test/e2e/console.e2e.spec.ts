import { randomUUID } from 'node:crypto';
import { jest } from '@jest/globals';
import { jsonEvent, KurrentDBClient } from '@kurrent/kurrentdb-client';
import { consoleVerb } from '#apps/studio/console.js';
import { ApiClient } from '#apps/studio/api-client.js';
import { createPool } from '#libs/postgres/index.js';
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
    parked: number;
    projections: { name: string; position: string; lag: { events: number; more: boolean; seconds: number } }[];
    reactions: { name: string; lag: { events: number } }[];
    queues: { name: string; completed: number; failed: number }[];
  };
}
const STATUS = `{ operations {
  head parked projections { name position lag { events more seconds } } reactions { name lag { events } }
  queues { name completed failed }
} }`;

/** What a verb prints. */
const printed = (command: string, ...args: string[]): Promise<string> => printing(0, command, ...args);

async function printing(code: number, command: string, ...args: string[]): Promise<string> {
  let text = '';
  const settings = loadSettings({ ...stack.env, PICTURELOCK_HOME: stack.home });
  const io = { screen: { write: (more: string) => (text += more) }, signal: AbortSignal.timeout(30_000) };
  expect(await consoleVerb(command, [...args, '--url', stack.apiUrl], settings, io)).toBe(code);
  return text;
}

/** An event past our own door to the log. */
async function writeByHand(stream: string, type: string, data: Record<string, string>): Promise<void> {
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  const commandId = randomUUID();
  await client.appendToStream(stream, [
    jsonEvent({
      type,
      data,
      metadata: {
        commandId,
        commandHash: 'x',
        index: 0,
        count: 1,
        organisationId: randomUUID(),
        actor: { userId: null, role: 'SERVICE' },
        schemaVersion: 1,
        at: new Date().toISOString(),
        $correlationId: commandId,
        $causationId: commandId,
      },
    }),
  ]);
  await client.dispose();
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
    expect.arrayContaining(['identity', 'production', 'review', 'comparison', 'feed']),
  );
  expect(operations.projections.every(({ lag }) => !lag.more && lag.seconds === 0)).toBe(true);
  expect(operations.reactions.map(({ name }) => name)).toContain('transcode-uploads');
  expect(operations.queues).toEqual([
    { name: 'transcode', completed: 1, failed: 0 },
    { name: 'compare', completed: 0, failed: 0 },
  ]);
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
  expect(text).toMatch(/^review +2 +\d+ +0 +0 s$/m);
  expect(text).toMatch(/^QUEUE +WAITING/m);
  const status = JSON.parse(await printed('status', '--json')) as Status['operations'];
  expect(status.projections.map(({ name }) => name)).toContain('feed');
  expect(await printed('log')).toMatch(/^VersionUploaded +1 +20/m);
});

it('read models are rebuilt beside those that are read, and take their place', async () => {
  await settled();
  const ask = () =>
    studio.admin.graphql<{ version: { comments: { edges: unknown[] } } }>(
      'query ($id: ID!) { version(id: $id) { comments { edges { node { id text author { name } } } } } }',
      { id: versionId },
    );
  const before = await ask();
  expect(before.version.comments.edges.length).toBeGreaterThan(0);
  let over = false;
  const reading = (async () => {
    while (!over) expect(await ask()).toEqual(before);
  })();
  const text = await printed('rebuild').finally(() => (over = true));
  await reading;
  for (const name of ['identity', 'production', 'review', 'comparison', 'feed', 'audit'])
    expect(text).toMatch(new RegExp(`^${name} +\\d+ +DONE `, 'm'));
  expect(await ask()).toEqual(before);
  const listed = JSON.parse(await printed('rebuild', 'list', '--json')) as { state: string }[];
  expect(listed.every(({ state }) => state === 'DONE')).toBe(true);
});

it('a rebuild is throttled and cancelled; nonsense has a code', async () => {
  await printed('rebuild', 'review', '--throttle', '1', '--detach');
  await expect(printed('rebuild', 'review', '--detach')).rejects.toMatchObject({ code: 'REBUILD_RUNNING' });
  expect(await printed('rebuild', 'cancel', 'review')).toMatch(/^review/m);
  for (;;) {
    const { rebuilds } = await studio.admin.graphql<{ rebuilds: { state: string }[] }>(
      '{ rebuilds(projection: "review") { state } }',
    );
    if (rebuilds[0]!.state === 'CANCELLED') break;
    expect(['REQUESTED', 'RUNNING']).toContain(rebuilds[0]!.state);
  }
  await expect(printed('rebuild', 'nothing')).rejects.toMatchObject({ code: 'UNKNOWN_PROJECTION' });
  await expect(printed('rebuild', 'cancel', 'review')).rejects.toMatchObject({ code: 'NO_REBUILD' });
  await expect(printed('parked', 'retry', 'review', '1')).rejects.toMatchObject({ code: 'NOT_PARKED' });
  await expect(printed('rebuild', 'throttle', 'review', '0')).rejects.toThrow('at least 1');
});

it('an event that cannot be projected is parked, shown, and left out by decision; the others go on', async () => {
  await settled();
  const stream = `version-${randomUUID()}`;
  // As no command of ours would write it.
  await writeByHand(stream, 'CommentAdded', { versionId: 'no version at all' });
  const parked = async () =>
    JSON.parse(await printed('parked', 'review', '--json')) as {
      position: string;
      state: string;
      stream: string;
      error: string | null;
    }[];
  for (const until = Date.now() + 60_000; (await parked()).length === 0;)
    if (Date.now() > until) throw new Error('nothing was parked');
  const [event] = await parked();
  expect(event).toMatchObject({ stream, state: 'PARKED', error: expect.any(String) });
  expect((await settled()).parked).toBeGreaterThan(0);
  await studio.client.graphql(
    `mutation ($input: AddCommentInput!) { addComment(input: $input) { comment { text } errors { ... on RefusalInfo { code message } } } }`,
    { input: { versionId, text: 'The others go on' } },
  );

  await expect(printed('parked', 'skip', 'review', event!.position)).rejects.toThrow('--reason');
  for (const { projection, position } of JSON.parse(await printed('parked', '--json')) as {
    projection: string;
    position: string;
  }[])
    await printed('parked', 'skip', projection, position, '--reason', 'written by hand');
  for (const until = Date.now() + 60_000; (await settled()).parked > 0;)
    if (Date.now() > until) throw new Error('it is still parked');
  expect(await printed('parked')).toContain('written by hand');
});

it('rows are compared with those of a clean rebuild, and a row that is wrong is named', async () => {
  await settled();
  const text = await printed('verify');
  for (const name of ['identity', 'production', 'review', 'comparison', 'feed', 'audit'])
    expect(text).toMatch(new RegExp(`^${name} +\\d+ +DONE .*as they should be`, 'm'));
  const pool = createPool(loadConfig(stack.env).databases.read, { max: 1 });
  const { rows } = await pool.query<{ id: string }>(
    `UPDATE review_v2.comment SET text = text || '!' WHERE id = (SELECT min(id::text)::uuid FROM review_v2.comment)
     RETURNING id`,
  );
  try {
    const wrong = await printing(1, 'verify', 'review', '--json');
    expect(JSON.parse(wrong)).toMatchObject([
      {
        projection: 'review',
        equal: false,
        differences: [{ table: 'review.comment', missing: 0, extra: 0, changed: 1, examples: [rows[0]!.id] }],
      },
    ]);
    expect(await printed('verify', 'list')).toContain('✗ review.comment: 0 missing, 0 too many, 1 changed');
  } finally {
    await pool.query(`UPDATE review_v2.comment SET text = left(text, -1) WHERE id = $1`, [rows[0]!.id]);
    await pool.end();
  }
  await expect(printed('verify', 'nothing')).rejects.toMatchObject({ code: 'UNKNOWN_PROJECTION' });
  await expect(printed('verify', 'cancel', 'review')).rejects.toMatchObject({ code: 'NO_VERIFICATION' });
});

it('lag names each follower of the log, projections and reactions alike', async () => {
  await settled();
  const text = await printed('lag');
  expect(text).toMatch(/^review +projection +\d+ +\d+ +0 +0 s$/m);
  expect(text).toMatch(/^erase-persons +reaction +\d+ +\d+ +0 +0 s$/m);
});

it('says who follows what by which socket', async () => {
  const person = new Person(stack.apiUrl, studio.admin.token!);
  const feed = await person.follow('projectChanged', { projectId: studio.projectId }, 'position');
  try {
    interface Seen {
      topic: string;
      topicId: string;
      name: string;
      process: string;
      catchingUp: boolean;
      waiting: number;
    }
    let seen: Seen[] = [];
    while (seen.length === 0)
      seen = (JSON.parse(await printed('subscriptions', '--json')) as Seen[]).filter((one) => !one.catchingUp);
    expect(seen).toMatchObject([
      {
        topic: 'project',
        topicId: studio.projectId,
        name: 'Ada Administrator',
        process: expect.stringMatching(/:\d+$/) as unknown,
        waiting: 0,
      },
    ]);
    expect(await printed('subscriptions')).toMatch(/Ada Administrator +project /);
  } finally {
    await feed.close();
  }
  while ((await printed('subscriptions')) !== 'Nobody follows changes.\n');
});

it('a reaction that cannot do its work parks the event; it is shown as stuck, tried again, and left out by decision', async () => {
  expect(await printed('reactions', 'parked')).toBe('No reaction has parked an event.\n');
  const at = async () =>
    JSON.parse(await printed('reactions', '--json')) as { name: string; parked: number; stuck: object | null }[];
  // As no command of ours would write it: the queue refuses its data.
  await writeByHand(`versionStack-${randomUUID()}`, 'VersionUploaded', { versionId: 'no version at all' });
  for (
    const until = Date.now() + 60_000;
    !(await at()).some(({ name, parked }) => name === 'transcode-uploads' && parked > 0);
  )
    if (Date.now() > until) throw new Error('nothing was parked');
  const parked = JSON.parse(await printed('reactions', 'parked', '--json')) as { reaction: string; position: string }[];
  expect(parked.map(({ reaction }) => reaction)).toContain('transcode-uploads');
  expect((await at()).find(({ name }) => name === 'transcode-uploads')).toMatchObject({
    stuck: { eventType: 'VersionUploaded', error: expect.any(String) as unknown },
  });
  expect(await printed('reactions')).toMatch(/^transcode-uploads +\d+ +\d+.* VersionUploaded at \d+: /m);
  const [{ reaction, position }] = parked as [(typeof parked)[number]];
  await printed('reactions', 'retry', reaction, position);
  await expect(printed('reactions', 'retry', reaction, '1')).rejects.toMatchObject({ code: 'NOT_PARKED' });
  await expect(printed('reactions', 'skip', reaction, position)).rejects.toThrow('--reason');
  for (const one of parked) await printed('reactions', 'skip', one.reaction, one.position, '--reason', 'by hand');
  expect((await at()).every((one) => one.parked === 0 && one.stuck === null)).toBe(true);
  for (const { projection, position: where } of JSON.parse(await printed('parked', '--json')) as {
    projection: string;
    position: string;
  }[])
    await printed('parked', 'skip', projection, where, '--reason', 'by hand').catch(() => undefined);
});

it('an event parked in a projection that guards access raises an alarm', async () => {
  await writeByHand(`user-${randomUUID()}`, 'UserRoleChanged', { userId: 'nobody' });
  const operations = async () =>
    (await studio.admin.graphql<{ operations: { parkedAccess: number } }>('{ operations { parkedAccess } }'))
      .operations;
  for (const until = Date.now() + 60_000; (await operations()).parkedAccess === 0;)
    if (Date.now() > until) throw new Error('nothing was parked');
  expect(await printed('status')).toContain('ALARM');
  for (const until = Date.now() + 30_000; !stack.log('api').includes('ALARM');)
    if (Date.now() > until) throw new Error('no alarm was logged');
    else await new Promise((resolve) => setTimeout(resolve, 200));
  const line = stack
    .log('api')
    .split('\n')
    .find((text) => text.includes('ALARM'))!;
  expect(JSON.parse(line)).toMatchObject({ level: 'error' });
  const text = async (path: string) => (await fetch(new URL(path, stack.apiUrl))).text();
  expect(await text('/metrics')).toMatch(/^picturelock_access_events_parked\{.*\} [1-9]/m);
  expect(await text('/health/ready')).toContain('may be stale');
  for (const { projection, position } of JSON.parse(await printed('parked', 'identity', '--json')) as {
    projection: string;
    position: string;
  }[])
    await printed('parked', 'skip', projection, position, '--reason', 'by hand');
  while ((await operations()).parkedAccess > 0);
});

it('snapshots are counted and dropped', async () => {
  expect(await printed('snapshots')).toMatch(/^\d+ snapshots of /);
  await expect(printed('snapshots', 'drop')).rejects.toThrow('--all');
  expect(await printed('snapshots', 'drop', '--all')).toMatch(/^\d+ snapshots dropped/);
  await expect(printed('snapshots', 'drop', 'version-none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

it('moments are built, listed and dropped', async () => {
  const { head } = await settled();
  const { organisation } = await studio.admin.graphql<{ organisation: { id: string } }>('{ organisation { id } }');
  const built = JSON.parse(await printed('as-of', 'build', organisation.id, new Date().toISOString(), '--json')) as {
    id: string;
    state: string;
  };
  expect(built.state).toBe('READY');
  expect(JSON.parse(await printed('as-of', '--json'))).toMatchObject([{ id: built.id, state: 'READY' }]);
  expect(await printed('as-of')).toContain(built.id);
  await printed('as-of', 'drop', built.id);
  expect(await printed('as-of')).toBe('No moment is built.\n');
  const build = (...args: string[]) => printed('as-of', 'build', ...args);
  await expect(printed('as-of', 'drop', built.id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(build('nobody', head)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(build(organisation.id, 'yesterday')).rejects.toMatchObject({ code: 'INVALID_AS_OF' });
  await expect(build(organisation.id, String(BigInt(head) + 1_000_000n))).rejects.toMatchObject({
    code: 'AS_OF_IN_FUTURE',
  });
});

it('bad input is told by its code and path, and changes nothing', async () => {
  const { head, parked } = await settled();
  const beyond = String(BigInt(head) + 1_000_000n);
  const ask = async (query: string, variables: object = {}): Promise<unknown> => {
    const response = await fetch(`${stack.apiUrl}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${studio.admin.token}` },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = (await response.json()) as {
      data?: Record<string, { errors?: { code: string; path: string[] }[] }>;
      errors?: { extensions: { code: string; path?: string[] } }[];
    };
    const refused = errors?.[0]?.extensions ?? Object.values(data ?? {})[0]?.errors?.[0];
    return refused && { code: refused.code, path: refused.path };
  };
  const cursor = (text: string): string => Buffer.from(text).toString('base64url');
  for (const after of [
    'nonsense',
    cursor('review'),
    cursor('review -1'),
    cursor(`review ${2n ** 63n}`),
    cursor("r' 1"),
  ])
    expect(await ask('query ($after: String) { parkedEvents(after: $after) { totalCount } }', { after })).toMatchObject(
      { code: 'INVALID_PAGE', path: ['after'] },
    );
  expect(
    await ask('query ($after: String) { parkedEvents(after: $after) { totalCount } }', { after: cursor('z 0') }),
  ).toBe(undefined);
  const order = (verb: string) =>
    ask(
      `mutation ($input: RebuildProjectionsInput!) { ${verb}(input: $input) { errors { ... on RefusalInfo { code path } } } }`,
      {
        input: { projections: ['review', 'nothing'] },
      },
    );
  for (const verb of ['rebuildProjections', 'verifyProjections'])
    expect(await order(verb)).toMatchObject({ code: 'UNKNOWN_PROJECTION', path: ['input', 'projections'] });
  // A position of another store, or none at all.
  expect(await ask('query ($at: Position) { users(atLeast: $at) { totalCount } }', { at: beyond })).toMatchObject({
    code: 'PROJECTION_BEHIND',
  });
  for (const at of ['-1', '1.5', 'x', String(2n ** 64n)])
    expect(await ask('query ($at: Position) { users(atLeast: $at) { totalCount } }', { at })).toMatchObject({
      code: 'BAD_USER_INPUT',
    });
  const person = new Person(stack.apiUrl, studio.admin.token!);
  const feed = await person.follow('myWorkChanged', {}, 'position', beyond);
  expect(await feed.ended()).toMatchObject({ kind: 'error', code: 'PROJECTION_BEHIND' });
  expect((await settled()).parked).toBe(parked);
});

it('a person is erased from the command line', async () => {
  const { viewer } = await studio.client.graphql<{ viewer: { id: string } }>('{ viewer { id } }');
  await expect(printed('erase', viewer.id)).rejects.toThrow('--yes');
  await expect(printed('erase', randomUUID(), '--yes')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await printed('erase', viewer.id, '--yes')).toContain('forgotten');
  const { users } = await studio.admin.graphql<{ users: { edges: { node: { id: string; name: string } }[] } }>(
    '{ users(first: 50) { edges { node { id name } } } }',
  );
  expect(users.edges.map(({ node }) => node)).toContainEqual({ id: viewer.id, name: 'Erased person' });
});
