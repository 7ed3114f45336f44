import fc from 'fast-check';
import { masterPlaylist, parseMediaPlaylist, spriteCues } from './hls.js';
import { fitInside, rungSizes } from './ladder.js';
import { RATES } from './timecode.js';

test.each([
  [3840, 2160, 1920, 1080, 960, 540],
  [1920, 1080, 1920, 1080, 960, 540],
  [1280, 720, 1280, 720, 960, 540],
  [640, 360, 640, 360, 320, 180],
  [641, 361, 640, 360, 320, 180],
  [1080, 1920, 1080, 1920, 540, 960],
  [4096, 1716, 1920, 804, 960, 402],
])('%d × %d gets %d × %d and %d × %d', (width, height, topWidth, topHeight, lowWidth, lowHeight) => {
  expect(rungSizes({ width, height })).toEqual([
    { width: topWidth, height: topHeight },
    { width: lowWidth, height: lowHeight },
  ]);
});

test('sizes are even, inside the box, never larger than the picture and of its shape', () => {
  const side = fc.integer({ min: 16, max: 10_000 });
  fc.assert(
    fc.property(side, side, (width, height) => {
      const size = fitInside({ width, height }, { width: 1920, height: 1080 });
      expect((size.width % 2) + (size.height % 2)).toBe(0);
      expect(Math.max(size.width, size.height)).toBeLessThanOrEqual(1920);
      expect(Math.min(size.width, size.height)).toBeLessThanOrEqual(1080);
      expect(size.width).toBeLessThanOrEqual(width);
      expect(size.height).toBeLessThanOrEqual(height);
      const scale = Math.min(size.width / width, size.height / height);
      expect(Math.abs(size.width - width * scale)).toBeLessThanOrEqual(3 + 3 * (width / height));
    }),
  );
  expect(fitInside({ width: 100_000, height: 2 }, { width: 1920, height: 1080 })).toEqual({ width: 1920, height: 2 });
});

const playlist = (end: string) =>
  `#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MAP:URI="a.mp4",BYTERANGE="800@0"\n#EXTINF:2.002000,\n#EXT-X-BYTERANGE:1000@800\na.mp4\n` +
  `#EXTINF:0.5,\n#EXT-X-BYTERANGE:400@1800\na.mp4\n${end}`;

test('a media playlist is read back, and a cut one is known', () => {
  expect(parseMediaPlaylist(playlist('#EXT-X-ENDLIST\n'))).toEqual({
    complete: true,
    bytes: 2200,
    segments: [
      { seconds: 2.002, bytes: 1000, offset: 800 },
      { seconds: 0.5, bytes: 400, offset: 1800 },
    ],
  });
  expect(parseMediaPlaylist(playlist(''))?.complete).toBe(false);
  expect(parseMediaPlaylist('hello')).toBeNull();
  expect(parseMediaPlaylist('#EXTM3U\n')).toBeNull();
});

test('the multivariant playlist tells measured rates and shares the sound', () => {
  const segments = [{ seconds: 2, bytes: 250_000, offset: 0 }];
  const text = masterPlaylist(
    [
      { playlist: 'v0.m3u8', codec: 'avc1.640028', width: 1920, height: 1080, segments },
      { playlist: 'a0.m3u8', codec: 'mp4a.40.2', segments: [{ seconds: 2, bytes: 32_000, offset: 0 }] },
    ],
    RATES['23.976'],
  );
  expect(text).toContain('URI="a0.m3u8"');
  expect(text).toContain(
    'BANDWIDTH=1128000,AVERAGE-BANDWIDTH=1128000,RESOLUTION=1920x1080,FRAME-RATE=23.976,CODECS="avc1.640028,mp4a.40.2",AUDIO="sound"\nv0.m3u8',
  );
});

test('sprite cues walk through the sheet', () => {
  const cues = spriteCues({
    name: 's.jpg',
    tileWidth: 160,
    tileHeight: 90,
    columns: 10,
    step: 24,
    frames: 275,
    seconds: 11,
  });
  expect(cues).toContain('00:00:09.600 --> 00:00:10.560\ns.jpg#xywh=0,90,160,90');
  expect(cues).toContain('00:00:10.560 --> 00:00:11.000\ns.jpg#xywh=160,90,160,90');
  expect(cues.match(/-->/g)).toHaveLength(12);
});
