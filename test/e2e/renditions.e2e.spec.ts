import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { aleClips, LoudnessSchema, parseAle, probe, runFfmpeg, unwrap, WaveformSchema } from '#libs/media/index.js';
import { makeClip, makeStill } from '#libs/media/testmedia.js';
import { startStack, type TestStack } from '../support/stack.js';
import { found, hire, plan, sha256, submit, transcoded, type Person } from './support.js';

jest.setTimeout(180_000);

/** RV-04 and AR-02 from outside: what a studio gets of stills, and of clips when it asks for editorial proxies. */

const URLS =
  'posterUrl viewUrl deepZoomUrl thumbnailUrl waveformUrl loudnessUrl editorialUrl editorialAleUrl editorialFrameMapUrl originalUrl';
type Urls = Readonly<Record<string, string | null>>;

const work = mkdtempSync(join(tmpdir(), 'picturelock-renditions-'));
let stack: TestStack;
let maya: Person;
let chris: Person;
let edit: string;

const media = async (person: Person, id: string): Promise<Urls> => {
  const { version } = await person.read<{ version: { media: Urls } }>(
    `query ($id: ID!) { version(id: $id) { media { ${URLS} } } }`,
    { id },
  );
  return version.media;
};
/** Fetches a file and keeps it. */
const fetched = async (person: Person, url: string, name: string): Promise<string> => {
  const response = await person.media(url);
  expect([url, response.status]).toEqual([url, 200]);
  await writeFile(join(work, name), Buffer.from(await response.arrayBuffer()));
  return join(work, name);
};
const pixel = async (path: string, demuxer: 'png_pipe' | 'jpeg_pipe', x: number, y: number): Promise<number[]> => {
  const output = ['-frames:v', '1', '-vf', `format=rgb24,crop=1:1:${x}:${y}`, '-f', 'rawvideo', 'pipe:1'];
  return [...unwrap(await runFfmpeg({ inputs: [{ path, demuxer }], output })).stdout];
};
const near = (seen: readonly number[], expected: readonly number[]) =>
  seen.every((value, channel) => Math.abs(value - expected[channel]!) < 5);

beforeAll(async () => {
  stack = await startStack({ env: { EDITORIAL_PROXY: 'proresProxy:540' } });
  ({ admin: maya } = await found(stack, 'Northlight'));
  chris = await hire(maya, 'Chris', 'CLIENT');
  const spot = await plan(maya, 'STILLS');
  await maya.does('addProjectMember', { projectId: spot.projectId, userId: chris.id });
  edit = spot.stages['edit']!;
});
afterAll(async () => {
  await stack?.stop();
  rmSync(work, { recursive: true, force: true });
});

test('a large TIFF with alpha is seen on white, whole and in tiles; the original is as it was', async () => {
  const file = join(work, 'mood.tiff');
  await makeStill(file, { width: 4300, height: 700, alpha: true, deep: true });
  const id = await submit(maya, edit, file, 'mood.tiff');
  await transcoded(maya, id);
  const urls = await media(maya, id);
  const view = await fetched(maya, urls['viewUrl']!, 'view.png');
  expect(unwrap(await probe(view)).video).toMatchObject({ width: 4300, height: 700, bitDepth: 8, hasAlpha: false });
  expect(near(await pixel(view, 'png_pipe', 100, 300), [255, 0, 0])).toBe(true);
  expect(near(await pixel(view, 'png_pipe', 4200, 300), [255, 255, 255])).toBe(true);
  expect(await sha256(await fetched(maya, urls['originalUrl']!, 'original.tiff'))).toBe(await sha256(file));

  const descriptor = await (await maya.media(urls['deepZoomUrl']!)).text();
  expect(descriptor).toContain('<Size Width="4300" Height="700"/>');
  // As OpenSeadragon does: the descriptor's address without `.dzi`, and `_files/`.
  const tiles = urls['deepZoomUrl']!.replace(/\.dzi$/, '_files');
  expect(
    near(await pixel(await fetched(maya, `${tiles}/13/0_0.jpg`, 'tile.jpg'), 'jpeg_pipe', 100, 300), [255, 0, 0]),
  ).toBe(true);
  const last = await fetched(maya, `${tiles}/13/8_1.jpg`, 'last.jpg');
  expect(unwrap(await probe(last)).video).toMatchObject({ width: 204, height: 188 });
  expect(near(await pixel(last, 'jpeg_pipe', 100, 100), [255, 255, 255])).toBe(true);
  const etag = (await maya.media(`${tiles}/0/0_0.jpg`)).headers.get('etag')!;
  expect((await maya.media(`${tiles}/0/0_0.jpg`, { 'if-none-match': etag })).status).toBe(304);
  for (const path of ['13/9_0.jpg', '14/0_0.jpg', '0/0_0.png', '..%2fview.png']) {
    expect([path, (await maya.media(`${tiles}/${path}`)).status]).toEqual([path, 404]);
  }
  // A client sees the picture, and takes nothing home.
  const theirs = await media(chris, id);
  expect([theirs['viewUrl'] === null, theirs['originalUrl']]).toEqual([false, null]);
});

test('where the studio asks for it, editors get a proxy that relinks; clients do not', async () => {
  const file = join(work, 'A001C003.mov');
  await makeClip(file, { frames: 40, reel: 'A001', audioChannels: 6, codec: 'prores', width: 320, height: 180 });
  const id = await submit(maya, edit, file, 'A001C003.mov');
  await transcoded(maya, id);
  const urls = await media(maya, id);
  const answer = await maya.media(urls['editorialUrl']!, { range: 'bytes=0-0' });
  expect([answer.status, answer.headers.get('content-disposition')]).toEqual([
    206,
    expect.stringContaining('filename="A001C003.mov"') as string,
  ]);
  const proxy = unwrap(await probe(await fetched(maya, urls['editorialUrl']!, 'proxy.mov')));
  expect(proxy).toMatchObject({ durationFrames: 40, reel: 'A001', startTimecode: { text: '01:00:00:00' } });
  expect([proxy.video!.flavour, proxy.audio[0]!.channels]).toEqual(['ProRes 422 Proxy', 6]);
  const ale = unwrap(parseAle(await (await maya.media(urls['editorialAleUrl']!)).text()));
  expect(unwrap(aleClips(ale)).clips).toMatchObject([{ name: 'A001C003', tape: 'A001' }]);
  expect(urls['editorialFrameMapUrl']).toBeNull();
  const waveform = WaveformSchema.parse(await (await maya.media(urls['waveformUrl']!)).json());
  expect(waveform.length).toBe(Math.ceil(((40 * 1001) / 24_000) * (48_000 / 256)));
  const [loudness] = LoudnessSchema.array().parse(await (await maya.media(urls['loudnessUrl']!)).json());
  expect(loudness!.integrated).toBeLessThan(0);

  const theirs = await media(chris, id);
  expect([theirs['editorialUrl'], theirs['editorialAleUrl']]).toEqual([null, null]);
  expect((await chris.media(theirs['posterUrl']!)).status).toBe(200);
  // Nor by its name, with an address they have.
  const guessed = theirs['posterUrl']!.replace('poster.jpg', 'editorial.mov');
  expect((await chris.media(guessed)).status).toBe(403);
});
