import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ffmpegCapabilities, probe, transcodeReview } from '#libs/media/index.js';
import { planReview } from '#libs/media/ladder.js';
import { unwrap } from '#libs/media/result.js';
import { makeClip } from '#libs/media/testmedia.js';
import type { BenchContext } from './kit.js';

/** The review copies of a 1080p clip, verified, against the same ffmpeg call typed by hand, which verifies nothing. */
export default async function transcode({ quick, signal, note, report }: BenchContext): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'picturelock-bench-'));
  try {
    const clip = join(folder, 'clip.mov');
    const frames = quick ? 48 : 480;
    note('making the clip');
    await makeClip(clip, quick ? { frames } : { frames, width: 1920, height: 1080, noise: 8, signal });
    const info = unwrap(await probe(clip, { signal }));
    const threads = cpus().length;
    const { filters } = unwrap(await ffmpegCapabilities());
    const plan = planReview(info, { filters, threads, preset: 'veryfast' });

    const bare = async (n: number): Promise<number> => {
      const cwd = join(folder, `bare-${n}`);
      await mkdir(cwd);
      const start = performance.now();
      const child = spawn(
        'ffmpeg',
        [
          ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-xerror', '-y'],
          ...['-filter_complex_threads', String(threads), '-threads', String(threads)],
          ...[...plan.inputOptions, '-i', clip, ...plan.output],
        ],
        { cwd, stdio: ['ignore', 'ignore', 'inherit'], signal },
      );
      const [code] = (await once(child, 'close')) as [number];
      if (code !== 0) throw new Error(`bare ffmpeg ended with ${code}`);
      return (performance.now() - start) / 1000;
    };
    const ours = async (n: number): Promise<number> => {
      const start = performance.now();
      // Niceness as the bare call has it, so that neighbours slow down both alike.
      unwrap(await transcodeReview(clip, join(folder, `ours-${n}`), info, { threads, nice: 0, signal }));
      return (performance.now() - start) / 1000;
    };
    const times = { bare: 0, ours: 0 };
    const runs = quick ? 1 : 3;
    for (let run = 0; run < runs; run++) {
      // In turns and in turned order: the machine's mood is shared.
      for (const who of run % 2 === 0 ? (['bare', 'ours'] as const) : (['ours', 'bare'] as const)) {
        times[who] += await (who === 'bare' ? bare(run) : ours(run));
        await rm(join(folder, `${who}-${run}`), { recursive: true, force: true });
      }
    }
    report({ figure: 'review copies, verified', value: (frames * runs) / times.ours, unit: 'frames/s' });
    report({ figure: 'bare ffmpeg, same outputs', value: (frames * runs) / times.bare, unit: 'frames/s' });
    report({ figure: 'speed as a part of bare ffmpeg', value: times.bare / times.ours, unit: 'ratio', atLeast: 0.95 });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
