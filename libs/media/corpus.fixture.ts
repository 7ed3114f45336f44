/** Files that no encoder makes: what cameras and recorders add, and sizes no disk holds. For specs only. */
import { execFile } from 'node:child_process';
import { copyFile, open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { runFfmpeg } from './ffmpeg/index.js';
import { unwrap } from './result.js';
import { makeClip, type ClipOptions } from './testmedia.js';

const TERABYTE = 2 ** 40;

type Nal = { readonly start: number; readonly end: number; readonly type: number };

/** NAL units of an Annex B stream; `end` excludes the next start code. */
function nalUnits(bytes: Buffer, codec: 'h264' | 'hevc'): Nal[] {
  const starts: number[] = [];
  for (let at = bytes.indexOf('\0\0\x01', 0, 'latin1'); at >= 0; at = bytes.indexOf('\0\0\x01', at + 3, 'latin1')) {
    starts.push(at + 3);
  }
  return starts.map((start, index) => {
    const next = starts[index + 1];
    return {
      start,
      end: next === undefined ? bytes.length : next - 3,
      type: codec === 'h264' ? bytes[start]! & 31 : (bytes[start]! >> 1) & 63,
    };
  });
}

/** One supplemental enhancement message (H.264 7.3.2.3, H.265 7.3.5) with its start code; emulation prevention is added. */
function seiNal(codec: 'h264' | 'hevc', type: number, payload: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from([type, payload.length]), payload, Buffer.from([0x80])]);
  const escaped: number[] = [];
  for (const byte of body) {
    if (byte <= 3 && escaped.at(-1) === 0 && escaped.at(-2) === 0) escaped.push(3);
    escaped.push(byte);
  }
  return Buffer.from([0, 0, 0, 1, ...(codec === 'h264' ? [6] : [0x4e, 1]), ...escaped]);
}

/** A clip whose every picture is preceded by a message. `file` is an MP4 or MOV. */
async function makeWithSei(
  file: string,
  codec: 'h264' | 'hevc',
  options: ClipOptions,
  message: (picture: number) => Buffer,
): Promise<void> {
  const plain = `${file}.plain.mkv`;
  await makeClip(plain, { startTimecode: null, audioChannels: 0, ...options, codec: 'ffv1' });
  const raw = `${file}.${codec}`;
  // No B-frames: a raw stream has no times of its own, so its order must be that of display.
  const encoder =
    codec === 'h264'
      ? ['-c:v', 'libx264', '-bf', '0', '-g', '12']
      : ['-c:v', 'libx265', '-x265-params', 'log-level=error:bframes=0'];
  const output = [...encoder, '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-f', codec, raw];
  unwrap(await runFfmpeg({ inputs: [{ path: plain, demuxer: 'matroska' }], output }));
  const bytes = await readFile(raw);
  const pieces: Buffer[] = [];
  let done = 0;
  let picture = 0;
  for (const { start, type } of nalUnits(bytes, codec)) {
    const isPicture = codec === 'h264' ? type === 1 || type === 5 : type < 32;
    // The first slice of a picture says so in its first bit (first_mb_in_slice = 0, first_slice_segment_in_pic_flag).
    if (!isPicture || (bytes[start + (codec === 'h264' ? 1 : 2)]! & 0x80) === 0) continue;
    const code = bytes[start - 4] === 0 ? start - 4 : start - 3;
    pieces.push(bytes.subarray(done, code), message(picture));
    done = code;
    picture += 1;
  }
  await writeFile(raw, Buffer.concat([...pieces, bytes.subarray(done)]));
  const rate = options.rate ?? { num: 24000, den: 1001 };
  await muxRaw(raw, codec, `${rate.num}/${rate.den}`, file);
}

