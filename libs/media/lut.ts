/**
 * Look-up tables of three dimensions for viewing: Adobe/IRIDAS `.cube` read strictly, and the one that brings PQ and HLG to a
 * standard display. Pure.
 */
import { fail, ok, type Result } from './result.js';

export interface Cube {
  readonly title: string | null;
  /** Points along each edge. */
  readonly size: number;
  /** What the first and the last point of each edge stand for: red, green, blue. */
  readonly domainMin: readonly [number, number, number];
  readonly domainMax: readonly [number, number, number];
  /** `size`³ triples, red running fastest, as the file has them. */
  readonly values: Float32Array;
}

/** 64 is what grading tools write, 65 the largest in common use; a file of 129 has 2 million lines. */
const MAX_SIZE = 129;
const MAX_BYTES = 128 << 20;
/** Beyond any display; keeps what a filter computes with it finite. */
const MAX_VALUE = 65_504;

/**
 * A three-dimensional `.cube` (Adobe, “Cube LUT Specification 1.0”). LUT_INVALID names the line: unknown words, a missing or second
 * size, one-dimensional tables, values that are no finite numbers, too few or too many of them, an empty domain.
 */
export function parseCube(text: string): Result<Cube> {
  if (text.length > MAX_BYTES) return invalid(0, 'the file is too large');
  let title: string | null = null;
  let size = 0;
  const domain: { min: [number, number, number] | null; max: [number, number, number] | null } = {
    min: null,
    max: null,
  };
  let values = new Float32Array(0);
  let filled = 0;
  let number = 0;
  for (let at = 0; at < text.length;) {
    const end = text.indexOf('\n', at) < 0 ? text.length : text.indexOf('\n', at);
    const line = text.slice(at === 0 && text.startsWith('\ufeff') ? 1 : at, end).trim();
    at = end + 1;
    number += 1;
    if (line.length > 1000) return invalid(number, 'the line is too long');
    if (line === '' || line.startsWith('#')) continue;
    if (/^[-+.\d]/.test(line)) {
      const triple = size > 0 ? numbers(line) : null;
      if (!triple) return invalid(number, size > 0 ? 'expected three numbers' : 'values come before LUT_3D_SIZE');
      if (filled === values.length) return invalid(number, `more values than ${size}³`);
      values.set(triple, filled);
      filled += 3;
      continue;
    }
    const [word = '', rest = ''] = /^(\S+)\s*(.*)$/.exec(line)!.slice(1);
    if (filled > 0) return invalid(number, `${word.slice(0, 40)} comes after the first value`);
    switch (word) {
      case 'TITLE': {
        const quoted = /^"([^"]*)"$/.exec(rest);
        if (!quoted || title !== null) return invalid(number, 'TITLE is one text in quotes');
        title = quoted[1]!;
        break;
      }
      case 'LUT_3D_SIZE': {
        const points = /^\d{1,4}$/.test(rest) ? Number(rest) : 0;
        if (size > 0 || points < 2 || points > MAX_SIZE)
          return invalid(number, `LUT_3D_SIZE is one whole number from 2 to ${MAX_SIZE}`);
        size = points;
        values = new Float32Array(3 * size ** 3);
        break;
      }
      case 'DOMAIN_MIN':
      case 'DOMAIN_MAX': {
        const key = word === 'DOMAIN_MIN' ? 'min' : 'max';
        const triple = numbers(rest);
        if (!triple || domain[key]) return invalid(number, `${word} is three numbers, once`);
        domain[key] = triple;
        break;
      }
      case 'LUT_1D_SIZE':
        return invalid(number, 'a table of one dimension is not read');
      default:
        return invalid(number, `unknown word ${word.slice(0, 40)}`);
    }
  }
  if (size === 0) return invalid(number, 'LUT_3D_SIZE is missing');
  if (filled !== values.length) return invalid(number, `${filled / 3} values instead of ${size}³`);
  const [domainMin, domainMax] = [domain.min ?? ([0, 0, 0] as const), domain.max ?? ([1, 1, 1] as const)];
  if (domainMin.some((low, channel) => low >= domainMax[channel]!)) return invalid(number, 'the domain is empty');
  return ok({ title, size, domainMin, domainMax, values });
}

function invalid(line: number, message: string) {
  return fail('LUT_INVALID', `The LUT breaks its format${line > 0 ? ` in line ${line}` : ''}: ${message}.`);
}

function numbers(text: string): [number, number, number] | null {
  const parts = text.trim().split(/\s+/);
  if (parts.length !== 3 || !parts.every((part) => /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?$/i.test(part))) return null;
  const triple = parts.map(Number);
  return triple.every((value) => Math.abs(value) <= MAX_VALUE) ? (triple as [number, number, number]) : null;
}

