import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeCaptionedClip, makeIxmlWave, makeSeiTimecodeClip } from '../corpus.fixture.js';
import { runFfmpeg } from '../ffmpeg/index.js';
import { unwrap } from '../result.js';
import { makeClip, type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';
import { MediaInfoSchema, parseIxml, probe, type MediaInfo } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-details-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const small = { width: 256, height: 144, frames: 3, audioChannels: 0 } as const;

async function clip(name: string, options: ClipOptions): Promise<MediaInfo> {
  const file = join(folder, name);
  await makeClip(file, { ...small, ...options });
  return unwrap(await probe(file));
}

test.each([
  ['hq.mov', 'prores', { codecTag: 'apch', flavour: 'ProRes 422 HQ', bitDepth: 10, hasAlpha: false }],
  ['4444.mov', 'prores4444', { codecTag: 'ap4h', flavour: 'ProRes 4444', hasAlpha: true }],
  ['hqx.mov', 'dnxhrHqx', { codecTag: 'AVdh', flavour: 'DNxHR HQX', bitDepth: 10 }],
  ['hqx.mxf', 'dnxhrHqx', { codecTag: null, flavour: 'DNxHR HQX' }],
  ['prores.mkv', 'prores', { codecTag: 'apch', flavour: 'ProRes 422 HQ' }],
  ['hevc.mp4', 'hevc', { codecTag: 'hvc1', flavour: null }],
  ['av1.mp4', 'av1', { codecTag: 'av01', flavour: null }],
] as const)('%s: tag and flavour', async (name, codec, expected) => {
  expect((await clip(name, { codec })).video).toMatchObject(expected);
});

test.each([
  ['tff.mxf', { codec: 'mpeg2', interlaced: true }, 'tt'],
  ['tff.mov', { codec: 'prores', interlaced: true }, 'tt'],
  ['frames.mov', { codec: 'mjpeg' }, 'progressive'],
  ['frames.mkv', { codec: 'ffv1' }, 'progressive'],
] as const)('%s: field order', async (name, options, fieldOrder) => {
  expect((await clip(name, options)).video).toMatchObject({ fieldOrder });
});

test('the shape of the picture beside that of its pixels', async () => {
  const info = await clip('dv.mov', { width: 720, height: 576, sampleAspect: '64/45', codec: 'mjpeg' });
  expect(info.video).toMatchObject({ sampleAspect: { num: 64, den: 45 }, displayAspect: { num: 16, den: 9 } });
});

test.each(['mp4', 'mkv'])('mastering display and light level of an HDR %s', async (extension) => {
  const file = join(folder, `hdr.${extension}`);
  const master = 'master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400';
  const colour = 'colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc';
  const encoder = ['-c:v', 'libx265', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p10le'];
  const output = ['-frames:v', '3', ...encoder, '-x265-params', `log-level=error:${master}:${colour}`, file];
  unwrap(await runFfmpeg({ inputs: [{ lavfi: 'testsrc2=size=256x144:rate=24' }], output }));
  const { video } = unwrap(await probe(file));
  expect(video).toMatchObject({
    hdr: true,
    mastering: {
      red: { x: 0.68, y: 0.32 },
      green: { x: 0.265, y: 0.69 },
      blue: { x: 0.15, y: 0.06 },
      white: { x: 0.3127, y: 0.329 },
      minLuminance: 0.0001,
      maxLuminance: 1000,
    },
    lightLevel: { maxContent: 1000, maxFrameAverage: 400 },
  });
  expect((await clip('sdr.mp4', {})).video).toMatchObject({ mastering: null, lightLevel: null, captions: false });
});

test('where the start timecode was found', async () => {
  expect(await clip('tc.mov', { startTimecode: '10:00:00:00' })).toMatchObject({ timecodeSource: 'TRACK' });
  expect(await clip('tc.mxf', { startTimecode: '10:00:00:00', codec: 'mpeg2' })).toMatchObject({
    timecodeSource: 'HEADER',
  });
  expect(await clip('tc.mkv', { startTimecode: '10:00:00:00' })).toMatchObject({ timecodeSource: 'HEADER' });
  expect(await clip('none.mov', { startTimecode: null })).toMatchObject({ timecodeSource: null, startTimecode: null });
  const sei = join(folder, 'sei.mp4');
  await makeSeiTimecodeClip(sei, '01:02:03:04', { ...small, rate: RATES['25'] });
  expect(unwrap(await probe(sei))).toMatchObject({
    timecodeSource: 'SEI',
    startTimecode: { text: '01:02:03:04', frame: (62 * 60 + 3) * 25 + 4 },
    durationFrames: 3,
  });
});

test('a recorder’s wave: time of day, rate, scene, take and tape', async () => {
  const file = join(folder, 'bwf.wav');
  // 01:00:00;02 of 29.97 drop-frame, in samples after midnight.
  const samples = Math.ceil(((107_892 + 2) * 1001 * 48_000) / 30_000);
  const ixml =
    '<?xml version="1.0" encoding="UTF-8"?><BWFXML><IXML_VERSION>1.5</IXML_VERSION><SCENE>12A</SCENE><TAKE>3</TAKE>' +
    '<TAPE>S&amp;D 01</TAPE><SPEED><TIMECODE_RATE>30000/1001</TIMECODE_RATE><TIMECODE_FLAG>DF</TIMECODE_FLAG></SPEED></BWFXML>';
  await makeIxmlWave(file, samples, ixml);
  expect(unwrap(await probe(file))).toMatchObject({
    kind: 'AUDIO',
    startSamples: samples,
    startTimecode: { text: '01:00:00;02', dropFrame: true },
    timecodeSource: 'BWF',
    timecodeRate: RATES['29.97'],
    rate: null,
    reel: 'S&D 01',
    slate: { scene: '12A', take: '3', camera: null },
  });
  const plain = join(folder, 'plain.wav');
  await makeIxmlWave(plain, 480, '<BWFXML><SCENE>  </SCENE></BWFXML>');
  expect(unwrap(await probe(plain))).toMatchObject({ startSamples: 480, startTimecode: null, slate: { scene: null } });
  expect(parseIxml('garbage <SCENE>1')).toMatchObject({ scene: null, rate: null });
});

test('captions in the picture, caption tracks and layouts of sound', async () => {
  const captioned = join(folder, 'cc.mp4');
  await makeCaptionedClip(captioned, 'HELLO CAPTIONS ', { ...small, frames: 8 });
  expect(unwrap(await probe(captioned))).toMatchObject({ video: { captions: true }, durationFrames: 8, subtitles: [] });
  const subtitled = join(folder, 'sub.mkv');
  const text = join(folder, 'sub.srt');
  await writeFile(text, '1\n00:00:00,000 --> 00:00:00,100\nHello\n');
  const args = ['-v', 'error', '-y', '-i', captioned, '-i', text, '-map', '0', '-map', '1', '-c', 'copy'];
  await promisify(execFile)('ffmpeg', [...args, '-metadata:s:s:0', 'language=deu', subtitled]);
  expect(unwrap(await probe(subtitled)).subtitles).toEqual([{ index: 1, codec: 'subrip', language: 'deu' }]);
  const sound = await clip('sound.mov', { audioChannels: 6, audioTracks: 3, codec: 'mjpeg' });
  expect(sound.audio.map(({ channels, layout, bitDepth }) => [channels, layout, bitDepth])).toEqual(
    Array.from({ length: 3 }, () => [6, '5.1', 16]),
  );
  expect((await clip('sixteen.mov', { audioChannels: 16, codec: 'mjpeg' })).audio).toMatchObject([
    { channels: 16, layout: 'hexadecagonal' },
  ]);
});

test('what was written before these facts were told is still read', async () => {
  const info = await clip('old.mov', {});
  const { timecodeSource: _t, timecodeRate: _r, startSamples: _s, slate: _l, subtitles: _u, ...rest } = info;
  const {
    codecTag: _c,
    flavour: _f,
    displayAspect: _d,
    mastering: _m,
    lightLevel: _i,
    captions: _a,
    ...video
  } = rest.video!;
  const old = MediaInfoSchema.parse(JSON.parse(JSON.stringify({ ...rest, video })));
  expect(old).toMatchObject({ subtitles: [], slate: { scene: null }, video: { flavour: null, captions: false } });
});
