import { setTimeout as sleep } from 'node:timers/promises';
import { hashEvent } from './leaf.js';
import { leafAt } from './merkle.js';
import { formatCheckpoint, formatNote, signNote, type Signer } from './note.js';
import type { LedgerSource, SourceEvent } from './source.js';
import type { LedgerState, LedgerStore, StoredCheckpoint } from './store.js';

/** The log is not the one whose events are in the ledger: it was rolled back, exchanged or rewritten. */
export class LedgerForked extends Error {
  override readonly name = 'LedgerForked';
  readonly code = 'LEDGER_FORKED';
}

const MAX_BATCH = 1000;
const MAX_BATCH_BYTES = 16 * 1024 ** 2;

/**
 * Records what the log has and the ledger has not, up to the end there is now.
 *
 * @throws SourceUnavailable; LedgerForked when the log ends before what is recorded
 */
export async function recordToHead(
  store: LedgerStore,
  source: LedgerSource,
  signal?: AbortSignal,
): Promise<LedgerState> {
  for (;;) {
    let state = await store.state();
    const head = await source.head();
    if (head < state.position)
      throw new LedgerForked(
        `The log ends at ${head}, and events up to ${state.position} are recorded: it was rolled back or is another log`,
      );
    if (head === state.position || signal?.aborted) return state;
    let batch: SourceEvent[] = [];
    let bytes = 0;
    /** False when another process was faster. */
    const flush = async (position: bigint): Promise<boolean> => {
      if (!(await store.append(state, batch, position))) return false;
      state = { size: state.size + batch.length, position };
      batch = [];
      bytes = 0;
      return true;
    };
    let mine = true;
    for await (const next of source.read(state.position)) {
      const last = batch.at(-1)?.position;
      // Events of one commit have one position: they are recorded together, or the rest of them would be passed over.
      if (last !== undefined && last !== next.position && (batch.length >= MAX_BATCH || bytes >= MAX_BATCH_BYTES)) {
        mine = await flush(last);
        if (!mine) break;
        if (signal?.aborted) return state;
      }
      batch.push(next);
      bytes += next.event.data.length + next.event.metadata.length;
    }
    const last = batch.at(-1)?.position ?? 0n;
    if (mine && (await flush(last > head ? last : head))) return state;
  }
}

/**
 * Looks whether the newest recorded event is what the log has in its place. One that was scavenged proves nothing.
 *
 * @throws LedgerForked, SourceUnavailable
 */
export async function checkAnchor(store: LedgerStore, source: LedgerSource): Promise<void> {
  const { size } = await store.state();
  const [newest] = size > 0 ? await store.leaves(size - 1, 1) : [];
  if (!newest) return;
  const recorded = await leafAt(store, size - 1);
  let another: string | undefined;
  for await (const { event, position } of source.read(newest.position, { inclusive: true })) {
    if (position > newest.position) break;
    if (hashEvent(event).equals(recorded)) return;
    another = `${event.stream}@${event.revision}`;
  }
  if (another)
    throw new LedgerForked(
      `At ${newest.position} the log has ${another}, and ${newest.stream}@${newest.revision} is recorded: it is another log, or was rewritten`,
    );
}

/** Nobody signed in time: the workers don't run, or can't keep up. */
export class LedgerBehind extends Error {
  override readonly name = 'LedgerBehind';
  readonly code = 'LEDGER_BEHIND';
}

/**
 * Asks whoever signs for a checkpoint of everything that is in the log now, and waits for it.
 *
 * @throws LedgerBehind after `patienceMs`; SourceUnavailable
 */
export async function freshCheckpoint(
  store: LedgerStore,
  source: LedgerSource,
  patienceMs = 20_000,
): Promise<StoredCheckpoint> {
  const head = await source.head();
  await store.ask();
  for (const until = Date.now() + patienceMs; Date.now() < until; await sleep(100)) {
    const { size, position } = await store.state();
    const latest = position >= head ? await store.latestCheckpoint() : undefined;
    if (latest && latest.size >= size) return latest;
  }
  throw new LedgerBehind('No checkpoint was signed in time: do the workers run?');
}

/** Signs the tree as it is. Nothing new is signed for a size that has a checkpoint. */
export async function signCheckpoint(store: LedgerStore, signer: Signer): Promise<StoredCheckpoint> {
  const { size } = await store.state();
  const kept = await store.checkpointAt(size);
  if (kept) return kept;
  const text = formatCheckpoint({ origin: signer.name, size, root: await store.root(size) });
  return store.keepCheckpoint(size, formatNote(signNote(text, signer)));
}
