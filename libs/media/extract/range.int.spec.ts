import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCaptionedClip, makeTimecodeBreak } from '../corpus.fixture.js';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe, type MediaInfo } from '../probe/index.js';
import { unwrap } from '../result.js';
import { formatOf } from '../sniff.js';
import { readFrameNumbers, type ClipOptions } from '../testmedia.js';
import { RATES, nominalRate } from '../timecode.js';
import { parseRange } from '../timerange.js';
import { Workbench, counted, ends, small, startLabel, upTo } from './extract.fixture.js';
import { extractRange, type ExtractOptions } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-extract-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const bench = new Workbench(() => folder);
const source = bench.source.bind(bench);
const take = bench.take.bind(bench);
const expectExact = bench.expectExact.bind(bench);

test.each(counted)(
  '%s: first, last and middle frames are the source’s, copied and encoded',
  async (name, rate, dropFrame) => {
    // The timecode track of MOV has no more than 100 frames a second.
    const startTimecode = nominalRate(rate) > 100 ? null : startLabel(rate, dropFrame);
    const options = { rate, startTimecode, audioChannels: 1 };
    const index = counted.findIndex(([known]) => known === name);
    // Each takes one of the three, so that all come at several rates; the matrix takes all.
    const intra = await source(`${name}.mov`, { ...options, codec: 'prores' });
    expect((await expectExact(intra, ends[index % 3]!)).extract).toMatchObject({ method: 'COPY', codec: 'prores' });
    const long = await source(`${name}.mp4`, { ...options, codec: 'h264', gop: 12 });
    expect((await expectExact(long, ends[(index + 1) % 3]!)).extract).toMatchObject({
      method: 'ENCODE',
      codec: 'h264',
    });
  },
  60_000,
);

test.each([
  ['hqx.mxf', { codec: 'dnxhrHqx', rate: RATES['25'] }, 'COPY', 'mxf'],
  ['hq.mkv', { codec: 'prores' }, 'COPY', 'mkv'],
  ['mjpeg.mkv', { codec: 'mjpeg', rate: RATES['29.97'] }, 'COPY', 'mkv'],
  ['ffv1.mkv', { codec: 'ffv1', rate: RATES['59.94'], width: 257, height: 143 }, 'COPY', 'mkv'],
  ['ffv1groups.mkv', { codec: 'ffv1', gop: 12 }, 'ENCODE', 'mkv'],
  ['alpha.mov', { codec: 'prores4444' }, 'COPY', 'mov'],
  ['mpeg2.mxf', { codec: 'mpeg2', rate: RATES['29.97'], startTimecode: '00:59:59;10' }, 'ENCODE', 'mov'],
  ['vp9.webm', { codec: 'vp9', rate: RATES['30'] }, 'ENCODE', 'mov'],
  ['open.mp4', { codec: 'h264', gop: 10, openGop: true }, 'ENCODE', 'mov'],
  ['open265.mov', { codec: 'hevc', gop: 10, openGop: true }, 'ENCODE', 'mov'],
] as [string, ClipOptions, string, string][])(
  '%s',
  async (name, options, method, container) => {
    const from = await source(name, { audioChannels: 2, ...options });
    // Over a group's end, and from its first picture on: leading pictures of open groups are where seeking goes wrong.
    for (const range of [
      { first: 8, count: 5 },
      { first: 10, count: 3 },
    ].slice(0, method === 'COPY' ? 1 : 2)) {
      const { extract } = await expectExact(from, range);
      expect(extract).toMatchObject({ method });
      expect(extract.path).toMatch(new RegExp(`\\.${container}$`));
    }
  },
  60_000,
);

/** Decoded frames, as MD5 of the raw pictures. */
async function pictures(file: string, info: MediaInfo, filter: string): Promise<string> {
  const run = await runFfmpeg({
    inputs: [{ path: file, demuxer: formatOf(info.container).demuxer }],
    output: ['-map', '0:v', '-vf', filter, '-fps_mode', 'passthrough', '-f', 'md5', 'pipe:1'],
  });
  return unwrap(run).stdout.toString();
}

