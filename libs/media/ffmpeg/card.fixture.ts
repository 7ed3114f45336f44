/** For specs: a machine with a card. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { useFfmpeg } from './run.js';

/**
 * What is asked of `h264_nvenc` is done by x264, so the frames are real. `before`, shell text, may fail first; it sees the arguments.
 * `useFfmpeg({ ffmpeg: 'ffmpeg' })` takes the card out again.
 */
export async function machineWithCard(folder: string, before = ''): Promise<void> {
  const file = join(folder, `card-${Date.now()}-${Math.random()}`);
  const script = `#!/bin/sh
case "$*" in *h264_nvenc*) ${before || ':'} ;; esac
n=$#
while [ $n -gt 0 ]; do
  a=$1; shift; n=$((n-1))
  case "$a" in
    h264_nvenc) a=libx264 ;;
    -rc|-cq|-forced-idr|-no-scenecut) shift; n=$((n-1)); continue ;;
  esac
  set -- "$@" "$a"
done
exec ffmpeg "$@"
`;
  await writeFile(file, script, { mode: 0o755 });
  useFfmpeg({ ffmpeg: file });
}
