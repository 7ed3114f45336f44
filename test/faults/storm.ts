import { setTimeout as sleep } from 'node:timers/promises';
import { foundStudio } from '../bench/studio.js';
import { openLog } from '../e2e/support.js';
import { startStack } from '../support/stack.js';
import { History } from './history.js';
import { compare } from './rounds.js';
import { Seeded } from './seeded.js';
import { Subscriber } from './subscriber.js';

export interface StormOptions {
  readonly subscribers: number;
  /** How often each loses its connection, all within the same moment. */
  readonly drops: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onRound?: (line: string) => void;
}

export interface StormReport {
  readonly seed: number;
  readonly subscribers: number;
  readonly reconnects: number;
  /** Of all subscribers together. */
  readonly messages: number;
  readonly seconds: number;
  /** Empty when nothing was missed and nothing doubled. */
  readonly problems: string[];
}

const STACKS = 5;
/** All drop within this long, milliseconds. */
const WAVE_MS = 300;
const PATIENCE_MS = 120_000;
const COMMENT = `mutation ($input: AddCommentInput!) {
  addComment(input: $input) { position errors { ... on RefusalInfo { code message } } } }`;

/**
 * All subscribers lose their connections again and again, half of them without a word, while people go on commenting,
 * and resume after the last position they have seen. At the end each must have seen exactly its stack's events.
 */
export async function storm({ subscribers: many, drops, seed, signal, onRound }: StormOptions): Promise<StormReport> {
  const random = new Seeded(seed);
  const problems: string[] = [];
  const began = performance.now();
  const stack = await startStack();
  const closers: (() => Promise<unknown>)[] = [() => stack.stop()];
  try {
    const studio = await foundStudio(stack);
    closers.push(() => studio.close());
    const log = await openLog(stack);
    closers.push(() => log.close());

    const stacks: { stackId: string; versionId: string }[] = [];
    for (let i = 0; i < STACKS; i++) stacks.push(await studio.addVersion(`spot ${i}`));
    const after = await log.head();
    const subscribers = Array.from({ length: many }, (_, i) => {
      const { token } = i % 2 ? studio.client : studio.admin;
      return new Subscriber(stack.apiUrl, token!, stacks[i % STACKS]!.stackId, after, 20);
    });
    closers.push(() => Promise.all(subscribers.map((subscriber) => subscriber.stop())));

    let written = 0;
    const comment = async ({ versionId }: { versionId: string }): Promise<string> => {
      const { addComment } = await studio.client.graphql<{ addComment: { position: string } }>(COMMENT, {
        input: { versionId, text: `Note ${written++}` },
      });
      return addComment.position;
    };
    /** One more comment on each stack, and everybody has it. */
    const together = async (): Promise<void> => {
      const last = new Map<string, string>();
      for (const one of stacks) last.set(one.stackId, await comment(one));
      const behind = () =>
        subscribers.filter(
          ({ stackId, messages }) => BigInt(messages.at(-1)?.split(' ')[0] ?? 0) < BigInt(last.get(stackId)!),
        );
      for (const until = Date.now() + PATIENCE_MS; behind().length > 0; await sleep(50)) {
        signal?.throwIfAborted();
        if (Date.now() > until) throw new Error(`${behind().length} subscribers did not come back in time`);
      }
    };
    await together();
    let over = false;
    const writing = (async () => {
      while (!over) {
        await comment(random.pick(stacks));
        await sleep(random.integer(10, 100));
      }
    })();
    writing.catch(() => undefined);
    try {
      for (let wave = 1; wave <= drops; wave++) {
        await Promise.all(
          subscribers.map(async (subscriber) => {
            const [wait, silently] = [random.integer(0, WAVE_MS), random.chance(0.5)];
            await sleep(wait);
            subscriber.drop(silently);
          }),
        );
        await together();
        onRound?.(`wave ${wave} of ${drops}: all ${many} are back`);
      }
    } finally {
      over = true;
      await writing;
    }
    await together();
    // Is there more to come? Nothing may be doubled late.
    await sleep(1000);
    const history = new History(log);
    problems.push(...(await history.catchUp()));
    const should = new Map(stacks.map(({ stackId }) => [stackId, history.ofStack(stackId, after)]));
    for (const { stackId, messages, errors } of subscribers) {
      problems.push(...compare(stackId, messages, should.get(stackId)!));
      problems.push(...errors.map((error) => `a subscriber was told: ${error}`));
    }
    return {
      seed,
      subscribers: many,
      reconnects: subscribers.reduce((sum, { reconnects }) => sum + reconnects, 0),
      messages: subscribers.reduce((sum, { messages }) => sum + messages.length, 0),
      seconds: Math.round((performance.now() - began) / 1000),
      problems,
    };
  } finally {
    for (const close of closers.reverse()) await close().catch(() => undefined);
  }
}
