/** Waveforms as BBC's audiowaveform writes them (doc/DataFormat.md, JSON, version 2). Pure. */
import { z } from 'zod';

export const WaveformSchema = z.object({
  version: z.literal(2),
  /** 1: all channels are averaged, as audiowaveform does unless told to split them. */
  channels: z.number().int().positive(),
  sample_rate: z.number().int().positive(),
  samples_per_pixel: z.number().int().positive(),
  bits: z.union([z.literal(8), z.literal(16)]),
  /** Pairs of each channel. */
  length: z.number().int().nonnegative(),
  /** Lowest and highest value in turn. */
  data: z.array(z.number().int()),
});
export type Waveform = z.infer<typeof WaveformSchema>;

/** Pairs in the longest waveform, about a megabyte of text: 27 minutes at 256 samples each, longer ones with fewer. */
const MAX_PAIRS = 300_000;

/** Samples of one pair: audiowaveform's default of 256, doubled until the whole fits. */
export function samplesPerPixel(seconds: number | null, sampleRate: number): number {
  let samples = 256;
  while (((seconds ?? 0) * sampleRate) / samples > MAX_PAIRS) samples *= 2;
  return samples;
}

/** Takes interleaved stereo of 16 bits, little-endian, in pieces of any size. */
export class WaveformBuilder {
  #data = new Int8Array(4096);
  #length = 0;
  #low = Number.MAX_SAFE_INTEGER;
  #high = Number.MIN_SAFE_INTEGER;
  #count = 0;
  #rest = Buffer.alloc(0);

  constructor(
    private readonly sampleRate: number,
    private readonly samplesPerPixel: number,
  ) {}

  add(chunk: Buffer): void {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const whole = bytes.length - (bytes.length % 4);
    for (let at = 0; at < whole; at += 4) {
      // Divisions round towards zero, as those of C do.
      const value = Math.trunc((bytes.readInt16LE(at) + bytes.readInt16LE(at + 2)) / 2);
      if (value < this.#low) this.#low = value;
      if (value > this.#high) this.#high = value;
      this.#count += 1;
      if (this.#count === this.samplesPerPixel) this.#push();
    }
    this.#rest = Buffer.from(bytes.subarray(whole));
  }

  #push(): void {
    if (2 * this.#length + 2 > this.#data.length) {
      const larger = new Int8Array(2 * this.#data.length);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[2 * this.#length] = Math.trunc(this.#low / 256);
    this.#data[2 * this.#length + 1] = Math.trunc(this.#high / 256);
    this.#length += 1;
    [this.#low, this.#high, this.#count] = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0];
  }

  finish(): Waveform {
    if (this.#count > 0) this.#push();
    return {
      ...{ version: 2, channels: 1, sample_rate: this.sampleRate, samples_per_pixel: this.samplesPerPixel, bits: 8 },
      length: this.#length,
      data: Array.from(this.#data.subarray(0, 2 * this.#length)),
    };
  }
}
