/**
 * Deep Zoom Images: a picture in tiles of every size down to one pixel, as OpenSeadragon and its like ask for them (Microsoft, “Deep Zoom
 * File Format”). All tiles are in one file with an index, so that a large picture is three files and not a thousand.
 */
import { createReadStream } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fail, ok, type Result } from './result.js';

export const TILE_SIZE = 512;

const TilesLevelSchema = z.object({
  width: z.number().int(),
  height: z.number().int(),
  columns: z.number().int(),
  rows: z.number().int(),
  /** Offset and size in the file of tiles, row by row. */
  tiles: z.array(z.tuple([z.number().int(), z.number().int()])),
});
export const TilesIndexSchema = z.object({
  schema: z.literal('picturelock.tiles/1'),
  tileSize: z.number().int(),
  /** From 1 × 1 pixel to the whole picture. */
  levels: z.array(TilesLevelSchema),
});
export type TilesIndex = z.infer<typeof TilesIndexSchema>;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** A rectangle of whole tiles of one size: ffmpeg cuts it with one crop and writes one JPEG after the other. */
export interface TilePart {
  readonly file: string;
  readonly column: number;
  readonly row: number;
  readonly columns: number;
  readonly rows: number;
  readonly tileWidth: number;
  readonly tileHeight: number;
}

export interface TileLevel extends Size {
  readonly level: number;
  readonly columns: number;
  readonly rows: number;
  readonly parts: readonly TilePart[];
}

/** The levels, the whole picture first. Tiles at the right and at the bottom are smaller; so there are up to four parts. */
export function tileLevels(picture: Size): TileLevel[] {
  const top = Math.ceil(Math.log2(Math.max(picture.width, picture.height, 1)));
  return Array.from({ length: top + 1 }, (_, index) => {
    const level = top - index;
    const [width, height] = [picture.width, picture.height].map((side) =>
      Math.max(1, Math.ceil(side / 2 ** index)),
    ) as [number, number];
    const [wholeColumns, wholeRows] = [Math.floor(width / TILE_SIZE), Math.floor(height / TILE_SIZE)];
    const [restWidth, restHeight] = [width % TILE_SIZE, height % TILE_SIZE];
    const spans = (whole: number, rest: number) => [
      ...(whole > 0 ? [{ at: 0, count: whole, size: TILE_SIZE }] : []),
      ...(rest > 0 ? [{ at: whole, count: 1, size: rest }] : []),
    ];
    const parts = spans(wholeRows, restHeight).flatMap((vertical, y) =>
      spans(wholeColumns, restWidth).map((horizontal, x): TilePart => ({
        ...{ file: `tiles_${level}_${y}${x}.mjpeg`, column: horizontal.at, row: vertical.at },
        ...{ columns: horizontal.count, rows: vertical.count },
        ...{ tileWidth: horizontal.size, tileHeight: vertical.size },
      })),
    );
    return { level, width, height, columns: Math.ceil(width / TILE_SIZE), rows: Math.ceil(height / TILE_SIZE), parts };
  });
}

/** Chains that cut `[from]`, the whole picture in packed RGB, into all parts of all levels; and the output of each. */
export function tileGraph(levels: readonly TileLevel[], from: string): { chains: string[]; output: string[] } {
  const chains: string[] = [];
  const output: string[] = [];
  levels.forEach(({ level, parts }, index) => {
    const smaller = levels[index + 1];
    const labels = parts.map((_, part) => `[part${level}_${part}]`);
    const taps = [...labels, ...(smaller ? [`[level${smaller.level}_0]`] : [])];
    const input = index === 0 ? from : `level${level}`;
    chains.push(`[${input}]split=${taps.length}${taps.join('')}`);
    if (smaller) {
      const { width, height } = smaller;
      chains.push(`[level${smaller.level}_0]scale=${width}:${height}:flags=area[level${smaller.level}]`);
    }
    parts.forEach(({ file, column, row, columns, rows, tileWidth, tileHeight }, part) => {
      const [width, height] = [columns * tileWidth, rows * tileHeight];
      const crop = `crop=${width}:${height}:${column * TILE_SIZE}:${row * TILE_SIZE},untile=${columns}x${rows}`;
      const name = `tile${level}_${part}`;
      chains.push(`${labels[part]}${crop},scale=out_color_matrix=bt601:out_range=pc,format=yuvj444p[${name}]`);
      output.push(
        ...['-map', `[${name}]`, '-map_metadata', '-1', '-fps_mode', 'passthrough', '-threads', '1'],
        ...['-c:v', 'mjpeg', '-q:v', '3', '-f', 'mjpeg', file],
      );
    });
  });
  return { chains, output };
}

