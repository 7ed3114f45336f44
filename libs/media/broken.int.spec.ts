import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeHugeMkv } from './corpus.fixture.js';
import { extractRange, extractStills } from './extract/index.js';
import { runFfmpeg } from './ffmpeg/index.js';
import { probe } from './probe/index.js';
import { MEDIA_ERROR_CODES, type Result } from './result.js';
import { makeClip, makeFlipped, makeTruncated, readFrameNumbers } from './testmedia.js';
import { transcodeReview } from './transcode.js';

/**
 * Files that are damaged, false or absurd. Whatever is done with one ends in a result that is right or in one of our codes, inside a time
 * limit, and leaves nothing behind. `MEDIA_MATRIX=full` takes every container at every tenth.
 */
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-broken-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const all = process.env.MEDIA_MATRIX === 'full';
const LIMIT = 60_000;
const FRAMES = 30;

function expectCode(result: Result<unknown>): void {
  if (!result.ok) {
    expect(MEDIA_ERROR_CODES).toContain(result.error.code);
    // A refusal is about the file, not about our patience.
    expect(result.error.code).not.toMatch(/TIMEOUT|STALLED|CANCELLED|MISSING/);
    expect(`${result.error.message} ${result.error.reason ?? ''}`).not.toContain(folder);
  }
}

/** Probe, extraction, a still and, where asked, the review copies. Tells whether the probe let it in. */
async function handle(file: string, review = false): Promise<boolean> {
  const info = await probe(file, { timeoutMs: LIMIT });
  expectCode(info);
  if (info.ok) {
    const { durationFrames } = info.value;
    const options = { timeoutMs: LIMIT, threads: 1 };
    if (info.value.kind === 'VIDEO' && durationFrames) {
      const range = { first: Math.floor(durationFrames / 2), count: Math.min(4, Math.ceil(durationFrames / 2)) };
      const taken = await extractRange(file, `${file}.taken`, info.value, range, options);
      expectCode(taken);
      // What comes out whole has as many frames as asked for.
      if (taken.ok) expect((await readFrameNumbers(taken.value.path)).length).toBe(range.count);
      expectCode(await extractStills(file, `${file}.still`, info.value, { first: 0, count: 1 }, 'png', options));
    }
    if (review)
      expectCode(await transcodeReview(file, `${file}.review`, info.value, { ...options, preset: 'ultrafast' }));
  }
  expect((await readdir(folder)).filter((name) => name.includes('.part'))).toEqual([]);
  return info.ok;
}

const kinds = [
  ['whole.mp4', 'h264'],
  ['whole.mov', 'prores'],
  ['whole.mxf', 'mpeg2'],
  ['whole.mkv', 'ffv1'],
  ['whole.webm', 'vp9'],
] as const;
const made = new Map<string, Promise<string>>();
function whole(name: (typeof kinds)[number][0]): Promise<string> {
  const [, codec] = kinds.find(([known]) => known === name)!;
  const file = join(folder, name);
  const making =
    made.get(name) ??
    makeClip(file, { codec, frames: FRAMES, width: 192, height: 108, audioChannels: 1 }).then(() => file);
  made.set(name, making);
  return making;
}

test.each(kinds)(
  '%s cut at tenths',
  async (name) => {
    const source = await whole(name);
    const tenths = all ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : [2, 8];
    for (const tenth of tenths) {
      const file = join(folder, `cut-${tenth}-${name}`);
      await makeTruncated(source, file, tenth / 10);
      await handle(file, all);
    }
  },
  600_000,
);

test.each(kinds.slice(0, all ? undefined : 2))(
  '%s with flipped bytes',
  async (name) => {
    const source = await whole(name);
    for (const flips of all ? [1, 10, 100, 1000] : [3, 300]) {
      const file = join(folder, `flip-${flips}-${name}`);
      await makeFlipped(source, file, flips);
      await handle(file, all);
    }
  },
  600_000,
);

