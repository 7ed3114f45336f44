import type { Rate } from './timecode.js';

export interface ClipOptions {
  /** Default 23.976. */
  rate?: Rate;
  /** Default 2. */
  seconds?: number;
  /** Exact count; instead of `seconds`. */
  frames?: number;
  /** Default 640 × 360. */
  width?: number;
  height?: number;
  /** Default 01:00:00:00 (`;` when the rate is drop-frame and `dropFrame`). Null writes none. */
  startTimecode?: string | null;
  /** Default 'h264'. */
  codec?: 'h264' | 'hevc' | 'prores' | 'dnxhr' | 'mjpeg' | 'ffv1' | 'vp9' | 'mpeg2';
  /** Channels of sound, 0 for none. Default 2. */
  audioChannels?: number;
  /** Changes the picture, so that two versions of a clip differ. Default 0. */
  variant?: number;
}

/** A real clip: moving picture, machine-readable frame number, burnt-in timecode, sound. Container by the extension. */
export declare function makeClip(file: string, options?: ClipOptions): Promise<void>;
