import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseFile } from '../choose.js';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip } from '../testmedia.js';
import { transcodeReview } from '../transcode.js';
import { measureRenditions, type Medium } from './index.js';

let folder: string;
let source: Medium;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'picturelock-renditions-'));
  const path = join(folder, 'clip.mov');
  await makeClip(path, { codec: 'prores', frames: 60, width: 960, height: 540, noise: 4 });
  source = { path, info: unwrap(await probe(path)) };
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What ffmpeg itself says of all frames of two files, the second at the first's size. */
async function ssimByFfmpeg(path: string): Promise<number> {
  const lines: string[] = [];
  const graph =
    '[1:v:0]scale=960:540:flags=bicubic[b];[0:v:0]format=yuv420p,settb=1/24,setpts=N[a];[b]settb=1/24,setpts=N[c];[a][c]ssim';
  const run = await runFfmpeg({
    inputs: [
      { path: source.path, demuxer: 'mov' },
      { path, demuxer: 'mov' },
    ],
    output: ['-filter_complex', `${graph},metadata=mode=print:file='pipe\\:1'`, '-f', 'null', '-'],
    onStdout: (chunk) => lines.push(...chunk.toString().split('\n')),
  });
  unwrap(run);
  const values = lines.filter((line) => line.startsWith('lavfi.ssim.All=')).map((line) => Number(line.slice(15)));
  expect(values).toHaveLength(60);
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

test('each copy of a transcode is measured against its source, and the choice heeds it', async () => {
  const set = unwrap(
    await transcodeReview(source.path, join(folder, 'set'), source.info, {
      editorial: { codec: 'h264Intra', resolution: '540' },
    }),
  );
  const measured = unwrap(await measureRenditions(source, set.files));
  expect(measured.map(({ name }) => name)).toEqual(set.files.map(({ name }) => name));
  const moving = measured.filter(({ ssim }) => ssim !== null);
  expect(new Set(moving.map(({ role }) => role))).toEqual(new Set(['HLS_SEGMENTS', 'PROXY', 'EDITORIAL']));
  for (const { path, ssim } of moving) expect(ssim).toBeCloseTo(await ssimByFfmpeg(path), 2);
  expect(measured.find(({ role }) => role === 'POSTER')!.ssim).toBeNull();
  // More bits, and no pixels lost: the proxy for editors is nearest.
  const nearest = moving.reduce((best, file) => (file.ssim! > best.ssim! ? file : best));
  expect(nearest.role).toBe('EDITORIAL');

  // A copy that was encoded to mud, on a line that carries no other.
  const mud = join(folder, 'mud.mp4');
  unwrap(
    await runFfmpeg({
      inputs: [{ path: source.path, demuxer: 'mov' }],
      output: ['-map', '0:v', '-vf', 'scale=96:54', '-c:v', 'libx264', '-crf', '48', '-pix_fmt', 'yuv420p', mud],
    }),
  );
  const proxy = set.files.find(({ role }) => role === 'PROXY')!;
  const bad = { ...proxy, name: 'mud.mp4', path: mud, width: 96, height: 54, bitrate: 20_000 };
  const [both, mudded] = unwrap(await measureRenditions(source, [proxy, bad]));
  expect(mudded!.ssim).toBeLessThan(0.85);
  const line = { bandwidth: 40_000 };
  expect(chooseFile('SCRUB', [both!, mudded!], line)).toMatchObject({
    file: { name: proxy.name },
    fits: false,
    refused: [{ name: 'mud.mp4', reason: 'BELOW_QUALITY' }],
  });
  expect(chooseFile('SCRUB', [proxy, bad], line)).toMatchObject({ file: { name: 'mud.mp4' }, fits: true });
});

test('few samples of many frames come near to all of them', async () => {
  const set = unwrap(await transcodeReview(source.path, join(folder, 'few'), source.info, { purposes: ['PREVIEW'] }));
  const [all] = unwrap(await measureRenditions(source, set.files, { samples: 60 }));
  const [some] = unwrap(await measureRenditions(source, set.files, { samples: 10 }));
  expect(some!.ssim).toBeCloseTo(all!.ssim!, 1);
  expect(some!.ssim).not.toBe(all!.ssim);
});

test('what has no frames of its source, or other pictures by design, is not measured', async () => {
  const files = [{ name: 'proxy.mp4', path: source.path, role: 'PROXY', width: 960 }];
  const hdr = { ...source, info: { ...source.info, video: { ...source.info.video!, hdr: true } } };
  expect(unwrap(await measureRenditions(hdr, files))).toEqual([{ ...files[0], ssim: null }]);
  const vfr = { ...source, info: { ...source.info, video: { ...source.info.video!, variableRate: true } } };
  expect(unwrap(await measureRenditions(vfr, files))[0]!.ssim).toBeNull();
});

test('a copy that can’t be read is an error, not a measure', async () => {
  const files = [{ name: 'proxy.mp4', path: join(folder, 'missing.mp4'), role: 'PROXY', width: 960 }];
  expect(await measureRenditions(source, files)).toMatchObject({ ok: false, error: { code: 'FFMPEG_FAILED' } });
});
