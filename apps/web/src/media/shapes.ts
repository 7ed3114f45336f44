/**
 * Drawings over the picture. Pure. Coordinates are fractions of the picture's width and height from its top left, stroke width and
 * text size fractions of its height, so a drawing is the same at any zoom.
 */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export const SHAPE_KINDS = [
  'RECTANGLE',
  'ELLIPSE',
  'ARROW',
  'FREEHAND',
  'HIGHLIGHT',
  'TEXT',
  'PIN',
  'CALLOUT',
] as const;
export type ShapeKind = (typeof SHAPE_KINDS)[number];

/** As the api sends and takes it: the fields of the kind are set, the others null or missing. */
export interface Shape {
  readonly kind: ShapeKind;
  readonly x?: number | null;
  readonly y?: number | null;
  readonly width?: number | null;
  readonly height?: number | null;
  readonly from?: Point | null;
  readonly to?: Point | null;
  readonly at?: Point | null;
  readonly points?: readonly Point[] | null;
  readonly text?: string | null;
  readonly size?: number | null;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Most points of a freehand line the api accepts is 5000; a line this dense is smooth at 8K. */
const MAX_POINTS = 2000;
/** Four places are a fifth of a pixel at 2K. */
const round = (value: number) => Math.round(value * 10_000) / 10_000;
const unit = (value: number) => round(Math.min(1, Math.max(0, value)));

export function clampPoint(point: Point): Point {
  return { x: unit(point.x), y: unit(point.y) };
}

/** The place of a pointer as fractions of the picture's box on screen. */
export function toPicture(clientX: number, clientY: number, box: Box): Point {
  return clampPoint({
    x: box.width > 0 ? (clientX - box.x) / box.width : 0,
    y: box.height > 0 ? (clientY - box.y) / box.height : 0,
  });
}

export function boxBetween(a: Point, b: Point): Box {
  const [left, top] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return { x: round(left), y: round(top), width: round(Math.abs(a.x - b.x)), height: round(Math.abs(a.y - b.y)) };
}

/** Width ÷ height of the picture makes a drawn square square on screen when shift is held. */
export function squared(a: Point, b: Point, aspect: number): Point {
  const [dx, dy] = [(b.x - a.x) * aspect, b.y - a.y];
  const side = Math.max(Math.abs(dx), Math.abs(dy));
  return clampPoint({ x: a.x + (Math.sign(dx || 1) * side) / aspect, y: a.y + Math.sign(dy || 1) * side });
}

/**
 * The line with the points left out that lie within `tolerance` of it (Ramer, Douglas and Peucker), iterative so that a very long
 * line can't overflow the stack. Distances are in picture heights.
 */
export function simplify(line: readonly Point[], tolerance = 0.0008, aspect = 16 / 9): Point[] {
  // Its time grows with the square of the points at worst; no hand draws more of them than this between two bends.
  const step = Math.ceil(line.length / MAX_POINTS);
  const points = step <= 1 ? line : line.filter((_, i) => i % step === 0 || i === line.length - 1);
  if (points.length <= 2) return points.map(clampPoint);
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const work: [number, number][] = [[0, points.length - 1]];
  for (let next = work.pop(); next; next = work.pop()) {
    const [first, last] = next;
    let farthest = -1;
    let distance = tolerance;
    for (let i = first + 1; i < last; i++) {
      const d = distanceToSegment(points[i]!, points[first]!, points[last]!, aspect);
      if (d > distance) [farthest, distance] = [i, d];
    }
    if (farthest > 0) {
      keep[farthest] = 1;
      work.push([first, farthest], [farthest, last]);
    }
  }
  return points.filter((_, i) => keep[i] === 1).map(clampPoint);
}

function distanceToSegment(p: Point, a: Point, b: Point, aspect: number): number {
  const [px, py] = [(p.x - a.x) * aspect, p.y - a.y];
  const [bx, by] = [(b.x - a.x) * aspect, b.y - a.y];
  const length = bx * bx + by * by;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, (px * bx + py * by) / length));
  return Math.sqrt((px - t * bx) ** 2 + (py - t * by) ** 2);
}

/** What the pointer drew from press to release, or null when it is too small to mean anything (a click with a box tool). */
export function drawn(
  kind: ShapeKind,
  path: readonly Point[],
  options: { aspect: number; text?: string },
): Shape | null {
  const from = path[0];
  const to = path[path.length - 1];
  if (!from || !to) return null;
  switch (kind) {
    case 'RECTANGLE':
    case 'ELLIPSE':
    case 'HIGHLIGHT': {
      const box = boxBetween(from, to);
      return box.width < 0.004 || box.height < 0.004 ? null : { kind, ...box };
    }
    case 'CALLOUT': {
      const box = boxBetween(from, to);
      return box.width < 0.004 || box.height < 0.004 ? null : { kind, ...box, text: options.text ?? '' };
    }
    case 'ARROW':
      return Math.hypot((to.x - from.x) * options.aspect, to.y - from.y) < 0.01
        ? null
        : { kind, from: clampPoint(from), to: clampPoint(to) };
    case 'FREEHAND': {
      const points = simplify(path, undefined, options.aspect);
      return points.length < 2 ? null : { kind, points };
    }
    case 'TEXT': {
      const text = options.text?.trim() ?? '';
      return text === '' ? null : { kind, at: clampPoint(to), text, size: 0.045 };
    }
    case 'PIN':
      return { kind, at: clampPoint(to) };
  }
}

/** The two barbs of an arrow's head in picture units, `size` in picture heights. */
export function arrowHead(from: Point, to: Point, size: number, aspect: number): [Point, Point] {
  const angle = Math.atan2(to.y - from.y, (to.x - from.x) * aspect);
  const barb = (turn: number): Point => ({
    x: to.x - (Math.cos(angle + turn) * size) / aspect,
    y: to.y - Math.sin(angle + turn) * size,
  });
  return [barb(Math.PI / 7), barb(-Math.PI / 7)];
}

/** A smooth SVG path through points given in view units: quadratic curves whose joints are the middles between points. */
export function smoothPath(points: readonly Point[]): string {
  const first = points[0];
  if (!first) return '';
  const f = (value: number) => String(Math.round(value * 100) / 100);
  let path = `M${f(first.x)} ${f(first.y)}`;
  for (let i = 1; i < points.length - 1; i++) {
    const [p, q] = [points[i]!, points[i + 1]!];
    path += `Q${f(p.x)} ${f(p.y)} ${f((p.x + q.x) / 2)} ${f((p.y + q.y) / 2)}`;
  }
  const last = points[points.length - 1]!;
  return points.length > 1 ? `${path}L${f(last.x)} ${f(last.y)}` : path;
}

/** Only the fields the api's input knows, without nulls. */
export function shapeInput(shape: Shape): Shape {
  const entries = Object.entries(shape).filter(([key, value]) => value != null && key !== '__typename');
  return Object.fromEntries(entries) as unknown as Shape;
}
