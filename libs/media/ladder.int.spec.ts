import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TilesIndexSchema, tileAt } from './deepZoom.js';
import { aleClips, parseAle } from './editorial/ale.js';
import { machineWithCard } from './ffmpeg/card.fixture.js';
import { runFfmpeg, useFfmpeg } from './ffmpeg/index.js';
import { FrameMapSchema } from './frameMap.js';
import { EDITORIAL_CODECS, type EditorialSpec } from './ladder.js';
import { parseCube } from './lut.js';
import { probe, type MediaInfo } from './probe/index.js';
import { unwrap } from './result.js';
import type { Demuxer } from './sniff.js';
import { makeClip, makeStill, readFrameNumbers, type ClipOptions } from './testmedia.js';
import { RATES, formatTimecode, nominalRate, supportsDropFrame, type Rate } from './timecode.js';
import { transcodeReview, type ReviewSet, type TranscodeOptions } from './transcode.js';
import { WaveformSchema } from './waveform.js';

/** The renditions beyond review: editorial proxies, colour, frames at every rate. `MEDIA_MATRIX=full` takes all rates and codecs. */
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-ladder-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const all = process.env.MEDIA_MATRIX === 'full';
const small = { width: 256, height: 144 };
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

async function ladder(file: string, options: TranscodeOptions): Promise<{ set: ReviewSet; source: MediaInfo }> {
  const source = unwrap(await probe(file));
  const fast = { preset: 'ultrafast', threads: 2, hardware: false } as const;
  return { set: unwrap(await transcodeReview(file, `${file}.ladder`, source, { ...fast, ...options })), source };
}

const at = (set: ReviewSet, name: string) => join(set.directory, name);

/** Red, green and blue of one pixel of the first picture, full range, by the file's own tags. */
async function pixel(file: string, demuxer: Demuxer, x: number, y: number): Promise<number[]> {
  const matrix = demuxer === 'jpeg_pipe' ? 'bt601' : 'bt709';
  const rgb = `scale=in_color_matrix=${matrix}:flags=accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24`;
  const run = unwrap(
    await runFfmpeg({
      inputs: [{ path: file, demuxer }],
      output: ['-frames:v', '1', '-vf', `${rgb},crop=1:1:${x}:${y}`, '-f', 'rawvideo', 'pipe:1'],
    }),
  );
  return [...run.stdout];
}

function expectNear(seen: readonly number[], expected: readonly number[], tolerance: number): void {
  seen.forEach((value, channel) => {
    expect([channel, value, expected[channel], Math.abs(value - expected[channel]!) <= tolerance]).toEqual([
      ...[channel, value, expected[channel], true],
    ]);
  });
}

