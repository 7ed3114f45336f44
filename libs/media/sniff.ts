/** What a file is by its first bytes. The file name is never asked. */
import { open } from 'node:fs/promises';
import { fail, ok, type Result } from './result.js';

export type MediaKind = 'VIDEO' | 'AUDIO' | 'IMAGE';

export type Container =
  'PNG' | 'TIFF' | 'JPEG' | 'WEBP' | 'MP4' | 'MOV' | 'MXF' | 'MKV' | 'WEBM' | 'WAV' | 'FLAC' | 'MP3' | 'AAC' | 'OGG';

/** The demuxers of ffmpeg that are ever allowed, by the name `-f` takes. None of them opens another file. */
export type Demuxer =
  | 'png_pipe'
  | 'tiff_pipe'
  | 'jpeg_pipe'
  | 'webp_pipe'
  | 'mov'
  | 'mxf'
  | 'matroska'
  | 'wav'
  | 'flac'
  | 'mp3'
  | 'aac'
  | 'ogg';

export interface Sniffed {
  /** By the container alone; the probe corrects it (an MP4 with sound only is AUDIO). */
  readonly kind: MediaKind;
  readonly container: Container;
  readonly demuxer: Demuxer;
  readonly mime: string;
}

/** Bytes {@link sniff} wants to see. */
export const SNIFF_BYTES = 8192;

const FORMATS: Readonly<Record<Container, Sniffed>> = {
  PNG: { kind: 'IMAGE', container: 'PNG', demuxer: 'png_pipe', mime: 'image/png' },
  TIFF: { kind: 'IMAGE', container: 'TIFF', demuxer: 'tiff_pipe', mime: 'image/tiff' },
  JPEG: { kind: 'IMAGE', container: 'JPEG', demuxer: 'jpeg_pipe', mime: 'image/jpeg' },
  WEBP: { kind: 'IMAGE', container: 'WEBP', demuxer: 'webp_pipe', mime: 'image/webp' },
  MP4: { kind: 'VIDEO', container: 'MP4', demuxer: 'mov', mime: 'video/mp4' },
  MOV: { kind: 'VIDEO', container: 'MOV', demuxer: 'mov', mime: 'video/quicktime' },
  MXF: { kind: 'VIDEO', container: 'MXF', demuxer: 'mxf', mime: 'application/mxf' },
  MKV: { kind: 'VIDEO', container: 'MKV', demuxer: 'matroska', mime: 'video/x-matroska' },
  WEBM: { kind: 'VIDEO', container: 'WEBM', demuxer: 'matroska', mime: 'video/webm' },
  WAV: { kind: 'AUDIO', container: 'WAV', demuxer: 'wav', mime: 'audio/wav' },
  FLAC: { kind: 'AUDIO', container: 'FLAC', demuxer: 'flac', mime: 'audio/flac' },
  MP3: { kind: 'AUDIO', container: 'MP3', demuxer: 'mp3', mime: 'audio/mpeg' },
  AAC: { kind: 'AUDIO', container: 'AAC', demuxer: 'aac', mime: 'audio/aac' },
  OGG: { kind: 'AUDIO', container: 'OGG', demuxer: 'ogg', mime: 'audio/ogg' },
};

/** The accepted format of a container name, for instance one read back from {@link Sniffed}. */
export function formatOf(container: Container): Sniffed {
  return FORMATS[container];
}

/** Brands of ISO base media files that are stills or camera raw, not moving pictures. */
const STILL_BRANDS = new Set([
  'heic',
  'heix',
  'heim',
  'heis',
  'mif1',
  'msf1',
  'avif',
  'avis',
  'crx ',
  'jp2 ',
  'jpx ',
  'jxl ',
]);
/** First atoms of QuickTime files older than `ftyp`. */
const QUICKTIME_ATOMS = new Set(['moov', 'mdat', 'wide', 'free', 'skip', 'pnot']);

/** Refuses with EMPTY_FILE or UNSUPPORTED_MEDIA. `head` is the first {@link SNIFF_BYTES} bytes, or the whole of a shorter file. */
export function sniff(head: Uint8Array): Result<Sniffed> {
  if (head.length === 0) return fail('EMPTY_FILE', 'The file is empty.');
  const container = containerOf(Buffer.from(head.buffer, head.byteOffset, head.byteLength));
  if (container) return ok(FORMATS[container]);
  return fail(
    'UNSUPPORTED_MEDIA',
    'The content is none of PNG, TIFF, JPEG, WebP, MP4, MOV, MXF, MKV, WebM, WAV, FLAC, MP3, AAC or OGG.',
  );
}

