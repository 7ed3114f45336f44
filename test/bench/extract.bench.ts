import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { extractRange, extractStills, probe, type MediaInfo } from '#libs/media/index.js';
import { unwrap } from '#libs/media/result.js';
import { makeClip, readFrameNumbers, type ClipOptions } from '#libs/media/testmedia.js';
import { RATES } from '#libs/media/timecode.js';
import { percentile, type BenchContext } from './kit.js';

const LOOP = 240;

/** Ten minutes, and single frames, out of films of two hours. They need up to 20 GB where temporary files are (`TMPDIR`). */
export default async function extract({ quick, signal, wants, note, report }: BenchContext): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'picturelock-bench-'));
  const loops = quick ? 6 : 720;
  const frames = loops * LOOP;

  /** Ten seconds, repeated without encoding: frame n shows the number n modulo 240. */
  const film = async (name: string, options: ClipOptions): Promise<{ file: string; info: MediaInfo }> => {
    const [short, file] = [join(folder, `short-${name}`), join(folder, name)];
    await makeClip(short, { rate: RATES['24'], frames: LOOP, startTimecode: null, signal, ...options });
    const args = ['-nostdin', '-v', 'error', '-stream_loop', String(loops - 1), '-i', short];
    await promisify(execFile)('ffmpeg', [...args, '-map', '0', '-c', 'copy', '-movflags', '-faststart', file], {
      signal,
    });
    const info = unwrap(await probe(file, { signal }));
    if (info.durationFrames !== frames) throw new Error(`${name} has ${info.durationFrames} frames, not ${frames}`);
    return { file, info };
  };
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
  };

  try {
    if (wants('10 minutes')) {
      note('making two hours of ProRes');
      const { file, info } = await film('intra.mov', { codec: 'prores', audioChannels: 2 });
      note(`${((await stat(file)).size / 2 ** 30).toFixed(1)} GiB`);
      const count = Math.floor(frames / 12);
      const times = { ours: [] as number[], copy: [] as number[] };
      for (let run = 0; run < (quick ? 1 : 2); run += 1) {
        const range = { first: Math.floor(frames / 3) + 7 + run * count, count };
        let path = '';
        times.ours.push(
          await timed(async () => {
            // Niceness as the plain copy has it.
            const taken = unwrap(await extractRange(file, join(folder, 'taken'), info, range, { nice: 0, signal }));
            if (taken.method !== 'COPY') throw new Error('it was not copied');
            path = taken.path;
          }),
        );
        times.copy.push(await timed(() => copyFile(path, join(folder, 'copy.mov'))));
        await rm(path);
        await rm(join(folder, 'copy.mov'));
      }
      const best = (of: number[]) => Math.min(...of);
      report({ figure: '10 minutes of 2 h intra', value: Math.max(...times.ours), unit: 's', atMost: 30 });
      report({ figure: '10 minutes: a copy of the same bytes', value: best(times.copy), unit: 's' });
      report({
        figure: '10 minutes: speed as a part of a copy',
        value: best(times.copy) / best(times.ours),
        unit: 'ratio',
      });
      await rm(file);
    }
    if (wants('one frame') || wants('smart')) {
      note('making two hours of H.264');
      // Groups of ten seconds: on average five have to be decoded.
      const { file, info } = await film('long.mp4', { codec: 'h264', gop: LOOP, audioChannels: 0 });
      const stills: number[] = [];
      for (const part of [0, 0.1, 0.25, 0.37, 0.5, 0.63, 0.75, 0.88, 0.99, 1]) {
        const first = Math.round(part * (frames - 1));
        let path = '';
        stills.push(
          await timed(async () => {
            const made = unwrap(
              await extractStills(file, join(folder, 'still'), info, { first, count: 1 }, 'png', { signal }),
            );
            path = made.paths[0]!;
          }),
        );
        const [shown] = await readFrameNumbers(path);
        if (shown !== first % LOOP) throw new Error(`frame ${first} shows ${shown}`);
      }
      report({ figure: 'one frame of 2 h long-GOP, slowest', value: Math.max(...stills), unit: 's', atMost: 1 });
      report({ figure: 'one frame of 2 h long-GOP, median', value: percentile(stills, 50), unit: 's' });
      const range = { first: LOOP + 100, count: (quick ? 3 : 12) * LOOP };
      const take = (smart: boolean) => () =>
        extractRange(file, join(folder, `smart-${smart}`), info, range, { smart, nice: 0, signal }).then(unwrap);
      const whole = await timed(take(false));
      report({
        figure: 'smart rendering as a multiple of encoding',
        value: whole / (await timed(take(true))),
        unit: 'ratio',
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
