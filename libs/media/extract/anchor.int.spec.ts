import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip, readFrameNumbers, type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';
import { countedRange, findAnchor } from './anchor.js';
import { extractRange, extractStills } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-anchor-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const FRAMES = 420;

/** From a key far inside, found without reading all before it. */
async function expectCounted(name: string) {
  const path = join(folder, name);
  const info = unwrap(await probe(path));
  const file = { path, demuxer: 'mxf' as const };
  for (const first of [250, 300, 301, 371, 419]) {
    const anchor = unwrap(await findAnchor(file, info, first, {}));
    expect(anchor).toMatchObject({ frame: expect.any(Number) });
    expect(anchor!.frame).toBeGreaterThan(first - 260);
    const count = Math.min(4, FRAMES - first);
    const { input, filters } = countedRange(anchor, first, count);
    const film = join(folder, `${name}-${first}.mkv`);
    const even = [...filters, 'setpts=N/25/TB'].join(',');
    const output = ['-map', '0:v', '-vf', even, '-fps_mode', 'passthrough', '-c:v', 'ffv1', film];
    unwrap(await runFfmpeg({ inputs: [{ ...file, options: input }], output }));
    const seen = await readFrameNumbers(film);
    expect([first, seen]).toEqual([first, Array.from({ length: count }, (_, index) => first + index)]);
  }
}

const small = { width: 256, height: 144, frames: FRAMES, audioChannels: 0 };

test.each([
  ['closed.mxf', { codec: 'h264', gop: 12 }],
  ['long.mxf', { codec: 'h264', gop: 100 }],
  ['mpeg2.mxf', { codec: 'mpeg2' }],
  ['fractional.mxf', { codec: 'h264', gop: 15, rate: RATES['29.97'] }],
] as [string, ClipOptions][])(
  'counted from a key far inside, frames are those of the file: %s',
  async (name, options) => {
    await makeClip(join(folder, name), { rate: RATES['25'], ...options, ...small });
    await expectCounted(name);
  },
  120_000,
);

test('keys of open groups are led by pictures stored after them', async () => {
  const film = join(folder, 'film.mkv');
  await makeClip(film, { codec: 'ffv1', rate: RATES['25'], ...small });
  for (const [name, encoder] of [
    ['open.mxf', 'open-gop=1:b-adapt=0:bframes=2:keyint=12:min-keyint=1'],
    ['pyramid.mxf', 'open-gop=1:b-adapt=0:bframes=3:keyint=14:b-pyramid=normal'],
  ] as const) {
    const output = ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '18', '-pix_fmt', 'yuv420p'];
    unwrap(
      await runFfmpeg({
        inputs: [{ path: film, demuxer: 'matroska' }],
        output: [...output, '-x264-params', encoder, join(folder, name)],
      }),
    );
    await expectCounted(name);
    // As who asks for them gets them.
    const path = join(folder, name);
    const info = unwrap(await probe(path));
    const range = { first: 371, count: 5 };
    const extract = unwrap(await extractRange(path, join(folder, `${name}.range`), info, range));
    expect(await readFrameNumbers(extract.path)).toEqual([371, 372, 373, 374, 375]);
    const { paths } = unwrap(await extractStills(path, join(folder, `${name}.still`), info, range, 'png'));
    const pattern = join(folder, `${name}.still.%06d.png`);
    const stills = join(folder, `${name}.stills.mkv`);
    const read = { inputs: [{ pattern, options: ['-start_number', '371'] }], output: ['-c:v', 'ffv1', stills] };
    unwrap(await runFfmpeg(read));
    expect(paths).toHaveLength(5);
    expect(await readFrameNumbers(stills)).toEqual([371, 372, 373, 374, 375]);
  }
}, 120_000);

test('counting begins at the first frame where nothing else is certain', async () => {
  const path = join(folder, 'one-group.mxf');
  await makeClip(path, { codec: 'h264', gop: 1000, rate: RATES['25'], ...small });
  const info = unwrap(await probe(path));
  expect(unwrap(await findAnchor({ path, demuxer: 'mxf' }, info, 400, {}))).toBeNull();
  expect(countedRange(null, 400, 2)).toEqual({ input: [], filters: ['trim=start_frame=400:end_frame=402'] });
});
