import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unwrap } from '../result.js';
import { machineWithCard } from './card.fixture.js';
import {
  chooseEncoder,
  encoderCandidates,
  ffmpegCapabilities,
  qualityArguments,
  runEncoding,
  useFfmpeg,
  type PictureEncoder,
} from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-encoders-'));
});
afterEach(() => useFfmpeg({ ffmpeg: 'ffmpeg' }));
afterAll(() => rm(folder, { recursive: true, force: true }));

const job = (encoder: PictureEncoder) => ({
  inputs: [{ lavfi: 'testsrc2=size=320x192:rate=25' }],
  output: [
    ...['-frames:v', '10', '-vf', encoder.filter, '-c:v', encoder.name],
    ...[...qualityArguments(encoder, 23), '-f', 'null', '-'],
  ],
});

test('an encoder is listed and does not work: the next one is taken, with the reason told', async () => {
  await machineWithCard(folder, 'echo "[h264_nvenc @ 0x1] [error] Cannot load libcuda.so.1" >&2; exit 1');
  const { encoder, refused } = unwrap(await chooseEncoder('h264'));
  expect(encoder.name).not.toBe('h264_nvenc');
  const { encoders } = unwrap(await ffmpegCapabilities());
  expect(encoders.has('h264_nvenc')).toBe(true);
  expect(refused[0]).toEqual({ name: 'h264_nvenc', reason: 'h264_nvenc: Cannot load libcuda.so.1' });
  const made = unwrap(await runEncoding('h264', job));
  expect(made.progress?.frame).toBe(10);
});

test('a card that works is used, unless software is asked for', async () => {
  await machineWithCard(folder);
  expect(unwrap(await chooseEncoder('h264'))).toMatchObject({
    encoder: { name: 'h264_nvenc', hardware: 'NVENC' },
    refused: [],
  });
  expect(unwrap(await runEncoding('h264', job))).toMatchObject({
    encoder: { name: 'h264_nvenc' },
    progress: { frame: 10 },
  });
  expect(unwrap(await chooseEncoder('h264', { hardware: false }))).toMatchObject({
    encoder: { name: 'libx264', hardware: null },
  });
});

test('a card that fails in the middle is left for software and not asked again', async () => {
  // The probe of five frames works; ten are too many.
  await machineWithCard(
    folder,
    'case "$*" in *"-frames:v 10"*) echo "[h264_nvenc @ 0x1] [error] out of memory" >&2; exit 1;; esac',
  );
  const others = encoderCandidates('h264').filter(({ hardware }) => hardware && hardware !== 'NVENC');
  const made = unwrap(await runEncoding('h264', job));
  expect(made.encoder.name).not.toBe('h264_nvenc');
  expect(made.progress?.frame).toBe(10);
  expect(made.refused.map(({ name }) => name)).toContain('h264_nvenc');
  expect(made.refused.length).toBeLessThanOrEqual(others.length + 1);
  const again = unwrap(await chooseEncoder('h264'));
  expect(again.refused).toContainEqual({ name: 'h264_nvenc', reason: 'h264_nvenc: out of memory' });
});

test('bad input is not taken for a bad card', async () => {
  await machineWithCard(folder);
  const broken = (encoder: PictureEncoder) => ({ ...job(encoder), inputs: [{ lavfi: 'nosuchfilter' }] });
  expect(await runEncoding('h264', broken)).toMatchObject({ error: { code: 'FFMPEG_FAILED' } });
  expect(unwrap(await chooseEncoder('h264'))).toMatchObject({ encoder: { name: 'h264_nvenc' }, refused: [] });
});

test.each(['h264', 'hevc', 'av1', 'prores'] as const)(
  'software for %s is there at the end of the list',
  async (kind) => {
    const { encoders } = unwrap(await ffmpegCapabilities());
    const last = encoderCandidates(kind).filter(({ hardware, name }) => !hardware && encoders.has(name));
    const chosen = unwrap(await chooseEncoder(kind, { hardware: false }));
    expect(chosen.encoder).toEqual(last[0]);
  },
);