test('zero length, wrong extensions, text, noise', async () => {
  const cases: [string, Buffer][] = [
    ['empty.mov', Buffer.alloc(0)],
    ['text.mp4', Buffer.from('This is not a film.\n'.repeat(2000))],
    ['zeros.mxf', Buffer.alloc(100_000)],
    ['png.mov', Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), Buffer.alloc(5000, 7)])],
    ['id3.mp4', Buffer.concat([Buffer.from('ID3\x04\0\0\x7f\x7f\x7f\x7f', 'latin1'), Buffer.alloc(9000, 255)])],
  ];
  for (const [name, bytes] of cases) {
    await writeFile(join(folder, name), bytes);
    expect(await handle(join(folder, name), true)).toBe(false);
  }
  // A film under another name is a film.
  const disguised = join(folder, 'film.txt');
  await writeFile(disguised, await readFile(await whole('whole.mp4')));
  expect(await handle(disguised)).toBe(true);
}, 120_000);

test('no moov, and headers that say absurd things', async () => {
  const bytes = await readFile(await whole('whole.mp4'));
  const patched = async (name: string, change: (copy: Buffer) => void) => {
    const copy = Buffer.from(bytes);
    change(copy);
    await writeFile(join(folder, name), copy);
    return handle(join(folder, name), true);
  };
  const at = (box: string) => bytes.indexOf(box, 0, 'latin1');
  // Not `free`: ffmpeg looks into those for a lost moov.
  expect(await patched('nomoov.mp4', (copy) => copy.write('xxxx', at('moov'), 'latin1'))).toBe(false);
  // A duration of 2³² − 1 ticks, a table of four thousand million samples, no time base, a size of 65,535 × 65,535.
  await patched('duration.mp4', (copy) => copy.writeUInt32BE(0xffff_ffff, at('mdhd') + 20));
  await patched('samples.mp4', (copy) => copy.writeUInt32BE(0xffff_fff0, at('stsz') + 12));
  await patched('timebase.mp4', (copy) => copy.writeUInt32BE(0, at('mdhd') + 16));
  await patched('size.mp4', (copy) => copy.writeUInt32BE(0xffff_ffff, at('avc1') + 28));
  await patched('boxes.mp4', (copy) => copy.writeUInt32BE(0x7fff_ffff, at('trak') - 4));
}, 300_000);

test('endless: a header that goes on for ever, and a terabyte behind the end', async () => {
  const source = await whole('whole.mkv');
  const huge = join(folder, 'huge.mkv');
  await makeHugeMkv(source, huge);
  expect(await handle(huge)).toBe(true);
  await rm(huge);
  // After a good beginning nothing but zeros, a hundred gigabytes of them.
  const zeros = join(folder, 'zeros.mkv');
  await writeFile(zeros, (await readFile(source)).subarray(0, 6000));
  await truncate(zeros, 100 * 2 ** 30);
  const info = await probe(zeros, { timeoutMs: 5000 });
  if (!info.ok) expect(info.error.code).toMatch(/^MEDIA_(UNREADABLE|TIMEOUT)$|^UNSUPPORTED_MEDIA$/);
  await rm(zeros);
}, 120_000);

test('100,000 × 2 pixels, no picture, no sound', async () => {
  const wide = join(folder, 'wide.mkv');
  const output = ['-frames:v', '2', '-c:v', 'ffv1', wide];
  expect((await runFfmpeg({ inputs: [{ lavfi: 'color=red:size=100000x2:rate=24' }], output })).ok).toBe(true);
  const info = await probe(wide);
  expect(info).toMatchObject({ ok: true, value: { video: { width: 100_000, height: 2 } } });
  await handle(wide, true);
  const silent = join(folder, 'silent.mp4');
  await makeClip(silent, { frames: 5, width: 192, height: 108, audioChannels: 0 });
  expect(await handle(silent, true)).toBe(true);
  const sound = join(folder, 'sound.mov');
  expect((await runFfmpeg({ inputs: [{ lavfi: 'sine=duration=1' }], output: ['-c:a', 'pcm_s16le', sound] })).ok).toBe(
    true,
  );
  expect(await handle(sound, true)).toBe(true);
  const taken = await probe(sound);
  if (!taken.ok) throw new Error(taken.error.message);
  expect(await extractRange(sound, join(folder, 'none'), taken.value, { first: 0, count: 1 })).toMatchObject({
    error: { code: 'RANGE_OUTSIDE_MEDIA' },
  });
}, 120_000);
