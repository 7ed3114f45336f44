import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SubscriberState } from './changes.js';
import type { ReadStore } from './read-store.js';

/** A process that is there answers well within this. */
const PATIENCE_MS = 1_000;
const LOOK_MS = 20;
/** A lease is renewed each minute: who has not done so for two is gone. */
const THERE = `interval '2 minutes'`;

type Answer = (Omit<SubscriberState, 'since' | 'position'> & { since: string; position: string })[];

const told = (all: readonly SubscriberState[]): Answer =>
  all.map((one) => ({ ...one, since: one.since.toISOString(), position: String(one.position) }));
const heard = (answer: Answer): SubscriberState[] =>
  answer.map((one) => ({ ...one, since: new Date(one.since), position: BigInt(one.position) }));

/**
 * Who follows changes in any api process. One asks by NOTIFY, and each writes its answer to a table: a notification can't
 * carry a thousand of them.
 */
export class RollCall {
  constructor(
    private readonly store: ReadStore,
    private readonly own: () => readonly SubscriberState[],
    /** Told when an answer could not be given; whoever asked goes on without. */
    private readonly onError: (error: unknown) => void,
  ) {
    store.onRollCall((payload) => this.#answer(payload));
  }

  /** Of all processes that answer, longest first. Alone, nobody is asked. */
  async subscribers(): Promise<SubscriberState[]> {
    const { store } = this;
    const [there] = await store.query<{ others: number }>(
      `SELECT count(DISTINCT holder)::int AS others FROM projection.lease
        WHERE holder <> $1 AND seen_at > clock_timestamp() - ${THERE}`,
      [store.holder],
    );
    const others = there!.others === 0 ? [] : await this.#ask(there!.others);
    return [...this.own(), ...others].sort((a, b) => a.since.getTime() - b.since.getTime());
  }

  async #ask(processes: number): Promise<SubscriberState[]> {
    const { store } = this;
    const call = randomUUID();
    await store.callAll(`${call} ${store.holder}`);
    for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await sleep(LOOK_MS)) {
      const [answered] = await store.query<{ n: number }>(
        'SELECT count(*)::int AS n FROM projection.roll_call WHERE call = $1',
        [call],
      );
      if (answered!.n >= processes) break;
    }
    // Also what came too late for an earlier call.
    const answers = await store.query<{ call: string; answer: Answer }>(
      `DELETE FROM projection.roll_call WHERE call = $1 OR answered_at < clock_timestamp() - interval '1 minute'
       RETURNING call, answer`,
      [call],
    );
    return answers.filter((row) => row.call === call).flatMap(({ answer }) => heard(answer));
  }

  #answer(payload: string): void {
    const [call, asker] = payload.split(' ');
    if (asker === this.store.holder) return;
    this.store
      .query('INSERT INTO projection.roll_call (call, holder, answer) VALUES ($1, $2, $3)', [
        call,
        this.store.holder,
        JSON.stringify(told(this.own())),
      ])
      .catch(this.onError);
  }
}