function containerOf(head: Buffer): Container | null {
  const ascii = (start: number, end: number) => head.toString('latin1', start, end);
  const hex = (end: number) => head.toString('hex', 0, end);
  if (hex(8) === '89504e470d0a1a0a') return 'PNG';
  if (hex(3) === 'ffd8ff') return 'JPEG';
  if (hex(4) === '49492a00' || hex(4) === '4d4d002a' || hex(4) === '49492b00' || hex(4) === '4d4d002b') return 'TIFF';
  const riff = ascii(0, 4);
  if (riff === 'RIFF' && ascii(8, 12) === 'WEBP') return 'WEBP';
  // RF64 and BW64 are WAV beyond 4 GB (EBU Tech 3306, ITU-R BS.2088).
  if (['RIFF', 'RF64', 'BW64'].includes(riff) && ascii(8, 12) === 'WAVE') return 'WAV';
  if (ascii(4, 8) === 'ftyp') {
    const brand = ascii(8, 12);
    if (STILL_BRANDS.has(brand)) return null;
    return brand === 'qt  ' ? 'MOV' : 'MP4';
  }
  if (head.length >= 16 && QUICKTIME_ATOMS.has(ascii(4, 8))) return 'MOV';
  if (hex(4) === '1a45dfa3') {
    // EBML: the document type (element 42 82) is near the start and decides between Matroska, WebM and what is neither.
    const at = head.indexOf(Buffer.from([0x42, 0x82]));
    if (at < 0 || at > 256) return null;
    const length = head[at + 2]! & 0x7f;
    const type = ascii(at + 3, at + 3 + length).replace(/\0+$/, '');
    return type === 'webm' ? 'WEBM' : type === 'matroska' ? 'MKV' : null;
  }
  // The header partition pack key (SMPTE ST 377-1); a run-in of up to 65,535 bytes may come first, we look as far as we see.
  const mxf = head.indexOf(Buffer.from('060e2b34020501010d01020101', 'hex'));
  if (mxf >= 0) return 'MXF';
  if (ascii(0, 4) === 'fLaC') return 'FLAC';
  if (ascii(0, 4) === 'OggS') return 'OGG';
  if (ascii(0, 3) === 'ID3' && head.length >= 10) {
    const size = (head[6]! << 21) | (head[7]! << 14) | (head[8]! << 7) | head[9]!;
    const after = 10 + size;
    // Tags come before MP3 nearly always, before ADTS and FLAC sometimes. A tag longer than what we see is taken for MP3.
    if (ascii(after, after + 4) === 'fLaC') return 'FLAC';
    if (adtsFrameLength(head, after)) return 'AAC';
    return after + 4 > head.length || mp3FrameLength(head, after) ? 'MP3' : null;
  }
  // Weak signatures: a second frame must follow where the first says it ends (unless the file ends there).
  const adts = adtsFrameLength(head, 0);
  if (adts) return follows(head, adts, adtsFrameLength) ? 'AAC' : null;
  const mp3 = mp3FrameLength(head, 0);
  if (mp3) return follows(head, mp3, mp3FrameLength) ? 'MP3' : null;
  return null;
}

function follows(head: Buffer, at: number, frameLength: (head: Buffer, at: number) => number): boolean {
  if (at === head.length) return true;
  return at + 10 <= head.length && frameLength(head, at) > 0;
}

/** Length in bytes of the ADTS frame at `at` (ISO/IEC 13818-7), 0 when there is none. */
function adtsFrameLength(head: Buffer, at: number): number {
  if (at + 7 > head.length || head[at] !== 0xff || (head[at + 1]! & 0xf6) !== 0xf0) return 0;
  if (((head[at + 2]! >> 2) & 15) > 12) return 0;
  const length = ((head[at + 3]! & 3) << 11) | (head[at + 4]! << 3) | (head[at + 5]! >> 5);
  return length >= 7 ? length : 0;
}

const LAYER_3_KBPS = [
  [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
] as const;

/** Length in bytes of the MPEG layer III frame at `at` (ISO/IEC 11172-3, 13818-3), 0 when there is none. */
function mp3FrameLength(head: Buffer, at: number): number {
  if (at + 4 > head.length || head[at] !== 0xff || (head[at + 1]! & 0xe0) !== 0xe0) return 0;
  const version = (head[at + 1]! >> 3) & 3; // 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
  const layer = (head[at + 1]! >> 1) & 3; // 1: layer III
  const rates = [44100, 48000, 32000] as const;
  const rate = rates[(head[at + 2]! >> 2) & 3];
  const kbps = LAYER_3_KBPS[version === 3 ? 0 : 1][head[at + 2]! >> 4];
  if (version === 1 || layer !== 1 || !rate || !kbps) return 0;
  const sampleRate = version === 3 ? rate : version === 2 ? rate / 2 : rate / 4;
  const padding = (head[at + 2]! >> 1) & 1;
  return Math.floor(((version === 3 ? 144_000 : 72_000) * kbps) / sampleRate) + padding;
}

/** {@link sniff} on a file, or on what begins at `offset` in it. Rejects with the file system's error when the file can't be read. */
export async function sniffFile(file: string, offset = 0): Promise<Result<Sniffed>> {
  const handle = await open(file, 'r');
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(SNIFF_BYTES), 0, SNIFF_BYTES, offset);
    return sniff(buffer.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}
