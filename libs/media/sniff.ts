/** What a file is by its first bytes. The file name is never asked. */
import type { Result } from './result.js';

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

/** Refuses with EMPTY_FILE or UNSUPPORTED_MEDIA. `head` is the first {@link SNIFF_BYTES} bytes, or the whole of a shorter file. */
export declare function sniff(head: Uint8Array): Result<Sniffed>;
/** {@link sniff} on a file. Rejects with the file system's error when the file can't be read. */
export declare function sniffFile(file: string): Promise<Result<Sniffed>>;