/** The descriptor that viewers are given. Tiles are asked for at `<name without .dzi>_files/<level>/<column>_<row>.jpg`. */
export function deepZoomDescriptor({ width, height }: Size): string {
  return (
    '<?xml version="1.0" encoding="UTF-8"?>\n' +
    `<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg" Overlap="0" TileSize="${TILE_SIZE}">` +
    `<Size Width="${width}" Height="${height}"/></Image>\n`
  );
}

/** Where the tile of a path after `_files/` is: `12/3_4.jpg`. Null when there is none. */
export function tileAt(index: TilesIndex, path: string): { offset: number; size: number } | null {
  const match = /^(\d{1,2})\/(\d{1,4})_(\d{1,4})\.jpg$/.exec(path);
  if (!match) return null;
  const [level, column, row] = match.slice(1).map(Number) as [number, number, number];
  const found = index.levels[level];
  if (!found || column >= found.columns || row >= found.rows) return null;
  const [offset, size] = found.tiles[row * found.columns + column]!;
  return { offset, size };
}

/**
 * Puts the JPEGs of all parts into one file and tells where each is; the parts are gone afterwards. TRANSCODE_FAILED when a part has
 * not as many as it must.
 */
export async function packTiles(
  folder: string,
  levels: readonly TileLevel[],
  file: string,
): Promise<Result<TilesIndex>> {
  const target = await open(join(folder, file), 'wx');
  try {
    const described: TilesIndex['levels'] = [];
    let offset = 0;
    for (const { width, height, columns, rows, parts } of [...levels].reverse()) {
      const tiles = Array.from({ length: columns * rows }, (): [number, number] => [0, 0]);
      for (const part of parts) {
        const sizes = await append(join(folder, part.file), target);
        if (sizes.length !== part.columns * part.rows) {
          return fail(
            'TRANSCODE_FAILED',
            `${part.file} has ${sizes.length} tiles instead of ${part.columns * part.rows}.`,
          );
        }
        sizes.forEach((size, at) => {
          const [x, y] = [part.column + (at % part.columns), part.row + Math.floor(at / part.columns)];
          tiles[y * columns + x] = [offset, size];
          offset += size;
        });
        await rm(join(folder, part.file));
      }
      described.push({ width, height, columns, rows, tiles });
    }
    return ok({ schema: 'picturelock.tiles/1', tileSize: TILE_SIZE, levels: described });
  } finally {
    await target.close();
  }
}

/** Copies and tells the size of each JPEG: 0xFFD9 ends one and occurs nowhere else, as 0xFF in its data is followed by 0. */
async function append(file: string, target: FileHandle): Promise<number[]> {
  const sizes: number[] = [];
  let size = 0;
  let marker = false;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    await target.writeFile(chunk);
    let from = 0;
    if (marker && chunk[0] === 0xd9) {
      sizes.push(size + 1);
      [size, from] = [0, 1];
    }
    for (let at = chunk.indexOf('ffd9', from, 'hex'); at >= 0; at = chunk.indexOf('ffd9', from, 'hex')) {
      sizes.push(size + at + 2 - from);
      [size, from] = [0, at + 2];
    }
    size += chunk.length - from;
    marker = chunk.at(-1) === 0xff && from < chunk.length;
  }
  return sizes;
}