/** A bare ffmpeg: raw streams are none of the runner's demuxers. */
async function muxRaw(raw: string, codec: string, rate: string, file: string): Promise<void> {
  const args = ['-v', 'error', '-y', '-fflags', '+genpts', '-r', rate, '-f', codec, '-i', raw, '-c', 'copy'];
  await promisify(execFile)('ffmpeg', [...args, ...(codec === 'hevc' ? ['-tag:v', 'hvc1'] : []), file]);
}

/** HEVC with the time code in its own messages (H.265 D.2.27), as some cameras and encoders write it. Non-drop. */
export function makeSeiTimecodeClip(file: string, label: string, options: ClipOptions = {}): Promise<void> {
  const [hours, minutes, seconds, frames] = label.split(':').map(Number) as [number, number, number, number];
  return makeWithSei(file, 'hevc', options, (picture) => {
    const fields: [value: number, bits: number][] = [
      ...([
        [1, 2],
        [1, 1],
        [0, 1],
        [0, 5],
        [1, 1],
        [0, 1],
        [0, 1],
      ] as [number, number][]),
      ...([
        [frames + picture, 9],
        [seconds, 6],
        [minutes, 6],
        [hours, 5],
        [0, 5],
        [1, 1],
      ] as [number, number][]),
    ];
    const bits = fields
      .map(([value, width]) => value.toString(2).padStart(width, '0'))
      .join('')
      .padEnd(48, '0');
    return seiNal('hevc', 136, Buffer.from(bits.match(/.{8}/g)!.map((byte) => Number.parseInt(byte, 2))));
  });
}

/** H.264 with CEA-708 captions in every picture (ATSC A/53 part 4): `text` is repeated, two characters a picture, on CC1. */
export function makeCaptionedClip(file: string, text: string, options: ClipOptions = {}): Promise<void> {
  const odd = (byte: number) => ([...byte.toString(2)].filter((bit) => bit === '1').length % 2 ? byte : byte | 0x80);
  return makeWithSei(file, 'h264', options, (picture) => {
    const pair = [0, 1].map((offset) => odd(text.charCodeAt((2 * picture + offset) % text.length) & 0x7f));
    const data = [0xb5, 0x00, 0x31, 0x47, 0x41, 0x39, 0x34, 0x03, 0x41, 0xff, 0xfc, ...pair, 0xff];
    return seiNal('h264', 4, Buffer.from(data));
  });
}

/** A MOV whose timecode track starts again in the middle: its one sample becomes two (ISO/IEC 14496-12, `stts`, `stsz`, `stsc`). */
export async function makeTimecodeBreak(source: string, file: string): Promise<void> {
  const bytes = await readFile(source);
  const track = bytes.lastIndexOf('trak', bytes.indexOf('mhlrtmcd', 0, 'latin1'), 'latin1');
  const table = (name: string) => bytes.indexOf(name, track, 'latin1') + 4;
  // After version and flags: one entry of one sample, as long as the film.
  const length = bytes.readUInt32BE(table('stts') + 12);
  bytes.writeUInt32BE(2, table('stts') + 8);
  bytes.writeUInt32BE(Math.floor(length / 2), table('stts') + 12);
  bytes.writeUInt32BE(2, table('stsz') + 8);
  bytes.writeUInt32BE(2, table('stsc') + 12);
  await writeFile(file, bytes);
}

/** A wave file with an iXML chunk after the sound, and BWF data before it. */
export async function makeIxmlWave(file: string, timeReference: number, ixml: string): Promise<void> {
  const tags = ['-write_bext', '1', '-metadata', `time_reference=${timeReference}`, '-metadata', 'originator=Recorder'];
  unwrap(await runFfmpeg({ inputs: [{ lavfi: 'sine=duration=1:sample_rate=48000' }], output: [...tags, file] }));
  const text = Buffer.from(ixml.length % 2 ? `${ixml} ` : ixml);
  const chunk = Buffer.concat([Buffer.from('iXML'), Buffer.alloc(4), text]);
  chunk.writeUInt32LE(text.length, 4);
  const bytes = Buffer.concat([await readFile(file), chunk]);
  bytes.writeUInt32LE(bytes.length - 8, 4);
  await writeFile(file, bytes);
}

