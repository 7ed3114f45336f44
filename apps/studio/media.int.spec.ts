import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeClip, readFrameNumbers } from '#libs/media/testmedia.js';
import { RATES } from '#libs/media/index.js';
import { mediaVerb } from './media.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-verb-'));
  const options = {
    width: 256,
    height: 144,
    frames: 30,
    codec: 'prores',
    rate: RATES['25'],
    audioChannels: 1,
  } as const;
  await makeClip(join(folder, 'A001.mov'), options);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function media(...args: string[]): Promise<{ exit: number; said: unknown; complaint: string }> {
  let [screen, complaint] = ['', ''];
  const exit = await mediaVerb(args, {
    screen: { write: (text: string) => (screen += text) },
    complaints: { write: (text: string) => (complaint += text) },
    signal: new AbortController().signal,
  });
  return { exit, said: screen ? JSON.parse(screen) : null, complaint };
}

test('probe, extract and pull from the command line', async () => {
  const film = join(folder, 'A001.mov');
  expect(await media('probe', film)).toMatchObject({ exit: 0, said: { durationFrames: 30, container: 'MOV' } });
  const cut = ['extract', film, join(folder, 'shot'), '--in', '01:00:00:05', '--out', '01:00:00:10', '--handles', '2'];
  expect(await media(...cut)).toMatchObject({ exit: 0, said: { first: 3, frames: 9, method: 'COPY' } });
  expect(await readFrameNumbers(join(folder, 'shot.mov'))).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
  const list = join(folder, 'list.csv');
  await writeFile(list, 'reel,in,out\na001,01:00:00:05,01:00:00:07\nB002,01:00:00:00,01:00:00:01\n');
  const pull = [
    'pull',
    list,
    '--media',
    folder,
    '--to',
    join(folder, 'pulled'),
    '--rate',
    '25',
    '--template',
    '{reel}',
  ];
  expect(await media(...pull)).toMatchObject({ exit: 1, said: { pulled: 1, failed: 1 } });
  expect(await readFile(join(folder, 'pulled', 'report.csv'), 'utf8')).toContain('BLOB_NOT_FOUND');
}, 60_000);

test('what is refused is said with its code, what is mistyped with the usage', async () => {
  const film = join(folder, 'A001.mov');
  expect(await media('extract', film, join(folder, 'no'), '--in', '28', '--out', '40')).toMatchObject({
    exit: 1,
    said: null,
    complaint: expect.stringMatching(/^RANGE_OUTSIDE_MEDIA: /),
  });
  for (const args of [
    [],
    ['extract', film],
    ['probe', film, 'x'],
    ['extract', film, 'x', '--in', '0', '--out', '1', '--codec', 'best'],
  ]) {
    await expect(media(...args)).rejects.toThrow('media extract');
  }
});
