import { setTimeout as sleep } from 'node:timers/promises';
import { type ApiClient, ApiError } from '#apps/studio/api-client.js';
import { verifyReadModels } from '#apps/projector/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { foundStudio } from '../bench/studio.js';
import { openLog } from '../e2e/support.js';
import { type ServiceName, startStack, type TestStack } from '../support/stack.js';
import { History } from './history.js';
import { Seeded } from './seeded.js';
import { Subscriber } from './subscriber.js';

export interface TortureOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Told of each round when it is over. */
  readonly onRound?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface TortureReport {
  readonly seed: number;
  readonly rounds: number;
  readonly commands: number;
  readonly acknowledged: number;
  /** Refusals by code: other people's commands came first. */
  readonly refused: Readonly<Record<string, number>>;
  readonly kills: Readonly<Record<string, number>>;
  /** How often a command was sent again with its id, because there was no answer. */
  readonly retries: number;
  readonly reconnects: number;
  readonly events: number;
  readonly versions: number;
  /** Everything that is not as it must be; empty when all is well. */
  readonly problems: readonly string[];
}

const STACKS = 3;
const VICTIMS: readonly ServiceName[] = ['projector', 'workers', 'api', 'eventstore'];
const ERRORS = 'errors { ... on RefusalInfo { code message } }';
/** No answer, or one that asks to try again. */
const AGAIN = ['LOG_UNAVAILABLE', 'PROJECTION_BEHIND', 'INTERNAL'];
const PATIENCE_MS = 90_000;

interface Stack {
  readonly stackId: string;
  current: string;
  readonly versions: string[];
  /** Not resolved yet. */
  readonly comments: { id: string; versionId: string }[];
}

interface Sent {
  readonly commandId: string;
  readonly what: string;
  answer: 'acknowledged' | 'refused' | 'unanswered';
}

/**
 * Rounds of kill -9 during work: in each, two people send a handful of commands while one or two services are killed at
 * random moments and started again. The people try again with the same command id until they have an answer. After each
 * round the log is checked; after the last one rows, transcodes, job cards and subscribers too.
 */
