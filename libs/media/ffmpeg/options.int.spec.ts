import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unwrap } from '../result.js';
import { askFfmpeg, ffmpegPrograms } from './index.js';

/**
 * Options that a newer major no longer takes, or that are deprecated and will go. Sources: FFmpeg's Changelog of 5.1 (`-fps_mode` comes,
 * `-vsync` is deprecated), 7.0 (`-psnr` and `-map_channel` are removed; `-filter_script` and `-filter_complex_script` are deprecated for
 * `-/filter`; `-qphist` does nothing), 7.1 (`-top` is deprecated for the setfield filter), 9.0 (`-vsync` is removed).
 */
const GONE = [
  ...['-vsync', '-async', '-psnr', '-map_channel', '-filter_script', '-filter_complex_script', '-qphist', '-top'],
  ...[
    '-adrift_threshold',
    '-deinterlace',
    '-intra',
    '-sameq',
    '-vbsf',
    '-absf',
    '-newvideo',
    '-newaudio',
    '-channel_layout',
  ],
];

/** Every text in the sources that looks like an option, without stream specifiers. */
async function optionsUsed(): Promise<string[]> {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..');
  const files = (await readdir(root, { recursive: true })).filter(
    (name) => name.endsWith('.ts') && !/\.(spec|fixture)\.ts$/.test(name),
  );
  const found = new Set<string>();
  for (const file of files) {
    for (const [, option] of (await readFile(join(root, file), 'utf8')).matchAll(
      /['`](-[a-z][a-z_0-9]*)(?::[^'`]*)?['`]/g,
    )) {
      found.add(option!);
    }
  }
  return [...found].sort();
}

/** Handed to other programs (setpriv, nice) or to ffprobe, which lists its options for itself. */
const OTHERS = ['-n'];

/** `-noautorotate` is `-autorotate` turned off. */
function unknownOf(used: readonly string[], known: ReadonlySet<string>): string[] {
  return used.filter(
    (option) => !known.has(option) && !known.has(option.replace(/^-no/, '-')) && !OTHERS.includes(option),
  );
}

test('no option is used that a newer ffmpeg has removed', async () => {
  const used = await optionsUsed();
  expect(used.length).toBeGreaterThan(40);
  expect(used.filter((option) => GONE.includes(option))).toEqual([]);
});

test('every option that is used is one this ffmpeg or ffprobe knows', async () => {
  const ffmpeg = unwrap(await askFfmpeg(['-h', 'full'])).stdout.toString();
  const ffprobe = (await promisify(execFile)(ffmpegPrograms().ffprobe, ['-hide_banner', '-h'], { maxBuffer: 16 << 20 }))
    .stdout;
  const known = new Set<string>();
  for (const [, option] of `${ffmpeg}\n${ffprobe}`.matchAll(/^ *(-[a-z][a-z_0-9]*)/gm)) known.add(option!);
  // `-update`, `-profile` and the like are options of muxers and encoders: the full help lists those too.
  expect(unknownOf(await optionsUsed(), known)).toEqual([]);
});

/** What the majors list, recorded from Debian's builds (`listings/`). */
async function listing(major: number): Promise<Record<string, ReadonlySet<string>>> {
  const text = await readFile(new URL(`./listings/ffmpeg-${major}.txt`, import.meta.url), 'utf8');
  const sections = text.split('\n\n').slice(1);
  return Object.fromEntries(
    sections.map((section) => {
      const [name, ...lines] = section.split('\n');
      return [name!, new Set(lines.join(' ').split(' '))];
    }),
  );
}

/** Named in our filter graphs, as encoders, muxers and bitstream filters; what is used only where it is listed is not here. */
const NEEDED = {
  encoders: [
    ...['libx264', 'libx265', 'prores', 'prores_ks', 'dnxhd', 'ffv1', 'aac', 'mjpeg', 'png', 'tiff', 'dpx', 'exr'],
    ...['pcm_s16le', 'pcm_s24le', 'pcm_f32le'],
  ],
  filters: [
    ...['trim', 'atrim', 'setpts', 'settb', 'setparams', 'setsar', 'format', 'scale', 'crop', 'split', 'fps', 'tile'],
    ...['aresample', 'apad', 'zscale', 'tonemap', 'select', 'drawbox', 'bwdif', 'setfield', 'testsrc2', 'aevalsrc'],
  ],
  muxers: ['mov', 'mp4', 'mxf', 'matroska', 'hls', 'image2', 'null', 'md5', 'framemd5', 'rawvideo'],
  demuxers: [
    'mxf',
    'wav',
    'flac',
    'mp3',
    'aac',
    'ogg',
    'image2',
    'png_pipe',
    'tiff_pipe',
    'jpeg_pipe',
    'webp_pipe',
    'concat',
  ],
  bsfs: ['setts', 'hevc_mp4toannexb', 'h264_mp4toannexb', 'filter_units'],
};

test.each([5, 7, 9])('ffmpeg %s knows every option, encoder, filter and format that is used', async (major) => {
  const known = await listing(major);
  expect(unknownOf(await optionsUsed(), known['options']!)).toEqual([]);
  for (const [kind, names] of Object.entries(NEEDED)) {
    expect(names.filter((name) => !known[kind]!.has(name))).toEqual([]);
  }
});
