import { setTimeout as sleep } from 'node:timers/promises';
import { checkAnchor, LedgerForked, recordToHead, signCheckpoint } from './record.js';
import type { Signer } from './note.js';
import type { Receiver } from './receivers.js';
import type { LedgerSource } from './source.js';
import type { LedgerStore } from './store.js';

export interface RunOptions {
  readonly store: LedgerStore;
  readonly source: LedgerSource;
  readonly signer: Signer;
  readonly receivers: readonly Receiver[];
  /** A checkpoint at most this often, milliseconds. */
  readonly checkpointMs: number;
  /** How often the log is looked at, milliseconds. */
  readonly pollMs?: number;
  readonly signal: AbortSignal;
  readonly logger: {
    info(details: object, message: string): void;
    warn(details: object, message: string): void;
    error(details: object, message: string): void;
  };
}

const MAX_BACKOFF_MS = 60_000;
const FORKED_MS = 60_000;

/** Records, signs and sends until the signal aborts. Several processes may do it at once: each batch is recorded by one. */
export async function runLedger(options: RunOptions): Promise<void> {
  const { store, source, signer, checkpointMs, pollMs = 1000, signal, logger } = options;
  let anchored = false;
  let failures = 0;
  while (!signal.aborted) {
    let pause = pollMs;
    try {
      if (!anchored) {
        await store.claim(signer.verifier.text);
        await checkAnchor(store, source);
      }
      anchored = true;
      const { size } = await recordToHead(store, source, signal);
      const latest = await store.latestCheckpoint();
      const due = !latest || Date.now() - latest.signedAt.getTime() >= checkpointMs || (await store.isAsked());
      if (!signal.aborted && due && size > (latest?.size ?? -1)) await signCheckpoint(store, signer);
      if (!signal.aborted) await deliver(options);
      failures = 0;
    } catch (err) {
      anchored = false;
      if (err instanceof LedgerForked) {
        logger.error({ err }, 'the ledger does not continue: the log is not the one it recorded');
        pause = FORKED_MS;
      } else {
        pause = Math.min(pollMs * 2 ** failures++, MAX_BACKOFF_MS);
        logger.warn({ err }, 'the ledger could not go on, will try again');
      }
    }
    // Several processes need not look at the same moment.
    await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
  }
}

/** Sends the newest checkpoint to whoever has not got it. A failure of one keeps nothing from the others. */
async function deliver({ store, receivers, logger }: RunOptions): Promise<void> {
  const latest = receivers.length > 0 ? await store.latestCheckpoint() : undefined;
  if (!latest) return;
  const states = new Map((await store.receivers()).map((state) => [state.name, state]));
  for (const receiver of receivers) {
    const state = states.get(receiver.name);
    if (state && state.size >= latest.size) continue;
    const backoff = state?.failures ? Math.min(1000 * 2 ** state.failures, 3_600_000) : 0;
    if (Date.now() - (state?.triedAt?.getTime() ?? 0) < backoff) continue;
    try {
      const lines = await receiver.deliver(latest, state?.size ?? 0);
      if (lines) await store.cosign(latest.size, lines);
      await store.delivered(receiver.name, latest.size);
    } catch (err) {
      await store.failed(receiver.name, (err as Error).message);
      logger.warn({ err, receiver: receiver.name, size: latest.size }, 'a checkpoint could not be delivered');
    }
  }
}
