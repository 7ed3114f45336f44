import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip, makeStill, readFrameNumbers } from '../testmedia.js';
import { selectOf } from './compare.js';
import { alignFrames, compareMedia, frameSignatures, measureQuality, type Medium } from './index.js';

let folder: string;
let original: Medium;

async function medium(name: string): Promise<Medium> {
  const path = join(folder, name);
  return { path, info: unwrap(await probe(path)) };
}

/** The original with filters, encoded anew. */
async function edit(name: string, filter: string, more: readonly string[] = []): Promise<Medium> {
  const run = await runFfmpeg({
    inputs: [{ path: original.path, demuxer: 'mov' }],
    output: [
      ...[
        '-map',
        '0:v',
        '-vf',
        `${filter},setpts=N/(24000/1001)/TB`,
        '-c:v',
        'libx264',
        '-crf',
        '26',
        '-preset',
        'veryfast',
      ],
      ...more,
      join(folder, name),
    ],
  });
  unwrap(run);
  return medium(name);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-quality-'));
  await makeClip(join(folder, 'a.mov'), { frames: 120, width: 480, height: 270, noise: 4 });
  original = await medium('a.mov');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('black, frozen, cuts, fields, softness, loudness and silence, by the frame, from one decode', async () => {
  const filters = [
    "drawbox=enable='between(n,30,41)':color=black:t=fill",
    // Stands still from frame 80 to the end: there ffmpeg says no end.
    'hue=h=20*n,loop=loop=-1:size=1:start=80,trim=end_frame=120',
  ];
  const sound = "aevalsrc='if(between(t,2,3.5),0,0.5*sin(1000*2*PI*t))':sample_rate=48000:d=5.005";
  unwrap(
    await runFfmpeg({
      inputs: [{ path: original.path, demuxer: 'mov' }, { lavfi: sound }],
      output: [
        ...['-map', '0:v', '-map', '1:a', '-vf', filters.join(','), '-c:v', 'ffv1', '-c:a', 'pcm_s16le'],
        join(folder, 'faults.mov'),
      ],
    }),
  );
  const faults = await medium('faults.mov');
  const numbers = await readFrameNumbers(faults.path);
  const stands = numbers.indexOf(numbers.at(-1)!);
  expect(stands).toBeGreaterThan(70);
  const seen: number[] = [];
  const report = unwrap(await measureQuality(faults.path, faults.info, { onFrame: ({ frame }) => seen.push(frame) }));
  expect(report.truncated).toBe(false);
  expect(report.picture).toMatchObject({
    frames: 120,
    rate: { num: 24000, den: 1001 },
    black: [{ first: 30, count: 12 }],
    frozen: [
      { first: 30, count: 12 },
      { first: stands, count: 120 - stands },
    ],
  });
  expect(seen).toEqual(Array.from({ length: 120 }, (_, frame) => frame));
  expect(report.picture!.cuts.map(({ frame }) => frame)).toEqual([30, 42]);
  expect(report.picture!.blur!.mean).toBeGreaterThan(1);
  expect(report.picture!.block!.mean).toBeGreaterThan(0);
  const { fields } = report.picture!;
  expect(Object.values(fields).reduce((sum, count) => sum + count, 0)).toBe(120);
  // A sine of −6 dBFS in one channel: −9 LUFS, but the silent part is not of the programme.
  expect(report.sound!.integrated).toBeCloseTo(-9, 0);
  expect(report.sound!.truePeak).toBeCloseTo(-6, 0);
  const [silence] = report.sound!.silent;
  expect(report.sound!.silent).toHaveLength(1);
  expect(Math.abs(silence!.start - 96_000)).toBeLessThan(60);
  expect(Math.abs(silence!.count - 72_000)).toBeLessThan(120);
});

test('soft and blocky pictures are told from sharp ones, interlaced from progressive', async () => {
  const sharp = unwrap(await measureQuality(original.path, original.info)).picture!;
  const soft = await edit('soft.mov', 'gblur=sigma=3');
  const blurred = unwrap(await measureQuality(soft.path, soft.info)).picture!;
  expect(blurred.blur!.mean).toBeGreaterThan(sharp.blur!.mean * 1.3);
  await edit('woven.mov', 'scale=480:272,tinterlace=interleave_top', ['-flags', '+ildct+ilme']);
  const woven = await medium('woven.mov');
  const { fields } = unwrap(await measureQuality(woven.path, woven.info)).picture!;
  expect(fields.topFirst).toBeGreaterThan(fields.bottomFirst + fields.progressive);
  expect(blurred.fields.progressive).toBeGreaterThan(60);
});

test('a still has no time, sound alone has no picture', async () => {
  await makeStill(join(folder, 'still.png'));
  const still = await medium('still.png');
  expect(await measureQuality(still.path, still.info)).toMatchObject({ error: { code: 'NOT_COMPARABLE' } });
  expect(await frameSignatures(still.path, still.info)).toMatchObject({ error: { code: 'NOT_COMPARABLE' } });
});

test('the map of an edit is what the bar codes say, frame for frame', async () => {
  // Frames 20 to 33 are gone, 90 to 109 come before 60.
  const b = await edit(
    'edit.mp4',
    "split=4[1][2][3][4];[1]select='between(n,0,19)'[p];[2]select='between(n,90,109)'[q];[3]select='between(n,34,89)'[r];" +
      "[4]select='between(n,110,119)'[s];[p][q][r][s]concat=n=4,scale=320:180",
  );
  const truth = await readFrameNumbers(b.path);
  expect(truth).toHaveLength(106);
  const [first, second] = [original, b].map(({ path, info }) => frameSignatures(path, info));
  const map = alignFrames(unwrap(await first!), unwrap(await second!));
  expect([...map.frames]).toEqual(truth);
  expect(map.blocks.map(({ kind, a }) => [kind, a!.first, a!.count])).toEqual(
    expect.arrayContaining([
      ['REMOVED', 20, 14],
      ['MOVED', 90, 20],
    ]),
  );
});

test('two versions that differ in a known range report that range, with a still of where', async () => {
  const b = await edit('changed.mp4', "drawbox=x=300:y=120:w=60:h=50:color=white:t=fill:enable='between(n,47,58)'");
  const compared = unwrap(await compareMedia(original, b, join(folder, 'stills')));
  expect(compared.frames).toEqual({ a: 120, b: 120 });
  expect(compared.pairs).toHaveLength(120);
  expect(compared.pairs.every(({ a, b: other }, index) => a === index && other === index)).toBe(true);
  expect(compared.differences).toHaveLength(1);
  const [difference] = compared.differences;
  expect(difference).toMatchObject({
    kind: 'CHANGED',
    a: { first: 47, count: 12 },
    b: { first: 47, count: 12 },
    still: 'difference-01.png',
  });
  expect(difference!.ssim!.mean).toBeLessThan(compared.overall!.ssim);
  expect(compared.overall!.psnr).toBeGreaterThan(25);
  // Bright where the box is, dark elsewhere.
  const still = join(folder, 'stills', 'difference-01.png');
  expect((await readFile(still)).subarray(1, 4).toString()).toBe('PNG');
  const light = async (x: number, y: number) =>
    unwrap(
      await runFfmpeg({
        inputs: [{ path: still, demuxer: 'png_pipe' }],
        output: ['-vf', `crop=20:20:${x}:${y},scale=1:1:flags=area,format=gray`, '-f', 'rawvideo', 'pipe:1'],
      }),
    ).stdout[0]!;
  expect(await light(320, 135)).toBeGreaterThan((await light(200, 200)) + 40);
  expect((await stat(still)).size).toBeGreaterThan(500);

  const fractions: number[] = [];
  const same = unwrap(
    await compareMedia(original, original, join(folder, 'none'), {
      onProgress: (fraction) => fractions.push(fraction),
    }),
  );
  expect(fractions).toEqual([...fractions].sort((one, other) => one - other));
  expect([fractions.length > 10, fractions.at(-1)]).toEqual([true, 1]);
  expect(same).toMatchObject({ differences: [], overall: { ssim: 1, psnr: null } });
});

test('a heat map of long-GOP MXF is of the frames that were measured', async () => {
  await makeClip(join(folder, 'same.mxf'), {
    frames: 60,
    width: 480,
    height: 270,
    codec: 'h264',
    gop: 12,
    audioChannels: 0,
  });
  unwrap(
    await runFfmpeg({
      inputs: [{ path: join(folder, 'same.mxf'), demuxer: 'mxf' }],
      output: [
        ...[
          '-vf',
          "drawbox=x=300:y=120:w=60:h=50:color=white:t=fill:enable='between(n,40,45)',setpts=N/(24000/1001)/TB",
        ],
        ...['-c:v', 'libx264', '-qp', '0', '-preset', 'veryfast', join(folder, 'boxed.mov')],
      ],
    }),
  );
  const compared = unwrap(
    await compareMedia(await medium('same.mxf'), await medium('boxed.mov'), join(folder, 'boxed')),
  );
  expect(compared.differences).toMatchObject([{ kind: 'CHANGED', a: { first: 40, count: 6 } }]);
  // Nothing but the box differs: two frames off, the moving parts would.
  const still = join(folder, 'boxed', compared.differences[0]!.still!);
  const run = await runFfmpeg({
    inputs: [{ path: still, demuxer: 'png_pipe' }],
    output: [
      '-vf',
      'format=gray,drawbox=x=296:y=116:w=68:h=58:color=black:t=fill,format=gray',
      '-f',
      'rawvideo',
      'pipe:1',
    ],
  });
  expect(unwrap(run).stdout.reduce((most, value) => Math.max(most, value), 0)).toBeLessThan(40);
});

test('other frames in a known range, some more and some fewer, report those ranges', async () => {
  const b = await edit(
    'replaced.mp4',
    "split=3[1][2][3];[1]select='between(n,0,39)'[p];[2]select='between(n,70,89)',negate,hflip[q];[3]select='between(n,60,114)'[r];[p][q][r]concat=n=3",
  );
  const compared = unwrap(await compareMedia(original, b, join(folder, 'replaced')));
  expect(compared.differences.map(({ kind, a, b: there }) => [kind, a, there])).toEqual([
    ['REPLACED', { first: 40, count: 20 }, { first: 40, count: 20 }],
    ['REMOVED', { first: 115, count: 5 }, null],
  ]);
});

test('any number of parts is taken out by one filter', async () => {
  const frames = Array.from({ length: 1200 }, (_, frame) => frame).filter((frame) => frame % 3 !== 2);
  const run = await runFfmpeg({
    inputs: [{ lavfi: 'testsrc2=size=64x36:rate=25,trim=end_frame=1200' }],
    output: ['-vf', `select='${selectOf(frames)}'`, '-fps_mode', 'passthrough', '-f', 'null', '-'],
  });
  expect(unwrap(run).progress?.frame).toBe(800);
});