test('a copy is the source’s bits; sound comes to the sample, track by track', async () => {
  const from = await source('tracks.mov', { codec: 'prores', rate: RATES['29.97'], audioChannels: 2, audioTracks: 3 });
  const { extract, made } = await expectExact(from, { first: 11, count: 13 });
  expect(await pictures(extract.path, made, 'null')).toBe(
    await pictures(from.file, from.info, 'trim=start_frame=11:end_frame=24'),
  );
  const sound = async (file: string, track: number, filter: string) =>
    unwrap(
      await runFfmpeg({
        inputs: [{ path: file, demuxer: 'mov' }],
        output: ['-map', `0:a:${track}`, '-af', filter, '-c:a', 'pcm_s16le', '-f', 's16le', 'pipe:1'],
      }),
    ).stdout;
  // Frame 11 of 29.97 begins at sample 17,617.6: the first at or after.
  for (const track of [0, 1, 2]) {
    const [theirs, ours] = [
      await sound(from.file, track, 'atrim=start_sample=17618:end_sample=38439'),
      await sound(extract.path, track, 'anull'),
    ];
    expect(ours.equals(theirs)).toBe(true);
  }
});

test('colour, reel, aspect, fields and 16 channels stay, copied and encoded', async () => {
  const cases: [string, ClipOptions, ExtractOptions][] = [
    ['full.mov', { codec: 'prores', reel: 'A001C002', audioChannels: 16 }, {}],
    ['full.mp4', { codec: 'hevc', colour: 'pq', audioChannels: 6, rate: RATES['24'] }, {}],
    ['hlg.mp4', { codec: 'hevc', colour: 'hlg' }, { codec: 'prores422hq' }],
    ['wide.mov', { codec: 'mjpeg', width: 360, height: 288, sampleAspect: '64/45' }, { codec: 'h264' }],
    ['fields.mxf', { codec: 'mpeg2', interlaced: true, rate: RATES['25'] }, { codec: 'prores422hq' }],
    ['alpha.mov', { codec: 'prores4444' }, { codec: 'prores4444' }],
    ['hq.mov', { codec: 'prores' }, { codec: 'dnxhrHqx' }],
  ];
  for (const [name, options, how] of cases) {
    const from = await source(name, options);
    const { made } = await expectExact(from, { first: 5, count: 4 }, how);
    const { video } = from.info;
    expect(made.video).toMatchObject({
      width: video!.width,
      height: video!.height,
      colour: how.codec === 'h264' ? { ...video!.colour, range: expect.anything() } : { ...video!.colour, range: 'tv' },
      sampleAspect: video!.sampleAspect,
      hasAlpha: video!.hasAlpha,
      ...(options.interlaced ? { fieldOrder: 'tt' } : {}),
    });
    expect(made.reel).toBe(from.info.reel);
    expect(made.audio.map(({ layout }) => layout)).toEqual(
      from.info.audio.map(({ layout, channels }) => layout ?? (channels === 2 ? 'stereo' : null)),
    );
  }
}, 60_000);

test('by timecode, with handles as far as the medium goes', async () => {
  const from = await source('plain25.mov', { codec: 'prores', rate: RATES['25'] });
  const range = unwrap(parseRange('01:00:00:04', '01:00:01:00', RATES['25']));
  const extract = unwrap(
    await extractRange(from.file, join(folder, 'handles'), from.info, range, { handles: { head: 8, tail: 8 } }),
  );
  expect(extract).toMatchObject({ first: 0, frames: 33, head: 4, tail: 8, startTimecode: '01:00:00:00', warnings: [] });
  expect(await readFrameNumbers(extract.path)).toEqual(upTo(0, 33));
});

test('captions inside the pictures stay in H.264, and are told where they can’t', async () => {
  const file = join(folder, 'cc.mp4');
  await makeCaptionedClip(file, 'CAPTIONS ', { ...small, frames: 30 });
  const from = { file, info: unwrap(await probe(file)) };
  const { made, extract } = await expectExact(from, { first: 4, count: 20 });
  expect(made.video!.captions).toBe(true);
  expect(extract.warnings).toEqual(['TIMECODE_ASSUMED']);
  expect((await take(from, { first: 4, count: 2 }, { codec: 'prores422hq' })).warnings).toContain('CAPTIONS_LOST');
});