/** The table as `.cube`, values to seven digits. What ffmpeg is given: its own reader never sees somebody's file. */
export function writeCube(cube: Cube): string {
  const triple = (values: readonly number[] | Float32Array) => [...values].map((value) => value.toFixed(7)).join(' ');
  const lines = [
    `LUT_3D_SIZE ${cube.size}`,
    `DOMAIN_MIN ${triple(cube.domainMin)}`,
    `DOMAIN_MAX ${triple(cube.domainMax)}`,
  ];
  for (let at = 0; at < cube.values.length; at += 3) lines.push(triple(cube.values.subarray(at, at + 3)));
  return `${lines.join('\n')}\n`;
}

/** Diffuse white of HDR productions, cd/m² (ITU-R BT.2408). It is what a standard display shows at its peak. */
export const REFERENCE_WHITE = 203;
/** Peak of the display that PQ and HLG are graded on when the file tells nothing, cd/m². */
export const USUAL_PEAK = 1000;
const TONE_MAP_POINTS = 33;

export type HdrTransfer = 'smpte2084' | 'arib-std-b67';

/** PQ signal to light, cd/m² (SMPTE ST 2084). */
export function pqToLight(signal: number): number {
  const powered = Math.max(0, signal) ** (32 / 2523);
  return 10_000 * (Math.max(0, powered - 3424 / 4096) / (2413 / 128 - (2392 / 128) * powered)) ** (16_384 / 2610);
}

/** Light, cd/m², to PQ signal. */
export function lightToPq(light: number): number {
  const powered = (Math.max(0, light) / 10_000) ** (2610 / 16_384);
  return ((3424 / 4096 + (2413 / 128) * powered) / (1 + (2392 / 128) * powered)) ** (2523 / 32);
}

/** HLG signal to scene light, 0 to 1 (ITU-R BT.2100). */
function hlgToScene(signal: number): number {
  const [a, b, c] = [0.17883277, 0.28466892, 0.55991073];
  return signal <= 0.5 ? signal ** 2 / 3 : (Math.exp((signal - c) / a) + b) / 12;
}

/** Light shown for HLG on a display of 1000 cd/m², whose system gamma is 1.2 (ITU-R BT.2100). */
function hlgToLight(rgb: readonly number[]): number[] {
  const scene = rgb.map(hlgToScene);
  const luminance = 0.2627 * scene[0]! + 0.678 * scene[1]! + 0.0593 * scene[2]!;
  return scene.map((value) => USUAL_PEAK * luminance ** 0.2 * value);
}

/** Light of a display of `peak` to that of one of {@link REFERENCE_WHITE}: the EETF of ITU-R BT.2390, blacks at 0. */
export function toneMapped(light: number, peak: number): number {
  if (peak <= REFERENCE_WHITE) return Math.min(light, REFERENCE_WHITE);
  const top = lightToPq(peak);
  const limit = lightToPq(REFERENCE_WHITE) / top;
  const knee = 1.5 * limit - 0.5;
  const e = Math.min(1, lightToPq(light) / top);
  if (e <= knee) return light;
  const t = (e - knee) / (1 - knee);
  const mapped =
    (2 * t ** 3 - 3 * t ** 2 + 1) * knee + (t ** 3 - 2 * t ** 2 + t) * (1 - knee) + (-2 * t ** 3 + 3 * t ** 2) * limit;
  return pqToLight(mapped * top);
}

/** ITU-R BT.2087, linear light of BT.2020 to BT.709. */
const TO_BT709 = [
  [1.6605, -0.5876, -0.0728],
  [-0.1246, 1.1329, -0.0083],
  [-0.0182, -0.1006, 1.1187],
] as const;

/**
 * R′G′B′ of BT.2020 in PQ or HLG to R′G′B′ of BT.709 for a display of gamma 2.4 (ITU-R BT.1886). The largest channel is mapped and takes
 * the others along, so that hues stay; colours outside BT.709 are cut at its border. `peak`: of the grading display, cd/m².
 */
export function toStandardDisplay(
  rgb: readonly [number, number, number],
  transfer: HdrTransfer,
  peak: number,
): number[] {
  const light = transfer === 'smpte2084' ? rgb.map(pqToLight) : hlgToLight(rgb);
  const largest = Math.max(...light);
  const factor = largest > 0 ? toneMapped(largest, peak) / largest / REFERENCE_WHITE : 0;
  return TO_BT709.map((row) => {
    const value = factor * row.reduce<number>((sum, weight, channel) => sum + weight * light[channel]!, 0);
    return Math.min(1, Math.max(0, value)) ** (1 / 2.4);
  });
}

/** {@link toStandardDisplay} as a table. */
export function toneMapCube(transfer: HdrTransfer, peak: number): Cube {
  const size = TONE_MAP_POINTS;
  const values = new Float32Array(3 * size ** 3);
  let at = 0;
  for (let blue = 0; blue < size; blue++) {
    for (let green = 0; green < size; green++) {
      for (let red = 0; red < size; red++) {
        const point = [red, green, blue].map((index) => index / (size - 1)) as [number, number, number];
        values.set(toStandardDisplay(point, transfer, peak), at);
        at += 3;
      }
    }
  }
  return { title: null, size, domainMin: [0, 0, 0], domainMax: [1, 1, 1], values };
}
