import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import pg from 'pg';
import { verifyReadModels } from '#apps/projector/index.js';
import { type ApiClient, ApiError } from '#apps/studio/api-client.js';
import { type EventLog, openEventLog } from '#libs/events/log/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { openSecrets, type Secrets } from '#libs/secrets/index.js';
import { foundStudio, type Studio } from '../bench/studio.js';
import { History } from '../faults/history.js';
import { Subscriber } from '../faults/subscriber.js';
import { startStack, type TestStack } from '../support/stack.js';

jest.setTimeout(180_000);

/** The database of the read models is disposable: dropped while people work, it comes back from the log by itself. */

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
/** What people may be told meanwhile; anything else is a fault. */
const MEANWHILE = ['DATABASE_UNAVAILABLE', 'PROJECTION_BEHIND'];
const PATIENCE_MS = 90_000;

let stack: TestStack;
let studio: Studio;
let secrets: Secrets;
let log: EventLog;
let subscriber: Subscriber | undefined;
beforeAll(async () => {
  stack = await startStack();
  studio = await foundStudio(stack);
  const config = loadConfig(stack.env);
  secrets = await openSecrets({ databaseUrl: config.databases.secrets, masterKey: config.keys.master });
  log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys });
});
afterAll(async () => {
  await subscriber?.stop();
  await log?.close();
  await secrets?.close();
  await studio?.close();
  await stack?.stop();
});

const add = async (who: ApiClient, versionId: string, text: string, commandId = randomUUID()): Promise<string> => {
  const { addComment } = await who.graphql<{ addComment: { comment: { id: string } } }>(
    `mutation ($input: AddCommentInput!) { addComment(input: $input) { comment { id } ${ERRORS} } }`,
    { input: { commandId, versionId, text, range: { in: 2, out: 8 } } },
  );
  return addComment.comment.id;
};