export async function torture({ rounds, seed, onRound, signal }: TortureOptions): Promise<TortureReport> {
  const random = new Seeded(seed);
  const problems: string[] = [];
  const kills: Record<string, number> = {};
  const refused: Record<string, number> = {};
  const sent: Sent[] = [];
  let retries = 0;

  const stack = await startStack();
  const closers: (() => Promise<unknown>)[] = [() => stack.stop()];
  try {
    const studio = await foundStudio(stack);
    closers.push(() => studio.close());
    const config = loadConfig(stack.env);
    const log = await openLog(stack);
    closers.push(() => log.close());
    const history = new History(log);

    const stacks: Stack[] = [];
    const subscribers: Subscriber[] = [];
    for (let i = 0; i < STACKS; i++) {
      const before = await log.head();
      const { stackId, versionId } = await studio.addVersion(`spot ${i}`);
      stacks.push({ stackId, current: versionId, versions: [versionId], comments: [] });
      subscribers.push(new Subscriber(stack.apiUrl, studio.client.token!, stackId, before));
    }
    closers.push(() => Promise.all(subscribers.map((subscriber) => subscriber.stop())));
    problems.push(...(await history.catchUp()));

    /** Until there is an answer. Undefined when refused. */
    const command = async <T>(
      who: ApiClient,
      what: string,
      commandId: string,
      query: string,
      input: Record<string, unknown>,
    ): Promise<T | undefined> => {
      const record: Sent = { commandId, what, answer: 'unanswered' };
      sent.push(record);
      for (const until = Date.now() + PATIENCE_MS; ; retries++) {
        signal?.throwIfAborted();
        try {
          const data = await who.graphql<Record<string, T>>(query, { input: { ...input, commandId } });
          record.answer = 'acknowledged';
          return Object.values(data)[0];
        } catch (error) {
          if (error instanceof ApiError && !AGAIN.includes(error.code)) {
            record.answer = 'refused';
            refused[error.code] = (refused[error.code] ?? 0) + 1;
            return undefined;
          }
          if (error instanceof ApiError && error.code === 'INTERNAL')
            problems.push(`${what} ${commandId} met an unexpected error: see the api's log`);
          if (Date.now() > until) {
            problems.push(`${what} ${commandId} had no answer for ${PATIENCE_MS / 1000} s: ${String(error)}`);
            return undefined;
          }
          await sleep(100);
        }
      }
    };
    /** Now and then the answer is lost on the way: the same command comes again, and must change nothing. */
    const twice = async <T>(doubtful: boolean, send: () => Promise<T | undefined>): Promise<T | undefined> => {
      const answer = await send();
      if (!doubtful) return answer;
      const again = await send();
      sent.pop();
      if (JSON.stringify(again) !== JSON.stringify(answer))
        problems.push(`a repeat was answered ${JSON.stringify(again)} after ${JSON.stringify(answer)}`);
      return answer;
    };

    const comment = async (who: ApiClient, on: Stack, plan: Plan) => {
      const versionId = on.current;
      const answer = await twice(plan.doubtful, () =>
        command<{ comment: { id: string } }>(
          who,
          'addComment',
          plan.commandId,
          `mutation ($input: AddCommentInput!) { addComment(input: $input) { comment { id } ${ERRORS} } }`,
          { versionId, text: `Note ${plan.commandId}`, range: { in: 2, out: 8 } },
        ),
      );
      if (answer) on.comments.push({ id: answer.comment.id, versionId });
    };
    // What a command says is settled once: its repeat must say the same, also when the stack has moved on.
    const annotate = (who: ApiClient, on: Stack, plan: Plan) => {
      const versionId = on.current;
      return twice(plan.doubtful, () =>
        command(
          who,
          'addAnnotation',
          plan.commandId,
          `mutation ($input: AddAnnotationInput!) { addAnnotation(input: $input) { annotation { id } ${ERRORS} } }`,
          {
            versionId,
            range: { in: 1, out: 1 },
            shape: { kind: 'ARROW', from: { x: 0.1, y: 0.2 }, to: { x: 0.3, y: 0.4 } },
          },
        ),
      );
    };
    const resolve = async (who: ApiClient, on: Stack, plan: Plan) => {
      const open = on.comments.shift();
      if (!open) return comment(who, on, plan);
      await twice(plan.doubtful, () =>
        command(
          who,
          'resolveComment',
          plan.commandId,
          `mutation ($input: CommentRefInput!) { resolveComment(input: $input) { comment { resolved } ${ERRORS} } }`,
          { versionId: open.versionId, commentId: open.id },
        ),
      );
    };
    const decide = (who: ApiClient, on: Stack, plan: Plan) => {
      const versionId = on.current;
      return twice(plan.doubtful, () =>
        command(
          who,
          'recordDecision',
          plan.commandId,
          `mutation ($input: RecordDecisionInput!) { recordDecision(input: $input) { decision { id } ${ERRORS} } }`,
          { versionId, ...plan.verdict },
        ),
      );
    };
    const joined = (on: Stack, answer: { version: { id: string } } | undefined) => {
      if (!answer) return;
      on.current = answer.version.id;
      on.versions.push(answer.version.id);
    };
    const revert = async (who: ApiClient, on: Stack, plan: Plan) =>
      joined(
        on,
        await twice(plan.doubtful, () =>
          command<{ version: { id: string } }>(
            who,
            'revertToVersion',
            plan.commandId,
            `mutation ($input: RevertToVersionInput!) { revertToVersion(input: $input) { version { id } ${ERRORS} } }`,
            { versionId: on.versions[0], note: 'back' },
          ),
        ),
      );
    const upload = async (who: ApiClient, on: Stack, plan: Plan) => {
      let uploadId: string | undefined;
      for (const until = Date.now() + PATIENCE_MS; !uploadId;) {
        uploadId = await studio.upload().catch(async (error: unknown) => {
          if (Date.now() > until) throw error;
          await sleep(100);
          return undefined;
        });
      }
      joined(
        on,
        await twice(plan.doubtful, () =>
          command<{ version: { id: string } }>(
            who,
            'addVersion',
            plan.commandId,
            `mutation ($input: AddVersionInput!) { addVersion(input: $input) { version { id } ${ERRORS} } }`,
            { stageId: on.stackId, uploadId, note: 'next' },
          ),
        ),
      );
    };
    type Act = (who: ApiClient, on: Stack, plan: Plan) => Promise<unknown>;
    interface Plan {
      readonly act: Act;
      readonly on: Stack;
      readonly commandId: string;
      readonly doubtful: boolean;
      readonly pauseMs: number;
      readonly verdict: { verdict: string; text: string };
    }
    const plan = (act: Act): Plan => ({
      act,
      on: random.pick(stacks),
      commandId: random.uuid(),
      doubtful: random.chance(0.2),
      pauseMs: random.integer(0, 150),
      verdict: random.pick([
        { verdict: 'APPROVED', text: '' },
        { verdict: 'CHANGES_REQUESTED', text: 'Tighter, please.' },
      ]),
    });

    let victims: ServiceName[] = [];
    for (let round = 1; round <= rounds; round++) {
      signal?.throwIfAborted();
      const begun = performance.now();
      // All of chance is drawn before anything runs: the plan repeats with the seed, whatever the clock does.
      const fifth = round % 5;
      const editor = random
        .shuffled([comment, annotate, resolve, fifth === 0 ? upload : fifth === 2 ? revert : annotate])
        .map(plan);
      const client = random.shuffled([comment, annotate, comment, decide]).map(plan);
      // Two strikes of a round hit two services: two supervisors of one would stop what the other has just started.
      if (victims.length < 2) victims = random.shuffled(VICTIMS);
      const strikes = victims
        .splice(0, random.integer(1, 2))
        .map((name) => ({ name, atMs: random.integer(0, 1200), downMs: random.integer(0, 600) }));
      const work = async (who: ApiClient, plans: readonly Plan[]) => {
        for (const each of plans) {
          await sleep(each.pauseMs);
          await each.act(who, each.on, each);
        }
      };
      await Promise.all([
        work(studio.admin, editor),
        work(studio.client, client),
        ...strikes.map(async ({ name, atMs, downMs }) => {
          await sleep(atMs);
          await stack.killService(name);
          kills[name] = (kills[name] ?? 0) + 1;
          await sleep(downMs);
          await revive(stack, name);
        }),
      ]);
      problems.push(...(await history.catchUp()).map((problem) => `round ${round}: ${problem}`));
      for (const { commandId, what, answer } of sent.slice(-(editor.length + client.length))) {
        const written = history.ofCommand(commandId);
        if (answer === 'acknowledged' && written.length === 0 && what !== 'recordDecision' && what !== 'resolveComment')
          problems.push(`round ${round}: ${what} ${commandId} was acknowledged and is not in the log`);
        if (answer === 'refused' && written.length > 0)
          problems.push(`round ${round}: ${what} ${commandId} was refused and is in the log`);
      }
      onRound?.(
        `round ${round}/${rounds}: killed ${strikes.map(({ name, atMs }) => `${name} at ${atMs} ms`).join(', ')}; ` +
          `${history.events.length} events, ${Math.round(performance.now() - begun)} ms, ${problems.length} problems`,
      );
    }

    // Machines finish what they had begun.
    let open: string[] = [];
    for (const until = Date.now() + 180_000; ; await sleep(500)) {
      signal?.throwIfAborted();
      problems.push(...(await history.catchUp()));
      open = [
        ...[...history.transcodes()]
          .filter(([, n]) => n !== 1)
          .map(([id, n]) => `version ${id} was transcoded ${n} times`),
        ...history.jobCards(),
        ...subscribers.flatMap(({ stackId, after, messages }) =>
          compare(stackId, messages, history.ofStack(stackId, after)),
        ),
      ];
      if (open.length === 0 || Date.now() > until) break;
    }
    problems.push(...open);
    // Is there more to come? Nothing may move once all is done.
    await sleep(1000);
    problems.push(...(await history.catchUp()));
    for (const { stackId, after, messages, errors } of subscribers) {
      problems.push(...compare(stackId, messages, history.ofStack(stackId, after)));
      problems.push(...errors.map((error) => `a subscriber was told: ${error}`));
    }
    await studio.admin.graphql('query ($head: Position) { position(atLeast: $head) }', {
      head: String(await log.head()),
    });
    const { different } = await verifyReadModels({ log, url: config.databases.read });
    problems.push(...different.map((table) => `the rows of ${table} are not those of a clean rebuild`));

    return {
      seed,
      rounds,
      commands: sent.length,
      acknowledged: sent.filter(({ answer }) => answer === 'acknowledged').length,
      refused,
      kills,
      retries,
      reconnects: subscribers.reduce((sum, { reconnects }) => sum + reconnects, 0),
      events: history.events.length,
      versions: history.transcodes().size,
      problems,
    };
  } finally {
    for (const close of closers.reverse()) await close().catch(() => undefined);
  }
}

/** As a supervisor does: starts until it runs. */
async function revive(stack: TestStack, name: ServiceName): Promise<void> {
  for (const until = Date.now() + PATIENCE_MS; ; await sleep(250)) {
    try {
      return await stack.restartService(name);
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}

/** What a subscriber has got against what it should have, in words. */
export function compare(stackId: string, messages: readonly string[], should: readonly string[]): string[] {
  const at = should.findIndex((message, i) => message !== messages[i]);
  if (at < 0 && messages.length === should.length) return [];
  const i = at < 0 ? should.length : at;
  return [
    `the subscriber of ${stackId} got as message ${i} ${messages[i] ?? 'nothing'} instead of ${should[i] ?? 'nothing'} ` +
      `(${messages.length} of ${should.length})`,
  ];
}