describe('editorial', () => {
  const reel = 'A001C003';
  test('what editors relink by is that of the source, and every channel of sound is there', async () => {
    const file = join(folder, 'A001C003_take.mov');
    const made = {
      rate: RATES['23.976'],
      frames: 30,
      codec: 'prores',
      audioChannels: 6,
      audioTracks: 2,
      reel,
    } as const;
    await makeClip(file, { ...small, ...made, startTimecode: '10:00:59:20' });
    const { set, source } = await ladder(file, { editorial: { codec: 'proresProxy', resolution: '540' } });
    const info = unwrap(await probe(at(set, 'editorial.mov')));
    // ffprobe before and after: only codec and size differ, and the picture fits the box.
    for (const key of ['rate', 'durationFrames', 'startTimecode', 'reel', 'slate'] as const) {
      expect([key, info[key]]).toEqual([key, source[key]]);
    }
    expect(info.video!.colour).toEqual(source.video!.colour);
    expect(info.video).toMatchObject({ flavour: 'ProRes 422 Proxy', width: 256, height: 144 });
    expect(info.audio.map(({ channels, layout, sampleRate }) => [channels, layout, sampleRate])).toEqual(
      source.audio.map(({ channels, layout, sampleRate }) => [channels, layout, sampleRate]),
    );
    expect(info.audio.map(({ durationSamples }) => durationSamples)).toEqual([60_060, 60_060]);
    expect(await readFrameNumbers(at(set, 'editorial.mov'))).toEqual(upTo(30));
    expect(set.files.find(({ role }) => role === 'EDITORIAL')).toMatchObject({ frames: 30, purpose: 'EDITORIAL' });
    const { rate, clips } = unwrap(aleClips(unwrap(parseAle(await readFile(at(set, 'editorial.ale'), 'utf8')))));
    expect(rate).toEqual(RATES['23.976']);
    const start = source.startTimecode!.frame;
    expect(clips).toMatchObject([{ name: 'A001C003_take', tape: reel, start, end: start + 30 }]);
    expect(clips[0]!.values).toMatchObject({
      'Source File': 'A001C003_take.mov',
      Tracks: 'VA1A2A3A4A5A6A7A8A9A10A11A12',
    });
    // Each channel has a tone of its own: the sixth of the second track is where it was.
    const tone = async (path: string) => {
      const run = unwrap(
        await runFfmpeg({
          inputs: [{ path, demuxer: 'mov' }],
          output: ['-map', '0:a:1', '-af', 'pan=mono|c0=c5', '-f', 's16le', 'pipe:1'],
        }),
      );
      return run.stdout;
    };
    const [before, after] = [await tone(file), await tone(at(set, 'editorial.mov'))];
    expect(after.subarray(0, 96_000)).toEqual(before.subarray(0, 96_000));
    expect(set.loudness).toHaveLength(2);
  }, 60_000);

  test('HDR keeps its tags and code values, or is shown as in review, as asked', async () => {
    const file = join(folder, 'hdr.mov');
    await makeClip(file, { ...small, frames: 5, codec: 'prores', colour: 'pq', audioChannels: 0 });
    const own = await ladder(file, {
      editorial: { codec: 'proresProxy', resolution: 'source' },
      purposes: ['EDITORIAL', 'PREVIEW'],
      previewColour: 'SOURCE',
    });
    for (const name of ['editorial.mov', 'proxy.mp4']) {
      const { colour, bitDepth, hdr } = unwrap(await probe(at(own.set, name))).video!;
      expect([name, colour, bitDepth, hdr]).toEqual([name, own.source.video!.colour, 10, true]);
    }
    expect(own.set.files.map(({ role }) => role).sort()).toEqual(['ALE', 'EDITORIAL', 'PROXY']);
    await rm(own.set.directory, { recursive: true });
    const seen = await ladder(file, {
      editorial: { codec: 'h264Intra', resolution: '540', colour: 'REVIEW' },
      purposes: ['EDITORIAL'],
    });
    const { colour, hdr } = unwrap(await probe(at(seen.set, 'editorial.mov'))).video!;
    expect([colour, hdr]).toEqual([{ primaries: 'bt709', transfer: 'bt709', matrix: 'bt709', range: 'tv' }, false]);
    expect((await readdir(seen.set.directory)).sort()).toEqual(['editorial.ale', 'editorial.mov']);
  }, 60_000);

  test('variable rate: review keeps the times, editorial is constant by the map that comes with it', async () => {
    const file = join(folder, 'phone.mp4');
    await makeClip(file, { ...small, rate: RATES['30'], frames: 60, variableRate: true });
    const { set } = await ladder(file, { editorial: { codec: 'h264Intra', resolution: 'source' } });
    const map = FrameMapSchema.parse(JSON.parse(await readFile(at(set, 'editorial.framemap.json'), 'utf8')));
    const numbers = await readFrameNumbers(file);
    expect(map.rate).toEqual(RATES['30']);
    expect(await readFrameNumbers(at(set, 'editorial.mov'))).toEqual(map.frames.map((frame) => numbers[frame]));
    expect([map.frames[0], map.frames.at(-1), map.times.length]).toEqual([0, 44, 45]);
    const info = unwrap(await probe(at(set, 'editorial.mov')));
    expect(info).toMatchObject({ rate: RATES['30'], durationFrames: 59, startTimecode: { text: '01:00:00:00' } });
    expect(info.video!.variableRate).toBe(false);
    expect(set.frames).toBe(45);
    expect(set.files.filter(({ purpose }) => purpose !== 'EDITORIAL').map(({ frames }) => frames ?? 45)).toEqual(
      expect.not.arrayContaining([59]),
    );
  }, 60_000);
});

