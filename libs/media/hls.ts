/** The few lines of HLS (RFC 8216) and WebVTT that ffmpeg does not write for us. Pure. */
import type { Rate } from './timecode.js';

export interface Segment {
  /** Seconds, as declared by EXTINF. */
  readonly seconds: number;
  readonly bytes: number;
  readonly offset: number;
}

export interface MediaPlaylist {
  readonly segments: readonly Segment[];
  /** Whether it ends with EXT-X-ENDLIST. */
  readonly complete: boolean;
  /** Where the last byte range ends: the size of the one file they are in. */
  readonly bytes: number;
}

/** A media playlist of byte ranges in one file; null when it is something else. */
export function parseMediaPlaylist(text: string): MediaPlaylist | null {
  const lines = text.split(/\r?\n/);
  if (lines[0] !== '#EXTM3U') return null;
  const segments: Segment[] = [];
  let seconds: number | null = null;
  for (const line of lines) {
    const duration = /^#EXTINF:([\d.]+)/.exec(line);
    if (duration) seconds = Number(duration[1]);
    const range = /^#EXT-X-BYTERANGE:(\d+)@(\d+)$/.exec(line);
    if (range && seconds !== null) {
      segments.push({ seconds, bytes: Number(range[1]), offset: Number(range[2]) });
      seconds = null;
    }
  }
  const last = segments.at(-1);
  if (!last) return null;
  return { segments, complete: lines.includes('#EXT-X-ENDLIST'), bytes: last.offset + last.bytes };
}

export interface Rendition {
  readonly playlist: string;
  readonly codec: string;
  /** Absent for sound. */
  readonly width?: number;
  readonly height?: number;
  readonly segments: readonly Segment[];
}

/** The multivariant playlist: the measured peak and average of each rendition, the sound shared by all. */
export function masterPlaylist(renditions: readonly Rendition[], rate: Rate | null): string {
  const sound = renditions.find((rendition) => !rendition.width);
  const pictures = renditions.filter((rendition) => rendition.width);
  const lines = ['#EXTM3U', '#EXT-X-VERSION:7', '#EXT-X-INDEPENDENT-SEGMENTS'];
  if (sound && pictures.length > 0) {
    lines.push(
      `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="Stereo",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="${sound.playlist}"`,
    );
  }
  for (const rendition of pictures.length > 0 ? pictures : renditions) {
    const shared = sound && sound !== rendition ? sound : null;
    const attributes = [
      `BANDWIDTH=${peakBitrate(rendition) + (shared ? peakBitrate(shared) : 0)}`,
      `AVERAGE-BANDWIDTH=${averageBitrate(rendition) + (shared ? averageBitrate(shared) : 0)}`,
      ...(rendition.width ? [`RESOLUTION=${rendition.width}x${rendition.height}`] : []),
      ...(rendition.width && rate ? [`FRAME-RATE=${(rate.num / rate.den).toFixed(3)}`] : []),
      `CODECS="${[rendition.codec, ...(shared ? [shared.codec] : [])].join(',')}"`,
      ...(shared ? ['AUDIO="sound"'] : []),
    ];
    lines.push(`#EXT-X-STREAM-INF:${attributes.join(',')}`, rendition.playlist);
  }
  return `${lines.join('\n')}\n`;
}

function averageBitrate({ segments }: Rendition): number {
  const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  const seconds = segments.reduce((sum, segment) => sum + segment.seconds, 0);
  return Math.ceil((bytes * 8) / Math.max(seconds, 0.001));
}

/** The largest of any segment; a short last one counts over a whole second, as its container's overhead is no rate. */
function peakBitrate(rendition: Rendition): number {
  const peak = Math.max(
    ...rendition.segments.map(({ bytes, seconds }) => Math.ceil((bytes * 8) / Math.max(seconds, 1))),
  );
  return Math.max(peak, averageBitrate(rendition));
}

export interface SpriteSheet {
  readonly name: string;
  /** Size of one picture in the sheet, pixels. */
  readonly tileWidth: number;
  readonly tileHeight: number;
  readonly columns: number;
  /** Frames from one picture to the next. */
  readonly step: number;
}

/** WebVTT with one cue per picture of a sprite sheet, addressed by media fragment (`#xywh=`). */
export function spriteCues(sheet: SpriteSheet & { frames: number; seconds: number }): string {
  const count = Math.ceil(sheet.frames / sheet.step);
  const perFrame = sheet.seconds / sheet.frames;
  const cues = Array.from({ length: count }, (_, index) => {
    const from = index * sheet.step * perFrame;
    const to = Math.min(sheet.frames, (index + 1) * sheet.step) * perFrame;
    const x = (index % sheet.columns) * sheet.tileWidth;
    const y = Math.floor(index / sheet.columns) * sheet.tileHeight;
    return `${clock(from)} --> ${clock(to)}\n${sheet.name}#xywh=${x},${y},${sheet.tileWidth},${sheet.tileHeight}\n`;
  });
  return `WEBVTT\n\n${cues.join('\n')}`;
}

function clock(seconds: number): string {
  const milliseconds = Math.round(seconds * 1000);
  const pad = (value: number, width = 2) => String(value).padStart(width, '0');
  const [s, ms] = [Math.floor(milliseconds / 1000), milliseconds % 1000];
  return `${pad(Math.floor(s / 3600))}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}.${pad(ms, 3)}`;
}

/** The playlist with other addresses: every line that is one, and every `URI` of a tag. */
export function rewritePlaylist(text: string, address: (uri: string) => string): string {
  return text
    .split('\n')
    .map((line) => {
      if (line.startsWith('#')) return line.replace(/(?<=[:,]URI=")[^"]*(?=")/g, address);
      const uri = line.trim();
      return uri === '' ? line : address(uri);
    })
    .join('\n');
}
