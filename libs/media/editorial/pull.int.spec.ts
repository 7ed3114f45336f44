import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probe } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip, readFrameNumbers } from '../testmedia.js';
import { RATES } from '../timecode.js';
import {
  edlToTimeline,
  parseEdl,
  parseOtio,
  parsePullCsv,
  pullItems,
  pullNames,
  runPull,
  writeOtio,
  type PullMedium,
} from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-pull-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const LIST = `TITLE: PULL
FCM: NON-DROP FRAME
001  A001 V     C        01:00:00:10 01:00:00:20 10:00:00:00 10:00:00:10
* FROM CLIP NAME: one/two
002  A001 V     C        01:00:00:20 01:00:00:20 10:00:00:10 10:00:00:10
002  B001 V     D    005 05:00:00:02 05:00:00:12 10:00:00:10 10:00:00:20
* TO CLIP NAME: other
003  NONE V     C        01:00:00:00 01:00:00:10 10:00:00:20 10:00:01:06
`;

const PLAIN = `TITLE: PLAIN
FCM: NON-DROP FRAME
001  A001 V     C        01:00:00:10 01:00:00:20 10:00:00:00 10:00:00:10
002  A001 V     C        01:00:01:02 01:00:01:05 10:00:00:10 10:00:00:13
`;

const upTo = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

test('a list becomes files with handles, named, and a report', async () => {
  const media = new Map<string, PullMedium>();
  for (const [reel, codec, label] of [
    ['A001', 'prores', '01:00:00:00'],
    ['B001', 'h264', '05:00:00:00'],
  ] as const) {
    const path = join(folder, `${reel}.mov`);
    await makeClip(path, {
      width: 256,
      height: 144,
      frames: 40,
      codec,
      startTimecode: label,
      rate: RATES['23.976'],
      audioChannels: 1,
    });
    media.set(reel, { path, info: unwrap(await probe(path)) });
  }
  // The list is read at 24, the media run at 23.976: the labels are the same.
  const timeline = unwrap(edlToTimeline(unwrap(parseEdl(LIST, RATES['24']))));
  const items = pullItems(timeline);
  const directory = join(folder, 'out');
  const report = unwrap(
    await runPull(items, {
      directory,
      handles: 4,
      template: '{number}_{clip}',
      find: ({ reel }) => media.get(reel) ?? null,
    }),
  );
  expect(report).toMatchObject({ pulled: 2, failed: 1 });
  expect((await readdir(directory)).sort()).toEqual(['001_one_two.mov', '002_other.mov', 'report.csv', 'report.json']);
  // Ten frames, five more under the dissolve, four on each side; the second has only two frames before it.
  expect(await readFrameNumbers(join(directory, '001_one_two.mov'))).toEqual(upTo(6, 23));
  expect(await readFrameNumbers(join(directory, '002_other.mov'))).toEqual(upTo(0, 16));
  const rows = JSON.parse(await readFile(join(directory, 'report.json'), 'utf8')) as object[];
  expect(rows).toMatchObject([
    { file: '001_one_two.mov', method: 'COPY', startTimecode: '01:00:00:06', frames: 23, head: 4, tail: 4 },
    { file: '002_other.mov', method: 'ENCODE', head: 2, tail: 4, record: '10:00:00:10' },
    { error: 'BLOB_NOT_FOUND', reel: 'NONE' },
  ]);
  expect((await readFile(join(directory, 'report.csv'), 'utf8')).split('\r\n')).toHaveLength(5);
  expect(
    await runPull(items, { directory, find: () => media.get('A001')!, signal: AbortSignal.abort() }),
  ).toMatchObject({
    error: { code: 'MEDIA_CANCELLED' },
  });
}, 60_000);

test('CMX 3600, OpenTimelineIO and CSV say the same', async () => {
  const path = join(folder, 'same.mov');
  const size = { width: 256, height: 144, frames: 40, audioChannels: 1 };
  await makeClip(path, { ...size, codec: 'prores', rate: RATES['24'] });
  const info = unwrap(await probe(path));
  const timeline = unwrap(edlToTimeline(unwrap(parseEdl(PLAIN, RATES['24']))));
  const csv = 'reel,in,out\nA001,01:00:00:10,01:00:00:20\nA001,01:00:01:02,01:00:01:05\n';
  const lists = {
    edl: pullItems(timeline),
    otio: pullItems(unwrap(parseOtio(writeOtio(timeline)))),
    csv: unwrap(parsePullCsv(csv, RATES['24'])),
  };
  for (const [name, items] of Object.entries(lists)) {
    const directory = join(folder, name);
    const template = '{reel}_{event}_{in}-{out}';
    const report = unwrap(await runPull(items, { directory, handles: 2, template, find: () => ({ path, info }) }));
    expect(report).toMatchObject({ pulled: 2, failed: 0 });
    const files = (await readdir(directory)).filter((file) => file.endsWith('.mov')).sort();
    expect(files).toEqual(['A001_0010_01000010-01000020.mov', 'A001_0020_01000102-01000105.mov']);
    expect(await readFrameNumbers(join(directory, files[0]!))).toEqual(upTo(8, 14));
    expect(await readFrameNumbers(join(directory, files[1]!))).toEqual(upTo(24, 7));
  }
}, 60_000);

test('names can’t leave the folder nor meet', () => {
  const items = unwrap(
    parsePullCsv(
      'reel,clip,in,out\n../../x,"a, ""b""",01:00:00:00,01:00:01:00\n../../X,..,01:00:00:00,01:00:01:00\n',
      RATES['25'],
    ),
  );
  expect(items.map(({ clip, range }) => [clip, range.frames])).toEqual([
    ['a, "b"', 25],
    ['..', 25],
  ]);
  expect(unwrap(pullNames(items, '{reel}'))).toEqual(['__.._x', '__.._X-2']);
  expect(unwrap(pullNames(items, '{clip}'))).toEqual(['a_b_', '_']);
  expect(pullNames(items, '{shot}')).toMatchObject({ error: { code: 'EDITORIAL_INVALID' } });
});

test.each([
  ['reel,in\n', 'line 1'],
  ['reel,in,out\nA,01:00:00:00,01:00:00:99\n', 'line 2, field out'],
  ['reel,in,out\nA,01:00:00:00,01:00:00:00\n', 'line 2, field out'],
])('a list of ranges that is wrong: %j', (text, message) => {
  expect(parsePullCsv(text, RATES['25'])).toMatchObject({
    error: { code: 'EDITORIAL_INVALID', message: expect.stringContaining(message) },
  });
});