describe('a broken timecode has a declared reading, and the result counts on from it', () => {
  test.each([
    ['left-out.mkv', '29.97', '00:01:00;00', '00:01:00;02', 'DROP_FRAME_LABEL_LEFT_OUT'],
    ['semicolon.mkv', '23.976', '01:00:00;00', '01:00:00:00', 'DROP_FRAME_LABEL_AT_INTEGER_RATE'],
    ['true30.mkv', '30', '00:01:00;00', '00:01:00:00', 'DROP_FRAME_LABEL_AT_INTEGER_RATE'],
    ['unreadable.mkv', '25', '99:00:00:00', null, 'TIMECODE_UNREADABLE'],
  ] as const)('%s', async (name, rate, written, read, warning) => {
    const film = await source(`plain-${rate}.mkv`, { codec: 'ffv1', rate: RATES[rate], startTimecode: null });
    const file = join(folder, name);
    const output = ['-map', '0', '-c', 'copy', '-metadata', `TIMECODE=${written}`, file];
    unwrap(await runFfmpeg({ inputs: [{ path: film.file, demuxer: 'matroska' }], output }));
    const from = await bench.read(file);
    expect(from.info).toMatchObject({ startTimecode: read === null ? null : { text: read }, warnings: [warning] });
    // Also where the container keeps timecode in a track of its own.
    for (const codec of [undefined, 'prores422hq'] as const) {
      const { extract } = await expectExact(from, { first: 7, count: 5 }, { codec });
      expect(extract.warnings).toEqual([read === null ? 'TIMECODE_ASSUMED' : 'TIMECODE_CORRECTED']);
    }
  });

  test('a track that breaks off', async () => {
    const whole = await source('whole.mov', { codec: 'prores', rate: RATES['25'], audioChannels: 0 });
    const file = join(folder, 'breaks.mov');
    await makeTimecodeBreak(whole.file, file);
    const from = await bench.read(file);
    expect(from.info).toMatchObject({ startTimecode: { text: '01:00:00:00' }, warnings: ['TIMECODE_DISCONTINUOUS'] });
    const { extract } = await expectExact(from, { first: 30, count: 5 });
    expect(extract).toMatchObject({ startTimecode: '01:00:01:05', warnings: ['TIMECODE_CORRECTED'] });
  });
});

test('variable rate: each frame keeps its time', async () => {
  const from = await source('vfr.mp4', { rate: RATES['30'], variableRate: true, frames: 40 });
  const extract = await take(from, { first: 15, count: 10 });
  expect(extract.warnings).toContain('VARIABLE_RATE');
  expect(await readFrameNumbers(extract.path)).toEqual([15, 16, 17, 18, 19, 20, 22, 24, 26, 28]);
});

describe('refusals leave nothing', () => {
  const left = async () => (await readdir(folder)).filter((name) => name.includes('.part') || name.startsWith('no'));

  test('frames that are not there', async () => {
    const from = await source('plain25.mov', { codec: 'prores', rate: RATES['25'] });
    for (const range of [
      { first: -1, count: 2 },
      { first: 40, count: 5 },
      { first: 3, count: 0 },
    ]) {
      expect(await extractRange(from.file, join(folder, 'no'), from.info, range)).toMatchObject({
        error: { code: 'RANGE_OUTSIDE_MEDIA' },
      });
    }
    const other = unwrap(parseRange('01:00:00:00', '01:00:00:10', RATES['24']));
    expect(await extractRange(from.file, join(folder, 'no'), from.info, other)).toMatchObject({
      error: { code: 'RANGE_OUTSIDE_MEDIA' },
    });
    expect(await left()).toEqual([]);
  });

  test('a file that lacks the frames its header promises, and one that is taken back', async () => {
    const from = await source('plain25.mov', { codec: 'prores', rate: RATES['25'] });
    const long = { ...from.info, durationFrames: 60 };
    expect(
      await extractRange(from.file, join(folder, 'no'), long, { first: 40, count: 10 }, { codec: 'h264' }),
    ).toMatchObject({
      error: { code: 'EXTRACTION_FAILED', reason: expect.stringContaining('instead of 10') },
    });
    expect(
      await extractRange(
        from.file,
        join(folder, 'no'),
        from.info,
        { first: 0, count: 10 },
        { signal: AbortSignal.abort() },
      ),
    ).toMatchObject({ error: { code: 'MEDIA_CANCELLED' } });
    expect(await left()).toEqual([]);
  });
});
