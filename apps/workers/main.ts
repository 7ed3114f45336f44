import 'reflect-metadata';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { COMPARE_QUEUE, compareJob, outcomeMemory, TRANSCODE_QUEUE, transcodeJob } from '#libs/application/index.js';
import { auditRefusals, CommandExecutor, openEventLog, startWithErasures } from '#libs/events/log/index.js';
import { openJobs } from '#libs/jobs/index.js';
import { openBlobStore, useFfmpeg } from '#libs/media/index.js';
import { erasureListFolders, extendErasureList, runService } from '#libs/runtime/index.js';
import { openSnapshots } from '#libs/snapshots/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { forgetter } from './forget.js';
import { startLedger } from './ledger.js';
import { compare } from './processors/compare.js';
import { transcode } from './processors/transcode.js';
import { runReaction, type Reaction } from './reaction.js';
import { compareMedia } from './reactions/compare-media.js';
import { erasePersons } from './reactions/erase-persons.js';
import { finishUpload } from './reactions/finish-upload.js';
import { moveJobCard } from './reactions/move-job-card.js';
import { transcodeUploads } from './reactions/transcode-uploads.js';

export const REACTIONS: readonly Reaction[] = [finishUpload, moveJobCard, transcodeUploads, compareMedia, erasePersons];

await runService('workers', async ({ config, logger }) => {
  const warn = (what: string) => (err: unknown) => logger.warn({ err }, what);
  const secrets = await openSecrets({
    databaseUrl: config.databases.secrets,
    masterKey: config.keys.master,
    onError: warn('secrets: background work failed'),
  });
  await startWithErasures({ url: config.eventStoreUrl, secrets, logger });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys, logger });
  const snapshots = openSnapshots(config.databases.read, warn('snapshots of streams: connection trouble'));
  const executor = new CommandExecutor({
    log,
    audit: auditRefusals(log, warn('a refusal could not be put on record')),
    outcomes: outcomeMemory(secrets.outcomes),
    snapshots,
  });
  const jobs = await openJobs({
    databaseUrl: config.databases.jobs,
    redisUrl: config.redisUrl,
    onError: warn('jobs: connection trouble'),
  });
  useFfmpeg({ ffmpeg: config.media.ffmpegPath, ffprobe: config.media.ffprobePath });
  const blobs = await openBlobStore(config.storageUrl, { cacheDirectory: join(config.home, 'cache') });
  // Each process has its own scratch folder, named so that what a killed one left is found and removed.
  const scratch = join(config.home, 'work');
  const workDir = join(scratch, String(process.pid));
  await mkdir(workDir, { recursive: true });
  await removeAbandoned(scratch);

  const abort = new AbortController();
  const listErasures = async (): Promise<void> => {
    const erasures = (await secrets.keys.erasures()).map(({ personId, erasedAt }) => ({
      person: personId,
      erasedAt: erasedAt.toISOString(),
    }));
    for (const folder of erasureListFolders(config)) extendErasureList(folder, config.keys.master, erasures);
  };
  await listErasures().catch((err: unknown) => logger.error({ err }, 'the list of erasures could not be kept'));
  const forget = forgetter({ secrets, databases: config.databases, listErasures, logger });
  const tools = { executor, jobs, logger, forget };
  const reactions = REACTIONS.map((reaction) => runReaction(reaction, log, tools, abort.signal));
  const worker = jobs.worker(
    TRANSCODE_QUEUE,
    transcodeJob,
    (context) =>
      transcode(context, {
        ...{ executor, blobs, jobs, logger, workDir, threads: config.media.ffmpegThreads },
        ladder: {
          editorial: config.media.editorialProxy,
          luts: config.media.reviewLuts,
          hardware: config.media.hardware,
        },
      }),
    {
      concurrency: 1,
      onFailed: ({ jobId, attempt, error, final }) =>
        logger.error({ err: error, jobId, attempt, final }, 'transcode job failed'),
    },
  );
  const comparer = jobs.worker(
    COMPARE_QUEUE,
    compareJob,
    (context) => compare(context, { executor, blobs, jobs, logger, workDir, threads: config.media.ffmpegThreads }),
    {
      concurrency: 1,
      onFailed: ({ jobId, attempt, error, final }) =>
        logger.error({ err: error, jobId, attempt, final }, 'comparison job failed'),
    },
  );
  await Promise.all([worker.ready(), comparer.ready()]);
  const ledger = await startLedger(config, logger);
  return {
    async health() {
      return { transcode: await jobs.counts(TRANSCODE_QUEUE), compare: await jobs.counts(COMPARE_QUEUE) };
    },
    async stop() {
      abort.abort();
      await Promise.all([worker, comparer].map((each) => each.close({ graceMs: 2000 })));
      await Promise.all(reactions);
      await ledger.stop();
      await jobs.close();
      await log.close();
      await snapshots.close();
      await secrets.close();
      await rm(workDir, { recursive: true, force: true });
    },
  };
});

/** Scratch folders of processes that are no more. */
async function removeAbandoned(scratch: string): Promise<void> {
  for (const name of await readdir(scratch)) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      process.kill(pid, 0);
    } catch {
      await rm(join(scratch, name), { recursive: true, force: true });
    }
  }
}