const cases: [name: string, ClipOptions, EditorialSpec['codec']][] = Object.entries(RATES).flatMap(
  ([name, rate], index) => {
    const labels = supportsDropFrame(rate) ? [false, true] : [false];
    return labels.map((dropFrame): [string, ClipOptions, EditorialSpec['codec']] => {
      // Begins right before a minute, where drop-frame counting leaves labels out.
      const minute = Math.round((60 * rate.num) / rate.den);
      const startTimecode = formatTimecode(minute - 5, rate, { dropFrame });
      return [
        `${name}${dropFrame ? 'df' : ''}`,
        { rate, startTimecode },
        EDITORIAL_CODECS[(index + Number(dropFrame)) % 3]!,
      ];
    });
  },
);
const representative = ['25', '29.97df', '120'];

describe.each(cases.filter(([name]) => all || representative.includes(name)))('at %s', (name, options, editorial) => {
  const rate: Rate = options.rate!;
  // DNxHR needs some size, ProRes and H.264 none.
  test.each(all ? EDITORIAL_CODECS : [editorial])(
    'frame n of each rendition is frame n of the source (%s)',
    async (codec) => {
      const file = join(folder, `rate-${name}-${codec}.mov`);
      const frames = all ? Math.ceil(2.2 * nominalRate(rate)) : 40;
      await makeClip(file, { width: 320, height: 180, ...options, frames, audioChannels: 1 });
      const { set, source } = await ladder(file, { editorial: { codec, resolution: 'source' } });
      for (const made of ['editorial.mov', 'proxy.mp4', 'hls_v0.mp4', 'hls_v1.mp4']) {
        expect([made, await readFrameNumbers(at(set, made))]).toEqual([made, upTo(frames)]);
      }
      for (const made of ['editorial.mov', 'proxy.mp4']) {
        const info = unwrap(await probe(at(set, made)));
        expect([made, info.rate, info.durationFrames]).toEqual([made, rate, frames]);
        if (nominalRate(rate) <= 100) expect([made, info.startTimecode]).toEqual([made, source.startTimecode]);
      }
      await rm(set.directory, { recursive: true });
    },
    120_000,
  );
});