/**
 * A terabyte MOV, of which the disk keeps a few kilobytes: the media data is made longer by a hole, the headers come after it.
 * Needs a clip written without faststart.
 */
export async function makeHugeMov(source: string, file: string): Promise<void> {
  await copyFile(source, file);
  const bytes = await readFile(source);
  const mdat = bytes.indexOf('mdat', 0, 'latin1') - 4;
  const moov = bytes.indexOf('moov', mdat, 'latin1') - 4;
  if (bytes.toString('latin1', mdat - 4, mdat) !== 'wide' || moov < mdat) throw new Error('not laid out as expected');
  const header = Buffer.alloc(16);
  header.writeUInt32BE(1, 0);
  header.write('mdat', 4, 'latin1');
  header.writeBigUInt64BE(BigInt(TERABYTE - (mdat - 8)), 8);
  await truncate(file, moov);
  await truncate(file, TERABYTE);
  await writeAt(file, header, mdat - 8);
  await writeAt(file, bytes.subarray(moov), TERABYTE);
}

/** A terabyte MXF: a fill item (SMPTE ST 377-1) of that length before the random index pack. */
export async function makeHugeMxf(source: string, file: string): Promise<void> {
  await copyFile(source, file);
  const bytes = await readFile(source);
  const rip = bytes.length - bytes.readUInt32BE(bytes.length - 4);
  const fill = Buffer.concat([
    Buffer.from('060e2b34010101010301021001000000', 'hex'),
    Buffer.from([0x88]),
    Buffer.alloc(8),
  ]);
  fill.writeBigUInt64BE(BigInt(TERABYTE), 17);
  await truncate(file, rip);
  await writeAt(file, fill, rip);
  await writeAt(file, bytes.subarray(rip), rip + fill.length + TERABYTE);
}

/** A terabyte RF64 wave file (EBU Tech 3306): silence in a hole. 48 kHz, two channels, 16 bits. */
export async function makeHugeWave(file: string): Promise<void> {
  const head = Buffer.alloc(80);
  head.write('RF64', 0, 'latin1');
  head.writeUInt32LE(0xffff_ffff, 4);
  head.write('WAVEds64', 8, 'latin1');
  head.writeUInt32LE(28, 16);
  head.writeBigUInt64LE(BigInt(TERABYTE + 72), 20);
  head.writeBigUInt64LE(BigInt(TERABYTE), 28);
  head.writeBigUInt64LE(BigInt(TERABYTE / 4), 36);
  head.write('fmt ', 48, 'latin1');
  head.writeUInt32LE(16, 52);
  [1, 2].forEach((value, index) => head.writeUInt16LE(value, 56 + 2 * index));
  head.writeUInt32LE(48_000, 60);
  head.writeUInt32LE(192_000, 64);
  [4, 16].forEach((value, index) => head.writeUInt16LE(value, 68 + 2 * index));
  head.write('data', 72, 'latin1');
  head.writeUInt32LE(0xffff_ffff, 76);
  await writeFile(file, head);
  await truncate(file, TERABYTE + head.length);
}

/** A terabyte Matroska: a Void element (RFC 9559) of that length behind everything. */
export async function makeHugeMkv(source: string, file: string): Promise<void> {
  await copyFile(source, file);
  const element = Buffer.alloc(9);
  element.writeBigUInt64BE((1n << 56n) | BigInt(TERABYTE), 1);
  element[0] = 0xec;
  const { size } = await stat(file);
  await writeAt(file, element, size);
  await truncate(file, size + element.length + TERABYTE);
}

async function writeAt(file: string, bytes: Buffer, position: number): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(bytes, 0, bytes.length, position);
  } finally {
    await handle.close();
  }
}
