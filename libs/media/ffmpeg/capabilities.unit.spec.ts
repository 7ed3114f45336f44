import { parseCodecs, parseFilters, parseFormats, parseVersion } from './capabilities.js';

test.each([
  ['ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2025 the FFmpeg developers', '5.1.9-0+deb12u1', 5],
  ['ffmpeg version n7.1 Copyright (c) 2000-2024 the FFmpeg developers', 'n7.1', 7],
  [
    'ffmpeg version 9.0-full_build-www.gyan.dev Copyright (c) 2000-2026 the FFmpeg developers',
    '9.0-full_build-www.gyan.dev',
    9,
  ],
  ['ffmpeg version N-125307-gd66e84695b-20260626 Copyright (c) 2000-2026', 'N-125307-gd66e84695b-20260626', null],
])('%s', (line, version, major) => {
  expect(parseVersion(line)).toEqual({ version, major });
});

// Lines as 5.1.9 and 7.1 print them.
test('codecs, filters and formats are read from the listings of old and new majors', () => {
  const codecs = `Encoders:
 V..... = Video
 ------
 V....D h264_nvenc           NVIDIA NVENC H.264 encoder (codec h264)
 V..... libsvtav1            SVT-AV1(Scalable Video Technology for AV1) encoder (codec av1)
 VFS..D dnxhd                VC3/DNxHD
 A....D pcm_s24le            PCM signed 24-bit little-endian
`;
  expect([...parseCodecs(codecs)]).toEqual(['h264_nvenc', 'libsvtav1', 'dnxhd', 'pcm_s24le']);
  const five = ` | = Source or sink filter\n T.C colorbalance      V->V       Adjust the color balance.\n ... abuffer           |->A       Buffer audio frames.\n`;
  const seven = ` ... acopy             A->A       (null)\n T.C adelay            A->A       (null)\n`;
  const eight = ` .. acopy             A->A       Copy the input audio unchanged to the output.\n TS bwdif             V->V       Deinterlace the input image.\n`;
  expect([five, seven, eight].map((text) => [...parseFilters(text)])).toEqual([
    ['colorbalance', 'abuffer'],
    ['acopy', 'adelay'],
    ['acopy', 'bwdif'],
  ]);
  const formats5 = `File formats:\n D. = Demuxing supported\n .E = Muxing supported\n --\n D  aac             raw ADTS AAC\n  E a64             a64 - video\n DE matroska,webm   Matroska / WebM\n`;
  const formats7 = `Formats:\n D.. = Demuxing supported\n ..d = Is a device\n ---\n D   aac              \n  E  adts             \n  Ed fbdev            \n DE  matroska,webm    Matroska / WebM\n`;
  expect([...parseFormats(formats5, 'D')]).toEqual(['aac', 'matroska', 'webm']);
  expect([...parseFormats(formats5, 'E')]).toEqual(['a64', 'matroska', 'webm']);
  expect([...parseFormats(formats7, 'D')]).toEqual(['aac', 'matroska', 'webm']);
  expect([...parseFormats(formats7, 'E')]).toEqual(['adts', 'fbdev', 'matroska', 'webm']);
});