describe('colour in review', () => {
  const COLUMN = 128;
  /** Columns of flat colour, ten bits, without loss. `y`, `cb`, `cr` are code values. */
  async function patches(
    file: string,
    codes: readonly (readonly [y: number, cb: number, cr: number])[],
    tags: string,
  ): Promise<void> {
    const column = (plane: number) =>
      codes.reduceRight((rest, code, index) => `if(lt(X,W*${index + 1}/${codes.length}),${code[plane]},${rest})`, '0');
    const lavfi = `color=size=${COLUMN * codes.length}x128:rate=24,format=yuv444p10le,geq=lum='${column(0)}':cb='${column(1)}':cr='${column(2)}'`;
    unwrap(await runFfmpeg({ inputs: [{ lavfi }], output: ['-frames:v', '3', '-vf', tags, '-c:v', 'ffv1', file] }));
  }
  /** BT.2020 Y′CbCr in ten bits, limited range, of R′G′B′. */
  function bt2020([r, g, b]: readonly [number, number, number]): [number, number, number] {
    const y = 0.2627 * r + 0.678 * g + 0.0593 * b;
    return [
      Math.round(64 + 876 * y),
      Math.round(512 + (896 * (b - y)) / 1.8814),
      Math.round(512 + (896 * (r - y)) / 1.4746),
    ];
  }

  // What is expected was computed apart from our code: ST 2084, BT.2100, the EETF of BT.2390 to 203 cd/m², BT.2087, gamma 2.4.
  test.each([
    [
      'smpte2084',
      [
        [
          [0, 0, 0],
          [0, 0, 0],
        ],
        [
          [0.2997, 0.2997, 0.2997],
          [72.7, 72.7, 72.7],
        ],
        [
          [0.5081, 0.5081, 0.5081],
          [189.4, 189.3, 189.3],
        ],
        [
          [0.5807, 0.5807, 0.5807],
          [230.4, 230.3, 230.3],
        ],
        [
          [0.6526, 0.6526, 0.6526],
          [250, 250, 250],
        ],
        [
          [0.7518, 0.7518, 0.7518],
          [255, 255, 255],
        ],
        [
          [0.39288, 0.39288, 0.5493],
          [95.4, 108.6, 223.6],
        ],
        [
          [0.65258, 0.62186, 0.57913],
          [255, 218.2, 181.8],
        ],
      ],
    ],
    [
      'arib-std-b67',
      [
        [
          [0.38, 0.38, 0.38],
          [108.7, 108.7, 108.7],
        ],
        [
          [0.5, 0.5, 0.5],
          [143.1, 143.1, 143],
        ],
        [
          [0.75, 0.75, 0.75],
          [230.4, 230.4, 230.4],
        ],
        [
          [0.7, 0.4, 0.3],
          [243.6, 97.7, 84.7],
        ],
      ],
    ],
  ] as const)(
    '%s is mapped as the standards say, tagged BT.709',
    async (transfer, table) => {
      const file = join(folder, `${transfer}.mkv`);
      const codes = table.map(([signal]) => bt2020(signal));
      await patches(file, codes, `setparams=range=tv:color_primaries=bt2020:color_trc=${transfer}:colorspace=bt2020nc`);
      const { set } = await ladder(file, {});
      for (const [name, demuxer] of [
        ['hls_v0.mp4', 'mov'],
        ['poster.jpg', 'jpeg_pipe'],
      ] as const) {
        for (const [index, [, expected]] of table.entries()) {
          expectNear(await pixel(at(set, name), demuxer, COLUMN * (index + 0.5), 64), expected, 4);
        }
      }
      expect(unwrap(await probe(at(set, 'hls_v0.mp4'))).video!.colour).toEqual({
        ...{ primaries: 'bt709', transfer: 'bt709', matrix: 'bt709', range: 'tv' },
      });
    },
    60_000,
  );

  const grey = (y: number): [number, number, number] => [y, 512, 512];
  test('a look for log pictures is applied for review; editorial keeps the code values', async () => {
    const file = join(folder, 'log.mkv');
    const tags = 'setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709';
    await patches(file, [grey(64), grey(502), grey(940)], tags);
    // Black to white and back: nothing that happens by itself.
    const corners = upTo(8).map((n) => [n & 1, (n >> 1) & 1, n >> 2].map((value) => 1 - value).join(' '));
    const lut = unwrap(parseCube(`LUT_3D_SIZE 2\n${corners.join('\n')}\n`));
    const { set } = await ladder(file, { lut, editorial: { codec: 'proresProxy', resolution: 'source' } });
    for (const [name, expected] of [
      ['hls_v0.mp4', [255, 127.5, 0]],
      ['proxy.mp4', [255, 127.5, 0]],
      ['editorial.mov', [0, 127.5, 255]],
    ] as const) {
      for (const [index, value] of expected.entries()) {
        expectNear(await pixel(at(set, name), 'mov', COLUMN * (index + 0.5), 64), [value, value, value], 3);
      }
    }
    expect((await readdir(set.directory)).filter((name) => name.endsWith('.cube'))).toEqual([]);
  }, 60_000);

  test.each(['tv', 'pc'] as const)(
    'range %s: black is black and white is white everywhere',
    async (range) => {
      const file = join(folder, `range-${range}.mkv`);
      const codes = range === 'tv' ? [64, 283, 940] : [0, 256, 1023];
      await patches(
        file,
        codes.map(grey),
        `setparams=range=${range}:color_primaries=bt709:color_trc=bt709:colorspace=bt709`,
      );
      const { set } = await ladder(file, { editorial: { codec: 'dnxhrLb', resolution: 'source' } });
      for (const { name, role } of set.files) {
        if (role !== 'HLS_SEGMENTS' && role !== 'EDITORIAL' && role !== 'POSTER') continue;
        const width = name === 'hls_v1.mp4' ? COLUMN / 2 : COLUMN;
        const demuxer = role === 'POSTER' ? 'jpeg_pipe' : 'mov';
        for (const [index, value] of [0, 63.75, 255].entries()) {
          expectNear(await pixel(at(set, name), demuxer, width * (index + 0.5), 32), [value, value, value], 3);
        }
      }
    },
    60_000,
  );
});

