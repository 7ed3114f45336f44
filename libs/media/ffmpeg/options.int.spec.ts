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
    (name) => name.endsWith('.ts') && !name.endsWith('.spec.ts'),
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
  const used = await optionsUsed();
  // `-update`, `-profile` and the like are options of muxers and encoders: the full help lists those too.
  const isKnown = (option: string) =>
    known.has(option) || known.has(option.replace(/^-no/, '-')) || OTHERS.includes(option);
  expect(used.filter((option) => !isKnown(option))).toEqual([]);
});
