/** Not a spec: a worker in a process of its own, to be killed by jobs.int.spec.ts. Writes what it does to a file. */
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { openJobs } from './index.js';

export const workerSetup = z.object({
  databaseUrl: z.string(),
  redisUrl: z.string().optional(),
  queue: z.string(),
  diary: z.string(),
  concurrency: z.number(),
  lockDurationMs: z.number(),
});

if (process.send) {
  const setup = workerSetup.parse(JSON.parse(process.argv[2]!));
  const jobs = await openJobs({
    ...setup,
    onError: (error) => appendFileSync(setup.diary, `error ${error.message.replaceAll(/\s+/g, '_')}\n`),
  });
  const note = (what: string, jobId: string, attempt: number): void =>
    appendFileSync(setup.diary, `${what} ${jobId} ${attempt} ${process.pid}\n`);
  const worker = jobs.worker(
    setup.queue,
    z.object({ ms: z.number(), failures: z.number() }),
    async ({ jobId, data, attempt }) => {
      note('begin', jobId, attempt);
      await sleep(data.ms);
      if (attempt <= data.failures) throw new Error(`failure ${attempt}`);
      note('end', jobId, attempt);
      return { attempt };
    },
    {
      concurrency: setup.concurrency,
      lockDurationMs: setup.lockDurationMs,
      stalledIntervalMs: setup.lockDurationMs / 2,
    },
  );
  await worker.ready();
  process.send('ready');
  // Whoever started us has gone.
  process.once('disconnect', () => process.exit(0));
}
