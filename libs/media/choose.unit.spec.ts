import fc from 'fast-check';
import { chooseFile, USES, type Candidate } from './choose.js';

const file = (name: string, role: string, more: Partial<Candidate> = {}): Candidate => ({
  name,
  role,
  mime: 'video/mp4',
  size: 1_000_000,
  ...more,
});
const hls = (name: string, height: number, bitrate: number, ssim?: number) =>
  file(name, 'HLS_SEGMENTS', { width: (height * 16) / 9, height, bitrate, ssim });
const SET: Candidate[] = [
  file('master.m3u8', 'HLS_MASTER', { size: 500 }),
  hls('v0.mp4', 1080, 4_500_000, 0.98),
  hls('v1.mp4', 540, 1_400_000, 0.96),
  hls('v2.mp4', 270, 400_000, 0.8),
  file('a0.mp4', 'HLS_SEGMENTS', { bitrate: 128_000 }),
  file('proxy.mp4', 'PROXY', { width: 854, height: 480, bitrate: 1_000_000 }),
  file('sprites.jpg', 'SPRITES', { width: 1600, height: 900, size: 300_000 }),
  file('poster.jpg', 'POSTER', { width: 1920, height: 1080 }),
  file('thumbnail.jpg', 'THUMBNAIL', { width: 320, height: 180 }),
  file('editorial.mov', 'EDITORIAL', { width: 1280, height: 720, bitrate: 30_000_000 }),
];
const ORIGINAL = file('original', 'ORIGINAL', { width: 3840, height: 2160, size: 9_000_000_000 });

test.each([
  // A fast line and a large screen; a large screen on a slow line; a phone on a fast one.
  ['REVIEW', { bandwidth: 20e6 }, 'master.m3u8', 'v0.mp4', true],
  ['REVIEW', { bandwidth: 3e6 }, 'master.m3u8', 'v1.mp4', true],
  ['REVIEW', { bandwidth: 20e6, height: 500 }, 'master.m3u8', 'v1.mp4', true],
  ['REVIEW', { bandwidth: 20e6, height: 2160 }, 'master.m3u8', 'v0.mp4', true],
  // 400 kb/s would be carried, but is measured to be too bad to judge a picture by.
  ['REVIEW', { bandwidth: 600_000 }, 'master.m3u8', 'v1.mp4', false],
  ['REVIEW', {}, 'master.m3u8', 'v0.mp4', true],
  ['SCRUB', { bandwidth: 5e6 }, 'proxy.mp4', null, true],
  ['SCRUB', { bandwidth: 300_000, seconds: 60 }, 'sprites.jpg', null, true],
  ['EDIT', { bandwidth: 100e6 }, 'editorial.mov', null, true],
  ['EDIT', { bandwidth: 10e6 }, 'editorial.mov', null, false],
  ['THUMBNAIL', { width: 160 }, 'thumbnail.jpg', null, true],
  ['DOWNLOAD', { bandwidth: 1e9, seconds: 600 }, 'original', null, true],
] as const)('%s with %j', (use, client, name, rendition, fits) => {
  const choice = chooseFile(use, [...SET, ORIGINAL], client)!;
  expect([choice.file.name, choice.rendition?.name ?? null, choice.fits]).toEqual([name, rendition, fits]);
});

test('what was passed over is told with the reason', () => {
  expect(chooseFile('REVIEW', SET, { bandwidth: 3e6 })!.refused).toEqual([
    { name: 'v2.mp4', reason: 'BELOW_QUALITY' },
    { name: 'v0.mp4', reason: 'ABOVE_BANDWIDTH' },
  ]);
});

test('who may not have the original gets the best copy; of nothing nothing is chosen', () => {
  expect(chooseFile('DOWNLOAD', SET)!.file.name).toBe('editorial.mov');
  expect(
    chooseFile(
      'THUMBNAIL',
      SET.filter(({ role }) => role === 'HLS_SEGMENTS'),
    ),
  ).toBeNull();
  for (const use of USES) expect(chooseFile(use, [])).toBeNull();
});

test('a rendition below the floor is taken only when no other serves the use', () => {
  const bad = [SET[0]!, hls('v2.mp4', 270, 400_000, 0.8)];
  expect(chooseFile('REVIEW', bad)!.rendition!.name).toBe('v2.mp4');
});

test('more bandwidth never gives fewer pixels, and what fits is carried', () => {
  const rung = fc.record({
    height: fc.integer({ min: 2, max: 2160 }),
    bitrate: fc.integer({ min: 1, max: 1e8 }),
    ssim: fc.double({ min: 0.5, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(
      fc.array(rung, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 1e8 }),
      fc.integer({ min: 1, max: 1e8 }),
      (rungs, one, other) => {
        // A larger rung has more bits, as ladders have it.
        const bits = rungs.map(({ bitrate }) => bitrate).sort((a, b) => a - b);
        const files = [
          SET[0]!,
          ...rungs
            .sort((a, b) => a.height - b.height)
            .map(({ height, ssim }, i) => hls(`v${i}`, height, bits[i]!, ssim)),
        ];
        const [low, high] = [Math.min(one, other), Math.max(one, other)].map((bandwidth) =>
          chooseFile('REVIEW', files, { bandwidth })!,
        );
        expect(high!.rendition!.height!).toBeGreaterThanOrEqual(low!.rendition!.height!);
        if (high!.fits) expect(high!.rendition!.bitrate! / Math.max(one, other)).toBeLessThanOrEqual(0.75);
      },
    ),
  );
});
