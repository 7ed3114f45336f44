import { setTimeout as sleep } from 'node:timers/promises';
import { openEventLog } from '#libs/events/log/index.js';
import { createPool } from '#libs/postgres/index.js';
import { cancelRebuild, listRebuilds, READ_MODELS, requestRebuild } from '#libs/read-models/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { startStack } from '../support/stack.js';
import { writeHistory } from './history.js';
import { type BenchContext, percentile } from './kit.js';
import { startLoad } from './load.js';
import { foundStudio } from './studio.js';

const EVENTS = 100_000;
const CLIENTS = 8;
/** People think between two drawings: the machine is at work, not worn out. */
const PAUSE_MS = 40;
const COMMAND = `mutation ($input: AddAnnotationInput!) {
  addAnnotation(input: $input) { position annotation { id } errors { ... on RefusalInfo { code message } } } }`;
/** A limit that is none: no consideration for anybody. */
const FLAT_OUT = 1_000_000;

/**
 * How long commands take, answered with what was written, while all read models are being rebuilt beside: without, with a
 * rebuild that goes as fast as it can, and with one as it goes by default.
 */
export default async function considerate({ quick, seconds, signal, env, note, report }: BenchContext): Promise<void> {
  const stack = await startStack({ asInstalled: true, env });
  const stop = (): void => void stack.stack.abort();
  signal.addEventListener('abort', stop, { once: true });
  const load = await startLoad();
  const studio = await foundStudio(stack);
  const config = loadConfig(stack.env);
  const secrets = await openSecrets({ databaseUrl: config.databases.secrets, masterKey: config.keys.master });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys });
  const pool = createPool(config.databases.read, { max: 2 });
  try {
    const { versionId } = await studio.addVersion('spot');
    await studio.transcoded([versionId], signal);
    note('writing a history to rebuild from');
    await writeHistory(log, quick ? 3_000 : EVENTS, signal);
    await settled();

    const { token } = studio.admin;
    const clients = Array.from({ length: quick ? 2 : CLIENTS }, () => ({ token: token!, versionId }));
    const measure = async (): Promise<number> => {
      const { answered } = await load.run({
        kind: 'annotate',
        apiUrl: stack.apiUrl,
        query: COMMAND,
        clients,
        seconds,
        warmUpSeconds: quick ? 0.2 : 2,
        pauseMs: PAUSE_MS,
      });
      return percentile(answered, 99);
    };
    const during = async (name: string, throttle: number | null): Promise<number> => {
      let over = false;
      const rates: number[] = [];
      const rebuilding = (async () => {
        while (!over && !signal.aborted) {
          const refusal = await requestRebuild(pool, undefined, { throttle });
          if (refusal) throw new Error(refusal.message);
          for (let open = true; open && !over; await sleep(100))
            open = (await listRebuilds(pool)).some(({ endedAt }) => endedAt === null);
          const newest = (await listRebuilds(pool)).slice(0, READ_MODELS.length);
          // One that was ended before it wrote anything has none.
          const rate = Math.max(...newest.map(({ eventsPerSecond }) => eventsPerSecond ?? 0));
          if (rate > 0) rates.push(rate);
        }
        for (const model of READ_MODELS) await cancelRebuild(pool, model.name);
        while ((await listRebuilds(pool)).some(({ endedAt }) => endedAt === null)) await sleep(100);
      })();
      await sleep(quick ? 0 : 1_500);
      const p99 = await measure();
      over = true;
      await rebuilding;
      report({ figure: `${name}: p99`, value: p99, unit: 'ms' });
      report({ figure: `${name}: rebuild`, value: percentile(rates, 50), unit: 'events/s' });
      await settled();
      return p99;
    };
    const before = await measure();
    const flatOut = await during('rebuild flat out', FLAT_OUT);
    const considerate = await during('rebuild by default', null);
    const after = await measure();
    const normal = (before + after) / 2;
    report({ figure: 'no rebuild: p99', value: normal, unit: 'ms' });
    report({ figure: 'p99 with a rebuild flat out, to normal', value: flatOut / normal, unit: 'ratio' });
    report({
      figure: 'p99 with a rebuild by default, to normal',
      value: considerate / normal,
      unit: 'ratio',
      atMost: 3,
    });
  } finally {
    signal.removeEventListener('abort', stop);
    await pool.end();
    await log.close();
    await secrets.close();
    await load.stop();
    await studio.close();
    await stack.stop();
  }

  async function settled(): Promise<void> {
    const head = String(await log.head());
    for (;;) {
      signal.throwIfAborted();
      const answer = await studio.admin
        .graphql('query ($head: Position) { position(atLeast: $head) }', { head })
        .catch((error: unknown) => error);
      if (!(answer instanceof Error)) return;
    }
  }
}
