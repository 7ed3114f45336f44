import { SNIFF_BYTES, sniff } from './sniff.js';

const hex = (text: string) => Buffer.concat([Buffer.from(text.replace(/\s/g, ''), 'hex'), Buffer.alloc(64)]);
const latin = (text: string) => Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(64)]);

test.each([
  ['PNG', 'IMAGE', 'png_pipe', hex('89504e470d0a1a0a')],
  ['JPEG', 'IMAGE', 'jpeg_pipe', hex('ffd8ffe000104a464946')],
  ['TIFF', 'IMAGE', 'tiff_pipe', hex('49492a0008000000')],
  ['TIFF', 'IMAGE', 'tiff_pipe', hex('4d4d002a00000008')],
  ['WEBP', 'IMAGE', 'webp_pipe', latin('RIFF\x10\0\0\0WEBPVP8 ')],
  ['WAV', 'AUDIO', 'wav', latin('RIFF\x10\0\0\0WAVEfmt ')],
  ['WAV', 'AUDIO', 'wav', latin('RF64\xff\xff\xff\xffWAVEds64')],
  ['MP4', 'VIDEO', 'mov', latin('\0\0\0\x18ftypisom')],
  ['MOV', 'VIDEO', 'mov', latin('\0\0\0\x14ftypqt  ')],
  ['MOV', 'VIDEO', 'mov', latin('\0\0\x10\0moov\0\0\0\x6cmvhd')],
  ['MKV', 'VIDEO', 'matroska', hex('1a45dfa3a34286810142f7810142f2810442f381084282886d6174726f736b61')],
  ['WEBM', 'VIDEO', 'matroska', hex('1a45dfa39f4286810142f7810142f2810442f38108428284 7765626d')],
  ['MXF', 'VIDEO', 'mxf', hex('060e2b34020501010d01020101020400')],
  ['FLAC', 'AUDIO', 'flac', latin('fLaC\0\0\0\x22')],
  ['OGG', 'AUDIO', 'ogg', latin('OggS\0\x02')],
  ['MP3', 'AUDIO', 'mp3', latin('ID3\x04\0\0\0\x0f\x7f\x7f')],
] as const)('%s', (container, kind, demuxer, head) => {
  expect(sniff(head)).toMatchObject({ ok: true, value: { container, kind, demuxer } });
});

test('frames without a header need a second one where the first ends', () => {
  // 128 kb/s at 44.1 kHz: 417 bytes.
  const mp3 = Buffer.alloc(SNIFF_BYTES);
  Buffer.from('fffb9000', 'hex').copy(mp3);
  expect(sniff(mp3).ok).toBe(false);
  Buffer.from('fffb9000', 'hex').copy(mp3, 417);
  expect(sniff(mp3)).toMatchObject({ value: { container: 'MP3' } });
  const aac = Buffer.alloc(SNIFF_BYTES);
  Buffer.from('fff15080 2e1ffc'.replace(' ', ''), 'hex').copy(aac);
  expect(sniff(aac).ok).toBe(false);
  Buffer.from('fff150802e1ffc', 'hex').copy(aac, ((0x80 & 3) << 11) | (0x2e << 3) | (0x1f >> 5));
  expect(sniff(aac)).toMatchObject({ value: { container: 'AAC' } });
});

test.each([
  ['text', latin('Dear reader, this is a film.')],
  ['HLS playlist', latin('#EXTM3U\n#EXTINF:2,\nfile.mp4\n')],
  ['ffconcat', latin("ffconcat version 1.0\nfile 'x'\n")],
  ['DASH', latin('<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">')],
  ['SDP', latin('v=0\no=- 0 0 IN IP4 127.0.0.1\n')],
  ['SVG', latin('<svg xmlns="http://www.w3.org/2000/svg">')],
  ['HEIC', latin('\0\0\0\x18ftypheic')],
  ['AVI', latin('RIFF\x10\0\0\0AVI LIST')],
  ['another EBML type', hex('1a45dfa38b4282886e6f746d6b76')],
  ['MPEG-TS', Buffer.concat([Buffer.from([0x47, 0x40, 0, 0x10]), Buffer.alloc(184, 0xff), Buffer.from([0x47])])],
  ['one byte', Buffer.from([0xff])],
  ['zeros', Buffer.alloc(SNIFF_BYTES)],
] as const)('%s is refused', (_name, head) => {
  expect(sniff(head)).toMatchObject({ ok: false, error: { code: 'UNSUPPORTED_MEDIA' } });
});

test('nothing is EMPTY_FILE', () => {
  expect(sniff(new Uint8Array())).toMatchObject({ error: { code: 'EMPTY_FILE' } });
});
