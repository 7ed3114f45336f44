import { ApiClient } from '#apps/studio/api-client.js';
import { startStack } from '../support/stack.js';
import { type BenchContext, cpuSeconds, difference, percentile } from './kit.js';
import { startLoad } from './load.js';
import { foundStudio, type Studio } from './studio.js';

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
/** One event, and so one message to each. */
const COMMAND = `mutation ($input: AddCommentInput!) { addComment(input: $input) { position ${ERRORS} } }`;
/** What a front end shows of a note. */
const SUBSCRIPTION = `subscription ($stackId: ID!) {
  stackChanged(stackId: $stackId) {
    position eventType at
    actor { id name }
    comment { id text author { id name } range { in out timecodeIn } annotations { id colour } }
    annotation { id commentId colour strokeWidth }
  } }`;
/** The same, with an address that is each subscriber's own. */
const PERSONAL = SUBSCRIPTION.replace('eventType', 'eventType version { media { posterUrl } }');

const STACKS = 5;
const SUBSCRIBERS = 1000;
const PEOPLE = 25;

/** Many sockets on few stacks: how long a mutation takes to all that follow, and how many messages go out at most. */
export default async function subscribers(context: BenchContext): Promise<void> {
  const { quick, seconds, signal, note, report } = context;
  const stack = await startStack({ asInstalled: true, env: context.env });
  const stop = () => void stack.stack.abort();
  signal.addEventListener('abort', stop, { once: true });
  const load = await startLoad();
  const studio = await foundStudio(stack);
  try {
    const many = quick ? 20 : SUBSCRIBERS;
    note(`${many} subscribers of ${PEOPLE} people on ${STACKS} stacks`);
    const stacks: { stackId: string; versionId: string }[] = [];
    for (let i = 0; i < STACKS; i++) stacks.push(await studio.addVersion(`spot ${i}`));
    await studio.transcoded(
      stacks.map(({ versionId }) => versionId),
      signal,
    );
    const tokens = await people(studio, quick ? 3 : PEOPLE);
    const measure = async (name: string, subscription: string, rate: number) => {
      if (!context.wants(name)) return;
      const before = cpuSeconds(stack);
      const delivery = await load.run({
        kind: 'subscribers',
        apiUrl: stack.apiUrl,
        query: COMMAND,
        subscription,
        clients: stacks.map(({ versionId }) => ({ token: studio.admin.token!, versionId })),
        stackIds: stacks.map(({ stackId }) => stackId),
        subscribers: many,
        tokens,
        rate,
        seconds,
      });
      const used = difference(cpuSeconds(stack), before);
      const { received, answered } = delivery;
      const target = rate > 0 && subscription === SUBSCRIPTION;
      if (rate > 0) {
        report({ figure: `${name}: p50`, value: percentile(received, 50), unit: 'ms' });
        report({
          figure: `${name}: p99`,
          value: percentile(received, 99),
          unit: 'ms',
          ...(target ? { atMost: 500 } : {}),
        });
      } else {
        report({ figure: `${name}: deliveries`, value: received.length / delivery.seconds, unit: 'messages/s' });
        report({ figure: `${name}: mutations`, value: answered.length / delivery.seconds, unit: 'mutations/s' });
      }
      // Opening the sockets is in the first one: the rates after it tell what a message costs.
      for (const part of ['api', 'postgres'])
        report({
          figure: `${name}: cpu ${part}`,
          value: ((used[part] ?? 0) * 1000) / received.length,
          unit: 'ms/message',
        });
    };
    await measure('5 mutations/s', SUBSCRIPTION, 5);
    await measure('5 mutations/s, again', SUBSCRIPTION, 5);
    await measure('saturated', SUBSCRIPTION, 0);
    await measure('5 mutations/s, answers of their own', PERSONAL, 5);
    await measure('saturated, answers of their own', PERSONAL, 0);
  } finally {
    signal.removeEventListener('abort', stop);
    await load.stop();
    await studio.close();
    await stack.stop();
  }
}

/** Members of the project, signed in. */
async function people(studio: Studio, count: number): Promise<string[]> {
  const tokens: string[] = [];
  for (let i = 0; i < count; i++) {
    const credentials = { email: `viewer-${i}@studio.example`, password: `password of ${i}, long enough` };
    const { registerUser } = await studio.admin.graphql<{ registerUser: { user: { id: string } } }>(
      `mutation ($input: RegisterUserInput!) { registerUser(input: $input) { user { id } ${ERRORS} } }`,
      { input: { ...credentials, name: `Viewer ${i}`, role: 'CLIENT' } },
    );
    await studio.admin.graphql(
      `mutation ($input: ProjectMemberInput!) { addProjectMember(input: $input) { position ${ERRORS} } }`,
      { input: { projectId: studio.projectId, userId: registerUser.user.id } },
    );
    const client = new ApiClient(studio.admin.baseUrl);
    tokens.push((await client.login(credentials.email, credentials.password)).token!);
  }
  return tokens;
}