/** The answer, byte for byte. */
async function bytes(who: ApiClient, query: string, variables: object): Promise<string> {
  const response = await fetch(new URL('/graphql', stack.apiUrl), {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${who.token}` },
    body: JSON.stringify({ query, variables }),
  });
  return response.text();
}
/** What a failed request was about, from the api's log. */
const reasonOf = (answer: string): string => {
  const id = /"correlationId":"([^"]+)"/.exec(answer)?.[1];
  const line =
    id &&
    stack
      .log('api')
      .split('\n')
      .find((text) => text.includes(id));
  return line ? `${answer.slice(0, 200)} ${line.slice(0, 1500)}` : answer.slice(0, 500);
};
/** Postgres' own number of a database: one that is made anew has another. */
async function databaseId(connectionString: string): Promise<number> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    const { rows } = await client.query<{ oid: number }>(
      `SELECT oid FROM pg_database WHERE datname = current_database()`,
    );
    return rows[0]!.oid;
  } finally {
    await client.end();
  }
}
const codeOf = (answer: string): string | undefined => /"code":"([A-Z_]+)"/.exec(answer)?.[1];

const QUERIES = [
  `query { viewer { id name email role } organisation { id name } users { totalCount edges { cursor node { id name email role active } } } }`,
  `query { pipelineTemplates { id name } projects { totalCount edges { cursor node { id name code } } } myWork { totalCount } }`,
  `query ($stack: ID!) { versionStack(id: $stack) { id current { id number outcome } versions(first: 10) { totalCount edges {
     cursor node { id number status note filename uploadedAt uploadedBy { name } commentCount annotationCount revision } } } } }`,
  `query ($version: ID!) { version(id: $version) { revision outcome media { status rate { num den } startTimecode }
     decisions(includeSuperseded: true) { id verdict text } comments(first: 50) { totalCount edges { cursor node {
     id text resolved createdAt author { name } parentId annotations { id shape { __typename } colour } } } } } }`,
  `query ($version: ID!) { auditTrail(first: 50, filter: { entityId: $version }) { totalCount edges { cursor node {
     position type outcome code actor { name } actorRole at recordedAt changes { path old new } } } } }`,
  `query ($version: ID!) { history(entity: { type: VERSION, id: $version }, first: 50) { totalCount edges { cursor node { sentence position at } } } }`,
];

it('answers as before, byte for byte, after the database was dropped under load; nobody is told less meanwhile', async () => {
  const { read: readUrl } = loadConfig(stack.env).databases;
  const quiet = await studio.addVersion('quiet');
  const busy = await studio.addVersion('busy');
  await studio.transcoded([quiet.versionId, busy.versionId]);
  const first = await add(studio.client, quiet.versionId, 'The horizon tilts — here ❤');
  await studio.client.graphql(
    `mutation ($input: AddAnnotationInput!) { addAnnotation(input: $input) { position ${ERRORS} } }`,
    {
      input: {
        versionId: quiet.versionId,
        commentId: first,
        shape: { kind: 'ARROW', from: { x: 0.1, y: 0.2 }, to: { x: 0.3, y: 0.4 } },
      },
    },
  );
  await add(studio.admin, quiet.versionId, 'And "quoted" \\ here');
  await studio.client.graphql(
    `mutation ($input: RecordDecisionInput!) { recordDecision(input: $input) { position ${ERRORS} } }`,
    { input: { versionId: quiet.versionId, verdict: 'CHANGES_REQUESTED', text: 'Level it' } },
  );
  // So much that being filled anew takes its time.
  for (let i = 0; i < 40; i++) await Promise.all([1, 2, 3].map((n) => add(studio.client, busy.versionId, `${i}.${n}`)));

  subscriber = new Subscriber(stack.apiUrl, studio.client.token!, busy.stackId, await log.head());
  const variables = { stack: quiet.stackId, version: quiet.versionId };
  const head = String(await log.head());
  await studio.admin.graphql('query ($head: Position) { position(atLeast: $head) }', { head });
  const recorded = await Promise.all(QUERIES.map((query) => bytes(studio.admin, query, variables)));
  for (const answer of recorded) expect(answer).not.toContain('"errors"');

  let over = false;
  const strange: string[] = [];
  const acknowledged: string[] = [];
  const reader = async (): Promise<void> => {
    for (let i = 0; !over; i++) {
      const at = i % QUERIES.length;
      const answer = await bytes(studio.admin, QUERIES[at]!, variables);
      const failed = answer.includes('"errors":[{"message"');
      if (failed ? !MEANWHILE.includes(codeOf(answer)!) : answer !== recorded[at]) strange.push(reasonOf(answer));
    }
  };
  const writer = async (who: ApiClient): Promise<void> => {
    while (!over) {
      const commandId = randomUUID();
      for (const until = Date.now() + PATIENCE_MS; ; await sleep(50)) {
        try {
          acknowledged.push(await add(who, busy.versionId, `note ${commandId}`, commandId));
          break;
        } catch (error) {
          const code = error instanceof ApiError ? error.code : String(error);
          if (!MEANWHILE.includes(code)) strange.push(String(error));
          if (Date.now() > until || !MEANWHILE.includes(code)) break;
        }
      }
      await sleep(20);
    }
  };
  const dropped = await databaseId(readUrl);
  const pids = stack.stack.running.map((name) => stack.pid(name));
  const load = Promise.all([reader(), reader(), writer(studio.client), writer(studio.admin)]);
  try {
    await sleep(1000);
    const url = new URL(readUrl);
    const name = url.pathname.slice(1);
    url.pathname = '/postgres';
    const operator = new pg.Client({ connectionString: url.href });
    await operator.connect();
    await operator.query(`DROP DATABASE ${pg.escapeIdentifier(name)} WITH (FORCE)`);
    await operator.end();
    const before = acknowledged.length;
    // Back when every recorded query is answered again, and mutations have gone on.
    for (const until = Date.now() + PATIENCE_MS; ; await sleep(100)) {
      const answers = await Promise.all(QUERIES.map((query) => bytes(studio.admin, query, variables)));
      if (answers.every((answer, i) => answer === recorded[i]) && acknowledged.length > before + 10) break;
      if (Date.now() > until) expect(answers).toEqual(recorded);
    }
  } finally {
    over = true;
    await load;
  }
  expect(strange).toEqual([]);
  // It is another database, not one that nobody got to drop.
  expect(await databaseId(readUrl)).not.toBe(dropped);
  expect(stack.stack.running.map((name) => stack.pid(name))).toEqual(pids);

  // Nothing of what was acknowledged is missing or doubled, in the rows and for the subscriber.
  const end = String(await log.head());
  await studio.admin.graphql('query ($end: Position) { position(atLeast: $end) }', { end });
  const history = new History(log);
  expect(await history.catchUp()).toEqual([]);
  const said = history.events
    .filter(({ type }) => type === 'CommentAdded')
    .map(({ data }) => data as { commentId: string });
  expect(new Set(acknowledged).size).toBe(acknowledged.length);
  expect(said.map(({ commentId }) => commentId)).toEqual(expect.arrayContaining(acknowledged));
  const should = history.ofStack(busy.stackId, subscriber.after);
  for (const until = Date.now() + 30_000; subscriber.messages.length < should.length && Date.now() < until;)
    await sleep(100);
  await subscriber.stop();
  expect(subscriber.messages).toEqual(should);
  expect(await verifyReadModels({ log, url: readUrl })).toEqual({ equal: true, different: [] });
});
