import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCaptionedClip } from '../corpus.fixture.js';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe, type MediaInfo } from '../probe/index.js';
import { unwrap } from '../result.js';
import { formatOf } from '../sniff.js';
import { makeClip, readFrameNumbers, type ClipCodec, type ClipOptions } from '../testmedia.js';
import {
  RATES,
  formatTimecode,
  nominalRate,
  parseTimecode,
  supportsDropFrame,
  type Rate,
  type RateName,
} from '../timecode.js';
import { parseRange } from '../timerange.js';
import { extractRange, type ExtractOptions, type FrameRange } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-extract-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const FRAMES = 44;
const small = { width: 256, height: 144, frames: FRAMES } as const;
const upTo = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

interface Source {
  readonly file: string;
  readonly info: MediaInfo;
}

const sources = new Map<string, Promise<Source>>();
/** A clip is made once, whoever asks. */
function source(name: string, options: ClipOptions): Promise<Source> {
  const made = sources.get(name) ?? make(name, options);
  sources.set(name, made);
  return made;
}
async function make(name: string, options: ClipOptions): Promise<Source> {
  const file = join(folder, name);
  await makeClip(file, { ...small, ...options });
  return { file, info: unwrap(await probe(file)) };
}

let counter = 0;
async function take({ file, info }: Source, range: FrameRange, options?: ExtractOptions) {
  counter += 1;
  return unwrap(await extractRange(file, join(folder, `out-${counter}`), info, range, options));
}

/** The extract's pictures are those of the range, its label that of the first, its sound as long. */
async function expectExact(from: Source, range: FrameRange, options?: ExtractOptions) {
  const extract = await take(from, range, options);
  expect(await readFrameNumbers(extract.path)).toEqual(upTo(range.first, range.count));
  const made = unwrap(await probe(extract.path));
  expect(made).toMatchObject({ durationFrames: range.count, rate: from.info.rate, video: { variableRate: false } });
  const { frame, dropFrame } = from.info.startTimecode ?? { frame: 0, dropFrame: false };
  const label = formatTimecode(frame + range.first, from.info.rate!, { dropFrame });
  if (!extract.warnings.includes('TIMECODE_NOT_WRITTEN')) {
    expect(made.startTimecode?.text).toBe(label);
    expect(extract.startTimecode).toBe(label);
  }
  expect(made.audio).toHaveLength(from.info.audio.length);
  for (const [index, track] of made.audio.entries()) {
    const exact = (range.count * from.info.rate!.den * track.sampleRate) / from.info.rate!.num;
    // Matroska does not tell the length of a track.
    if (made.container !== 'MKV') expect(Math.abs(track.durationSamples! - exact)).toBeLessThanOrEqual(1);
    expect(track.channels).toBe(from.info.audio[index]!.channels);
  }
  return { extract, made };
}

const counted = (Object.entries(RATES) as [RateName, Rate][]).flatMap(([name, rate]): [string, Rate, boolean][] =>
  supportsDropFrame(rate)
    ? [
        [`${name} NDF`, rate, false],
        [`${name} DF`, rate, true],
      ]
    : [[name, rate, false]],
);

/** Starts 12 frames before a minute that drops labels, so that the range runs over it. */
function startLabel(rate: Rate, dropFrame: boolean): string | null {
  if (nominalRate(rate) > 100) return null;
  const minute = unwrap(parseTimecode(dropFrame ? `01:00:59;00` : '01:00:59:00', rate)).frame + nominalRate(rate);
  return formatTimecode(minute - 12, rate, { dropFrame });
}

const ends: FrameRange[] = [
  { first: 0, count: 1 },
  { first: FRAMES - 1, count: 1 },
  { first: 7, count: 12 },
];

test.each(counted)(
  '%s: first, last and middle frames are the source’s, copied and encoded',
  async (name, rate, dropFrame) => {
    const startTimecode = startLabel(rate, dropFrame);
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

/** `MEDIA_MATRIX=full`: every rate in every codec and container, every in-point of one. */
const CONTAINERS: Record<string, readonly ClipCodec[]> = {
  mov: ['h264', 'hevc', 'prores', 'prores4444', 'dnxhrHqx', 'mjpeg'],
  mp4: ['h264', 'hevc', 'mjpeg', 'av1', 'vp9'],
  mxf: ['prores', 'dnxhrHqx', 'mpeg2'],
  mkv: ['h264', 'hevc', 'prores', 'prores4444', 'mjpeg', 'ffv1', 'vp9', 'av1'],
};
/** ffmpeg's MXF has no others. */
const MXF_RATES = /^(23.976|24|25|29.97|30|50|59.94|60)( |$)/;
const matrix = Object.entries(CONTAINERS).flatMap(([container, codecs]) =>
  codecs.flatMap((codec) =>
    counted
      .filter(([name]) => container !== 'mxf' || MXF_RATES.test(name))
      .map(([name, rate, dropFrame]) => ({
        title: `${codec} in ${container} at ${name}`,
        container,
        codec,
        rate,
        dropFrame,
      })),
  ),
);
if (process.env.MEDIA_MATRIX === 'full') {
  describe('the whole matrix', () => {
    test.each(matrix)(
      '$title',
      async ({ title, container, codec, rate, dropFrame }) => {
        const label = container === 'mkv' || nominalRate(rate) <= 100 ? startLabel(rate, dropFrame) : null;
        const from = await make(`${title}.${container}`, { rate, codec, startTimecode: label, audioChannels: 1 });
        for (const range of ends) await expectExact(from, range);
        await rm(from.file);
      },
      120_000,
    );

    test.each(['23.976', '24', '25', '29.97', '59.94'] as const)(
      'every in-point at %s',
      async (name) => {
        for (const codec of ['prores', 'h264'] as const) {
          const from = await source(`all-${name}-${codec}.mov`, { rate: RATES[name], codec, gop: 9, openGop: true });
          for (let first = 0; first < FRAMES; first += 1)
            await expectExact(from, { first, count: Math.min(2, FRAMES - first) });
        }
      },
      600_000,
    );
  });
}
