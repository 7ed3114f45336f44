import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import {
  COMPARE_ATTEMPTS,
  COMPARE_QUEUE,
  compareJob,
  comparisonIdOf,
  comparisonTopic,
  type CompareJob,
} from '#libs/application/index.js';
import { comparisonDecider, type CommandData } from '#libs/domain/index.js';
import { EXAMPLE, type ComparisonEvent, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { CommandExecutor, type EventLog } from '#libs/events/log/index.js';
import { openJobs, type JobContext, type Jobs, type JobWorker } from '#libs/jobs/index.js';
import { LocalBlobStore, runFfmpeg, unwrap, useFfmpeg, type BlobHash, type BlobRef } from '#libs/media/index.js';
import { makeClip, makeStill } from '#libs/media/testmedia.js';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { startStack, type TestStack } from '../../../test/support/stack.js';
import { collect, openLog } from '../../../test/e2e/support.js';
import { runReaction, type ReactionTools } from '../reaction.js';
import { compareMedia } from '../reactions/compare-media.js';
import { compare } from './compare.js';

jest.setTimeout(120_000);

const FRAMES = 120;
const organisationId = randomUUID();

let stack: TestStack;
let database: TestDatabase;
let log: EventLog;
let executor: CommandExecutor;
let jobs: Jobs;
let blobs: LocalBlobStore;
let work: string;
let scratch: string;
let worker: JobWorker | undefined;
let abort: AbortController;
let reacting: Promise<void>;
let a: BlobRef;
/** Ten frames are cut out, and in twelve others there is a box. */
let b: BlobRef;
const logger = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;

const kept = async (name: string): Promise<BlobRef> => {
  const copy = join(work, `copy-${randomUUID()}`);
  await writeFile(copy, await readFile(join(work, name)));
  return blobs.putFile(organisationId, copy);
};

beforeAll(async () => {
  stack = await startStack({ services: ['eventstore'], database: 'shared' });
  database = await testDatabase();
  log = await openLog(stack);
  const memory = new Map<string, { commandHash: string; stream: string; refusal: null }>();
  executor = new CommandExecutor({
    log,
    audit: () => Promise.resolve(),
    outcomes: {
      claim: (_organisation, id) => Promise.resolve(memory.get(id)),
      remember: () => Promise.resolve(),
    },
  });
  jobs = await openJobs({ databaseUrl: database.url });
  work = await mkdtemp(join(tmpdir(), 'picturelock-compare-'));
  scratch = join(work, 'scratch');
  await mkdir(scratch);
  blobs = new LocalBlobStore(join(work, 'blobs'));
  await makeClip(join(work, 'a.mov'), { frames: FRAMES, width: 480, height: 270, noise: 4 });
  const filter = "drawbox=x=300:y=120:w=60:h=50:color=white:t=fill:enable='between(n,70,81)'";
  unwrap(
    await runFfmpeg({
      inputs: [{ path: join(work, 'a.mov'), demuxer: 'mov' }],
      output: [
        ...['-map', '0:v', '-vf', `${filter},select='not(between(n,40,49))',setpts=N/(24000/1001)/TB`],
        ...['-c:v', 'libx264', '-crf', '22', '-preset', 'veryfast', join(work, 'b.mov')],
      ],
    }),
  );
  a = await kept('a.mov');
  b = await kept('b.mov');
  abort = new AbortController();
  reacting = runReaction(compareMedia, log, { jobs, logger } as unknown as ReactionTools, abort.signal);
});
afterEach(async () => {
  await worker?.close({ graceMs: 0 });
  worker = undefined;
  // Whatever became of a comparison, nothing of it is left in between.
  expect(await readdir(scratch)).toEqual([]);
});
afterAll(async () => {
  abort?.abort();
  await reacting;
  await jobs?.close();
  await log?.close();
  await database?.drop();
  await stack?.stop();
  await rm(work, { recursive: true, force: true });
});

const tools = () => ({ executor, blobs, jobs, logger, workDir: scratch, threads: 1 });
const start = async (): Promise<JobWorker> => {
  worker = jobs.worker(COMPARE_QUEUE, compareJob, (context) => compare(context, tools()));
  await worker.ready();
  return worker;
};

async function ask(from: BlobRef, to: BlobRef, versionId = randomUUID(), earlier = randomUUID()): Promise<string> {
  const side = (id: string, blob: BlobRef): CommandData<'RequestComparison'>['to'] => ({
    versionId: id,
    referenceId: null,
    stackId: EXAMPLE.stage,
    projectId: EXAMPLE.project,
    number: 1,
    filename: 'a.mov',
    blob: { ...blob },
    kind: 'VIDEO',
  });
  const data = { from: side(earlier, from), to: side(versionId, to) };
  const comparisonId = comparisonIdOf(organisationId, data.from, data.to);
  const commandId = randomUUID();
  const outcome = await executor.execute(comparisonDecider, comparisonId, {
    type: 'RequestComparison',
    data: { comparisonId, ...data },
    meta: {
      ...{ commandId, organisationId, actor: { userId: EXAMPLE.user, role: 'CLIENT' }, at: new Date().toISOString() },
      ...{ correlationId: commandId, causationId: commandId },
    },
  });
  expect(outcome.ok).toBe(true);
  return comparisonId;
}
const events = (comparisonId: string): Promise<RecordedEvent[]> =>
  collect(log.readStream(`comparison-${comparisonId}`));
async function ended(comparisonId: string, times = 1): Promise<RecordedEvent[]> {
  for (let until = Date.now() + 60_000; ; await sleep(100)) {
    const all = await events(comparisonId);
    if (all.filter(({ type }) => type !== 'ComparisonRequested').length >= times) return all;
    if (Date.now() > until) throw new Error(`still ${all.map(({ type }) => type).join()}`);
  }
}
type Completed = Extract<ComparisonEvent, { type: 'ComparisonCompleted' }>['data'];
const bytesOf = async (hash: string): Promise<Buffer> =>
  readFile(await blobs.localPath(organisationId, hash as BlobHash));

test('what was cut out and what has changed is named to the frame, with a still and a report', async () => {
  const fractions: number[] = [];
  await start();
  const stop = jobs.onProgress(({ topic, payload }) => {
    if (topic.startsWith(comparisonTopic(''))) fractions.push((payload as { fraction: number }).fraction);
  });
  const id = await ask(a, b);
  const all = await ended(id);
  expect(all.map(({ type }) => type)).toEqual(['ComparisonRequested', 'ComparisonCompleted']);
  expect(all[1]!.metadata).toMatchObject({ actor: { userId: null, role: 'SERVICE' }, $causationId: all[0]!.id });
  const done = all[1]!.data as Completed;
  expect(done).toMatchObject({ frames: { from: FRAMES, to: FRAMES - 10 }, truncated: false });
  expect(done.ranges.map(({ kind, from, to }) => [kind, from, to])).toEqual([
    ['SAME', { in: 0, out: 39 }, { in: 0, out: 39 }],
    ['REMOVED', { in: 40, out: 49 }, null],
    ['SAME', { in: 50, out: 69 }, { in: 40, out: 59 }],
    ['CHANGED', { in: 70, out: 81 }, { in: 60, out: 71 }],
    ['SAME', { in: 82, out: 119 }, { in: 72, out: 109 }],
  ]);
  const { still, ssim } = done.ranges[3]!;
  expect(still!.from - still!.to).toBe(10);
  expect(ssim!.min).toBe(done.quality!.ssim.min);
  expect(done.quality!.psnr!.min).toBeLessThan(done.quality!.psnr!.mean);
  expect(done.worst).toHaveLength(10);
  expect(done.worst.every(({ to }) => to >= 60 && to <= 71)).toBe(true);
  const file = done.files.find(({ name }) => name === still!.name)!;
  expect((await bytesOf(file.hash)).subarray(1, 4).toString()).toBe('PNG');
  const report = JSON.parse((await bytesOf(done.report.hash)).toString()) as { pairs: number[][]; ranges: unknown };
  expect([report.pairs.length, report.ranges]).toEqual([FRAMES - 10, done.ranges]);
  for (let waited = 0; fractions.at(-1) !== 1 && waited < 50; waited++) await sleep(100);
  stop();
  expect(fractions.at(-1)).toBe(1);
});

test('what ffmpeg cannot read fails with its reason, and again when it is asked for again', async () => {
  await writeFile(join(work, 'broken.mov'), await readFile(join(work, 'a.mov')));
  await truncate(join(work, 'broken.mov'), 4000);
  const broken = await kept('broken.mov');
  await start();
  const [versionId, earlier] = [randomUUID(), randomUUID()];
  const id = await ask(a, broken, versionId, earlier);
  const [, failed] = await ended(id);
  expect(failed).toMatchObject({ type: 'ComparisonFailed', data: { code: 'MEDIA_UNREADABLE' } });
  expect((failed!.data as { reason: string }).reason).toMatch(/\S/);
  expect((failed!.data as { reason: string }).reason).not.toContain(work);
  await ask(a, broken, versionId, earlier);
  expect((await ended(id, 2)).map(({ type }) => type)).toEqual([
    'ComparisonRequested',
    'ComparisonFailed',
    'ComparisonRequested',
    'ComparisonFailed',
  ]);
  await makeStill(join(work, 'still.png'));
  const [, still] = await ended(await ask(a, await kept('still.png')));
  expect(still).toMatchObject({ type: 'ComparisonFailed', data: { code: 'NOT_COMPARABLE' } });
  const [, gone] = await ended(await ask(a, { hash: `sha256:${'00'.repeat(32)}`, size: 1 }));
  expect(gone).toMatchObject({ type: 'ComparisonFailed', data: { code: 'BLOB_NOT_FOUND' } });
});

test('a worker that is stopped leaves nothing behind, and another one does the job once', async () => {
  await makeClip(join(work, 'long.mov'), { frames: 400, width: 640, height: 360, noise: 4 });
  const long = await kept('long.mov');
  const begun = new Promise<void>((resolve) => {
    worker = jobs.worker(COMPARE_QUEUE, compareJob, (context) => {
      setTimeout(resolve, 500);
      return compare(context, tools());
    });
  });
  const id = await ask(long, long);
  await begun;
  await worker!.close({ graceMs: 0 });
  expect(await readdir(scratch)).toEqual([]);
  expect((await events(id)).map(({ type }) => type)).toEqual(['ComparisonRequested']);
  await start();
  const all = await ended(id);
  expect(all.map(({ type }) => type)).toEqual(['ComparisonRequested', 'ComparisonCompleted']);
  expect(all[1]!.data).toMatchObject({ quality: { ssim: { mean: 1, min: 1 }, psnr: null }, worst: [] });
});

test('run twice at once it has one result; what the machine lacks is tried again, and told when it stays away', async () => {
  const id = await ask(a, b);
  const [{ id: eventId }] = (await events(id)) as [RecordedEvent];
  const data: CompareJob = { organisationId, comparisonId: id, from: a, to: b, eventId };
  const context = (attempt: number, signal = new AbortController().signal): JobContext<CompareJob> => ({
    ...{ jobId: 'x', data, attempt, signal, progress: () => undefined },
  });
  await expect(compare(context(5, AbortSignal.abort()), tools())).rejects.toThrow('MEDIA_CANCELLED');
  useFfmpeg({ ffprobe: join(work, 'no such program') });
  try {
    await expect(compare(context(1), tools())).rejects.toThrow('FFMPEG_MISSING');
    expect(await events(id)).toHaveLength(1);
    // Twice: the second time ffmpeg has other words, and the first ones stand.
    await compare(context(COMPARE_ATTEMPTS), tools());
    useFfmpeg({ ffprobe: join(work, 'nor this one') });
    await compare(context(COMPARE_ATTEMPTS), tools());
    expect(await events(id)).toHaveLength(2);
    expect((await events(id))[1]).toMatchObject({ type: 'ComparisonFailed', data: { code: 'FFMPEG_MISSING' } });
  } finally {
    useFfmpeg({ ffprobe: 'ffprobe' });
  }
  await Promise.all([compare(context(1), tools()), compare(context(1), tools())]);
  // A success wins over the failure before it.
  expect((await events(id)).map(({ type }) => type)).toEqual([
    'ComparisonRequested',
    'ComparisonFailed',
    'ComparisonCompleted',
  ]);
});
