import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { makeCaptionedClip } from '../corpus.fixture.js';
import { setRotation, type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';
import { Workbench, small, type Source } from './extract.fixture.js';
import { type Extract, type ExtractOptions } from './index.js';

/**
 * What a bare ffprobe says of a file before, and of an extract of it. Everything that differs is in the table; what is not there is the
 * same. Timecode and length have specs of their own.
 */
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-kept-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const bench = new Workbench(() => folder);
const run = promisify(execFile);

interface Stream {
  readonly [key: string]: unknown;
  readonly tags?: Readonly<Record<string, string>>;
  readonly side_data_list?: readonly Readonly<Record<string, unknown>>[];
}

const KEPT: Readonly<Record<string, readonly string[]>> = {
  video:
    'width height sample_aspect_ratio color_range color_space color_transfer color_primaries field_order r_frame_rate'.split(
      ' ',
    ),
  audio: 'channels channel_layout sample_rate'.split(' '),
  subtitle: ['codec_name'],
};
const TAGS = ['title', 'scene', 'take', 'reel_name', 'language', 'com.apple.proapps.reel'];

async function ffprobe(file: string, args: readonly string[]): Promise<Record<string, Stream[]> & { format?: Stream }> {
  return JSON.parse((await run('ffprobe', ['-v', 'error', '-of', 'json', ...args, file])).stdout) as never;
}

/** `v0.color_space` → `bt709`, and so on. */
async function facts(file: string): Promise<Record<string, string>> {
  const { streams, format } = await ffprobe(file, ['-show_streams', '-show_format']);
  const { frames } = await ffprobe(file, ['-select_streams', 'v:0', '-read_intervals', '%+#1', '-show_frames']);
  const all: Record<string, string> = {};
  const numbers = new Map<string, number>();
  for (const stream of streams!) {
    const kind = String(stream['codec_type']);
    const index = numbers.get(kind) ?? 0;
    numbers.set(kind, index + 1);
    for (const key of KEPT[kind] ?? []) all[`${kind[0]}${index}.${key}`] = String(stream[key] ?? 'unknown');
    for (const key of TAGS) {
      const value = stream.tags?.[key];
      if (value && kind in KEPT && value !== 'und') all[`${kind[0]}${index}.${key}`] = value;
    }
    for (const data of stream.side_data_list ?? [])
      if ('rotation' in data) all['v0.rotation'] = String(data['rotation']);
  }
  for (const key of TAGS) {
    const value = Object.entries(format?.tags ?? {}).find(([name]) => name.toLowerCase() === key)?.[1];
    if (value) all[`file.${key}`] = value;
  }
  for (const { side_data_type, ...data } of frames![0]?.side_data_list ?? []) {
    const name = String(side_data_type);
    if (/Mastering|light level/.test(name)) all[`v0.${name}`] = Object.values(data).join(' ');
    if (/A53/.test(name)) all['v0.captions'] = 'in the picture';
  }
  return all;
}

/** Facts that differ: what they were and are. */
function difference(before: Record<string, string>, after: Record<string, string>): Record<string, [string?, string?]> {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const changed = keys.filter((key) => before[key] !== after[key]);
  return Object.fromEntries(changed.map((key) => [key, [before[key], after[key]]]));
}

const encoded = { rate: RATES['25'], gop: 10 } as const;

const HDR = [
  'master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)',
  'max-cll=1000,400:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc',
];

/** Sources that `makeClip` does not make. */
const MAKERS: Readonly<Record<string, (file: string) => Promise<void>>> = {
  'hdr.mp4': (file) => makeHdr(file),
  'hdr.mkv': (file) => makeHdr(file),
  'captions.mp4': (file) => makeCaptionedClip(file, 'CAPTIONS ', { ...small, frames: 30 }),
  'caption-track.mov': async (file) => {
    const inner = `${file}.mp4`;
    await makeCaptionedClip(inner, 'CAPTIONS ', { ...small, frames: 30 });
    const cc = ['-f', 'lavfi', '-i', `movie=${inner}[out+subcc]`, '-i', inner, '-map', '1:v', '-map', '0:s'];
    await run('ffmpeg', ['-v', 'error', '-y', ...cc, '-c', 'copy', '-metadata:s:s:0', 'language=eng', file]);
    await rm(inner);
  },
  'subtitles.mkv': async (file) => {
    const { file: film } = await bench.source('film.mkv', { codec: 'ffv1', rate: RATES['25'] });
    await withSubtitles(film, file, 'subrip');
  },
  'subtitles.mov': async (file) => {
    const { file: film } = await bench.source('film.mov', { codec: 'h264', gop: 10, rate: RATES['25'] });
    await withSubtitles(film, file, 'mov_text');
  },
  'german.mkv': async (file) => {
    const film = await bench.make('german.mp4', { codec: 'h264', ...encoded });
    await run('ffmpeg', ['-v', 'error', '-y', '-i', film.file, '-c', 'copy', '-metadata:s:a', 'language=deu', file]);
  },
  'rotated.mp4': async (file) => {
    const made = await bench.make(basename(file), { codec: 'h264', gop: 10 });
    await setRotation(made.file, 90);
  },
  'tagged.mov': async (file) => {
    const film = await bench.make('untagged.mov', {
      codec: 'prores',
      reel: 'A001C002',
      audioChannels: 2,
      audioTracks: 3,
    });
    const tags = ['-metadata', 'title=Harbour', '-metadata', 'scene=12A', '-metadata', 'take=3'];
    const languages = ['eng', 'ger', 'fra'].flatMap((code, index) => [`-metadata:s:a:${index}`, `language=${code}`]);
    const all = ['-map', '0:v', '-map', '0:a', '-c', 'copy', ...tags, ...languages];
    await run('ffmpeg', ['-v', 'error', '-y', '-i', film.file, ...all, '-movflags', 'use_metadata_tags', file]);
  },
};

async function makeHdr(file: string): Promise<void> {
  const encoder = ['-c:v', 'libx265', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p10le'];
  const parameters = `log-level=error:keyint=10:min-keyint=10:open-gop=0:${HDR.join(':')}`;
  const picture = ['-f', 'lavfi', '-i', 'testsrc2=size=256x144:rate=24', '-frames:v', '44', '-tag:v', 'hvc1'];
  await run('ffmpeg', ['-v', 'error', '-y', ...picture, ...encoder, '-x265-params', parameters, file]);
}

async function withSubtitles(film: string, file: string, codec: string): Promise<void> {
  const text = `${file}.srt`;
  await writeFile(text, '1\n00:00:00,100 --> 00:00:01,500\nHarbour, night\n');
  const all = ['-map', '0:v', '-map', '0:a', '-map', '1', '-c', 'copy', '-c:s', codec];
  await run('ffmpeg', ['-v', 'error', '-y', '-i', film, '-i', text, ...all, '-metadata:s:s:0', 'language=ger', file]);
}

async function sourceOf(name: string, options: ClipOptions | null): Promise<Source> {
  if (options) return bench.source(name, options);
  const file = join(folder, name);
  await MAKERS[name]!(file);
  return bench.read(file);
}

/** What a source must say for its row to mean anything. */
const SAID: Readonly<Record<string, readonly string[]>> = {
  'tagged.mov': ['file.title', 'file.scene', 'file.take', 'a1.language'],
  'hdr.mp4': ['v0.Mastering display metadata', 'v0.Content light level metadata'],
  'captions.mp4': ['v0.captions'],
  'caption-track.mov': ['s0.codec_name', 's0.language'],
  'subtitles.mkv': ['s0.codec_name', 's0.language'],
  'rotated.mp4': ['v0.rotation'],
};

type Expected = Readonly<Record<string, readonly [string | undefined, string | undefined]>>;

const assumed = 'TIMECODE_ASSUMED';
const vary = 'PARAMETER_SETS_VARY';

test.each([
  ['tagged.mov', null, {}, 'COPY', {}, []],
  ['alpha.mov', { codec: 'prores4444', audioChannels: 6 }, {}, 'COPY', {}, []],
  ['sixteen.mov', { codec: 'dnxhrHqx', audioChannels: 16 }, {}, 'COPY', {}, []],
  ['hqx.mxf', { codec: 'dnxhrHqx', rate: RATES['25'] }, {}, 'COPY', {}, []],
  ['wide.mov', { codec: 'mjpeg', width: 360, height: 288, sampleAspect: '64/45' }, {}, 'COPY', {}, []],
  ['subtitles.mkv', null, {}, 'COPY', {}, []],
  ['pq.mov', { codec: 'hevc', colour: 'pq', ...encoded }, {}, 'ENCODE', {}, []],
  ['hlg.mp4', { codec: 'hevc', colour: 'hlg', audioChannels: 6, ...encoded }, {}, 'ENCODE', {}, []],
  ['hlg.mp4', { codec: 'hevc', colour: 'hlg', audioChannels: 6, ...encoded }, { smart: true }, 'SMART', {}, [vary]],
  [
    'hlg.mp4',
    { codec: 'hevc', colour: 'hlg', audioChannels: 6, ...encoded },
    { codec: 'prores422hq' },
    'ENCODE',
    {},
    [],
  ],
  ['hdr.mp4', null, {}, 'ENCODE', {}, [assumed]],
  ['hdr.mp4', null, { smart: true }, 'SMART', {}, [assumed, vary]],
  ['hdr.mkv', null, {}, 'ENCODE', {}, [assumed]],
  [
    ...(['hdr.mp4', null, { codec: 'prores422hq' }, 'ENCODE'] as const),
    // ProRes has no place for them.
    {
      'v0.Content light level metadata': ['1000 400', undefined],
      'v0.Mastering display metadata': [
        '34000/50000 16000/50000 13250/50000 34500/50000 7500/50000 3000/50000 15635/50000 16450/50000 1/10000 10000000/10000',
        undefined,
      ],
    },
    [assumed, 'HDR_METADATA_LOST'],
  ],
  ['captions.mp4', null, {}, 'ENCODE', {}, [assumed]],
  ['captions.mp4', null, { smart: true }, 'SMART', {}, [assumed, vary]],
  [
    ...(['captions.mp4', null, { codec: 'dnxhrHqx' }, 'ENCODE'] as const),
    // DNxHR in MOV says nothing of fields; its pictures are progressive.
    { 'v0.captions': ['in the picture', undefined], 'v0.field_order': ['progressive', 'unknown'] },
    [assumed, 'CAPTIONS_LOST'],
  ],
  ['caption-track.mov', null, {}, 'ENCODE', {}, [assumed]],
  ['subtitles.mov', null, {}, 'ENCODE', {}, []],
  [
    ...(['subtitles.mov', null, { codec: 'ffv1' }, 'ENCODE'] as const),
    // Matroska counts channels only.
    {
      's0.codec_name': ['mov_text', undefined],
      's0.language': ['ger', undefined],
      'a0.channel_layout': ['stereo', 'unknown'],
    },
    ['SUBTITLES_LOST'],
  ],
  // The same language: QuickTime knows the other of its two codes.
  ['german.mkv', null, {}, 'ENCODE', { 'a0.language': ['deu', 'ger'] }, []],
  ['rotated.mp4', null, {}, 'ENCODE', {}, []],
  [
    ...(['fields.mxf', { codec: 'mpeg2', interlaced: true, rate: RATES['25'] }, {}, 'ENCODE'] as const),
    // ffmpeg's MOV header says `tb` where the pictures say `tt`, as our probe knows; MXF counts channels only.
    { 'v0.field_order': ['tt', 'tb'], 'a0.channel_layout': ['unknown', 'stereo'] },
    [],
  ],
  ['anamorphic.mp4', { codec: 'h264', sampleAspect: '4/3', ...encoded }, {}, 'ENCODE', {}, []],
  ['anamorphic.mp4', { codec: 'h264', sampleAspect: '4/3', ...encoded }, { smart: true }, 'SMART', {}, [vary]],
] as [string, ClipOptions | null, ExtractOptions, Extract['method'], Expected, Extract['warnings']][])(
  '%s %j by %j: %s',
  async (name, options, how, method, expected, warnings) => {
    const from = await sourceOf(name, options);
    const extract = await bench.take(from, { first: 5, count: 20 }, how);
    expect(extract.method).toBe(method);
    expect(extract.warnings).toEqual(warnings);
    const before = await facts(from.file);
    for (const fact of SAID[name] ?? []) expect(Object.keys(before)).toContain(fact);
    expect(difference(before, await facts(extract.path))).toEqual(expected);
  },
  60_000,
);
