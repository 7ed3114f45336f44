import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ffmpegCapabilities, probe, transcodeReview, type LadderSpec, type MediaInfo } from '#libs/media/index.js';
import { planReview, type Purpose, type ReviewPlan } from '#libs/media/ladder.js';
import { unwrap } from '#libs/media/result.js';
import { makeClip, type ClipOptions } from '#libs/media/testmedia.js';
import { percentile, type BenchContext } from './kit.js';

/** The whole ladder: everything for review, and a proxy for editors. */
const LADDER: LadderSpec = { editorial: { codec: 'h264Intra', resolution: '540' } };
const SOURCES: readonly [name: string, options: ClipOptions][] = [
  ['H.264', { codec: 'h264' }],
  ['ProRes', { codec: 'prores' }],
];

/**
 * The ladder of a 1080p clip of 20 s, verified, against the same ffmpeg call typed by hand, which verifies nothing, and against
 * one call for each purpose, which decodes each time.
 */
export default async function transcode({ quick, signal, note, report, wants }: BenchContext): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'picturelock-bench-'));
  try {
    const threads = cpus().length;
    const { filters } = unwrap(await ffmpegCapabilities());
    const planFor = (info: MediaInfo, purposes?: readonly Purpose[]) =>
      planReview(info, { ...LADDER, ...(purposes ? { purposes } : {}), filters, threads, preset: 'veryfast' });
    for (const [name, options] of SOURCES.filter(([source]) => wants(source))) {
      const clip = join(folder, `${name}.mov`);
      const frames = quick ? 48 : 480;
      note(`making the ${name} clip`);
      await makeClip(clip, { frames, ...options, ...(quick ? {} : { width: 1920, height: 1080, noise: 8 }), signal });
      const info = unwrap(await probe(clip, { signal }));

      const call = async ({ inputOptions, output, sidecars }: ReviewPlan, cwd: string): Promise<void> => {
        for (const { name: file, text } of sidecars) await writeFile(join(cwd, file), text);
        const child = spawn(
          'ffmpeg',
          [
            ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-xerror', '-y'],
            ...['-filter_complex_threads', String(threads), '-threads', String(threads)],
            ...[...inputOptions, '-i', clip, ...output],
          ],
          { cwd, stdio: ['ignore', 'ignore', 'inherit'], signal },
        );
        const [code] = (await once(child, 'close')) as [number];
        if (code !== 0) throw new Error(`bare ffmpeg ended with ${code}`);
      };
      const runs = {
        bare: (cwd: string) => call(planFor(info), cwd),
        separate: async (cwd: string) => {
          for (const purpose of ['REVIEW', 'PREVIEW', 'THUMBNAIL', 'EDITORIAL'] as const) {
            await call(planFor(info, [purpose]), cwd);
          }
        },
        // Niceness as the bare call has it, so that neighbours slow down both alike.
        ours: async (cwd: string) => {
          const set = { ...LADDER, threads, nice: 0, hardware: false, signal };
          unwrap(await transcodeReview(clip, join(cwd, 'set'), info, set));
        },
      };
      const time = async (who: keyof typeof runs): Promise<number> => {
        const cwd = join(folder, who);
        await mkdir(cwd);
        note(`${name}: ${who}`);
        const start = performance.now();
        await runs[who](cwd);
        const seconds = (performance.now() - start) / 1000;
        await rm(cwd, { recursive: true, force: true });
        return seconds;
      };
      // In pairs, in turned order: the machine's mood changes within a minute, and two that follow each other share it.
      const pairs: { bare: number; ours: number }[] = [];
      for (let round = 0; round < (quick ? 1 : 5); round++) {
        const pair = { bare: 0, ours: 0 };
        const order = ['bare', 'ours'] as const;
        for (const who of round % 2 === 0 ? order : order.toReversed()) pair[who] = await time(who);
        pairs.push(pair);
      }
      const separate = await time('separate');
      const middle = (of: (pair: (typeof pairs)[number]) => number) => percentile(pairs.map(of), 50);
      const ours = middle((pair) => pair.ours);
      report({ figure: `${name}: ladder, verified`, value: frames / ours, unit: 'frames/s' });
      report({
        figure: `${name}: bare ffmpeg, same outputs`,
        value: frames / middle(({ bare }) => bare),
        unit: 'frames/s',
      });
      report({
        figure: `${name}: part of bare ffmpeg`,
        value: middle((pair) => pair.bare / pair.ours),
        unit: 'ratio',
        atLeast: 0.97,
      });
      report({ figure: `${name}: against separate calls`, value: separate / ours, unit: 'ratio', atLeast: 1.6 });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