describe('with a card', () => {
  afterEach(() => useFfmpeg({ ffmpeg: 'ffmpeg' }));

  test('it encodes what is for viewing; when it fails in the middle, software does all again', async () => {
    const file = join(folder, 'card.mov');
    await makeClip(file, { ...small, frames: 20 });
    const options = { hardware: true, editorial: { codec: 'h264Intra', resolution: 'source' } } as const;
    await machineWithCard(folder);
    const { set } = await ladder(file, options);
    expect(set.encoder).toBe('h264_nvenc');
    expect(await readFrameNumbers(at(set, 'hls_v1.mp4'))).toEqual(upTo(20));
    const hash = await readFile(at(set, 'waveform.json'), 'utf8');
    await rm(set.directory, { recursive: true });
    // The probe's few frames work; the ladder is written and then fails.
    await machineWithCard(folder, 'case "$*" in *hls_%v*) : > hls_v0.mp4; exit 1 ;; esac');
    const again = await ladder(file, options);
    expect(again.set.encoder).not.toBe('h264_nvenc');
    expect(await readFrameNumbers(at(again.set, 'hls_v1.mp4'))).toEqual(upTo(20));
    // Not drawn twice.
    expect(await readFile(at(again.set, 'waveform.json'), 'utf8')).toBe(hash);
  }, 60_000);
});

test('a large still comes in tiles of every size, each where the index says', async () => {
  const file = join(folder, 'large.png');
  const [width, height] = [4200, 1100];
  await makeStill(file, { width, height, deep: true });
  const { set } = await ladder(file, {});
  const index = TilesIndexSchema.parse(JSON.parse(await readFile(at(set, 'view.tiles.json'), 'utf8')));
  expect(index.levels).toHaveLength(14);
  expect(index.levels.at(-1)).toMatchObject({ width, height, columns: 9, rows: 3 });
  const bytes = await readFile(at(set, 'view.tiles'));
  expect(index.levels.flatMap(({ tiles }) => tiles).reduce((sum, [, size]) => sum + size, 0)).toBe(bytes.length);
  const tile = async (path: string) => {
    const found = tileAt(index, path)!;
    const name = join(folder, path.replace('/', '-'));
    await writeFile(name, bytes.subarray(found.offset, found.offset + found.size));
    return name;
  };
  // Whole, right, bottom and corner tiles of the whole picture, and one of half its size.
  for (const [path, x, y, w, h, scale] of [
    ['13/3_1.jpg', 100, 200, 512, 512, 1],
    ['13/8_0.jpg', 50, 300, 104, 512, 1],
    ['13/2_2.jpg', 300, 40, 512, 76, 1],
    ['13/8_2.jpg', 90, 60, 104, 76, 1],
    ['12/1_0.jpg', 200, 400, 512, 512, 2],
  ] as const) {
    const name = await tile(path);
    expect(unwrap(await probe(name)).video).toMatchObject({ width: w, height: h });
    const [column, row] = path.slice(3, -4).split('_').map(Number) as [number, number];
    const [sourceX, sourceY] = [(512 * column + x) * scale, (512 * row + y) * scale];
    expectNear(await pixel(name, 'jpeg_pipe', x, y), await pixel(file, 'png_pipe', sourceX, sourceY), 12);
  }
  expect((await readdir(set.directory)).sort()).toEqual([
    'poster.jpg',
    'thumbnail.jpg',
    'view.dzi',
    'view.png',
    'view.tiles',
    'view.tiles.json',
  ]);
}, 60_000);

test('loudness is that of the programme: a tone of −23 LUFS measures so, and the waveform has its height', async () => {
  const file = join(folder, 'tone.wav');
  // EBU Tech 3341: a stereo sine of 1000 Hz at −23 dBFS is −23 LUFS.
  const amplitude = 10 ** (-23 / 20);
  const lavfi = `aevalsrc='${amplitude}*sin(1000*2*PI*t)|${amplitude}*sin(1000*2*PI*t)':s=48000:d=10`;
  unwrap(await runFfmpeg({ inputs: [{ lavfi }], output: ['-c:a', 'pcm_s24le', file] }));
  const { set } = await ladder(file, {});
  expect(set.loudness).toHaveLength(1);
  const { integrated, range, truePeak } = set.loudness[0]!;
  expect(Math.abs(integrated! + 23)).toBeLessThanOrEqual(0.1);
  expect(Math.abs(truePeak! + 23)).toBeLessThanOrEqual(0.2);
  expect(range).toBeLessThan(0.2);
  const wave = WaveformSchema.parse(JSON.parse(await readFile(at(set, 'waveform.json'), 'utf8')));
  expect(wave.length).toBe(Math.ceil(480_000 / 256));
  expect(wave.data).toHaveLength(2 * wave.length);
  expect([Math.min(...wave.data), Math.max(...wave.data)]).toEqual([
    Math.trunc((-amplitude * 32767) / 256),
    Math.trunc((amplitude * 32767) / 256),
  ]);
}, 60_000);
