import fc from 'fast-check';
import {
  arrowHead,
  boxBetween,
  drawn,
  type Point,
  shapeInput,
  simplify,
  smoothPath,
  squared,
  toPicture,
} from './shapes.js';

const aspect = 16 / 9;
const unit = fc.double({ min: 0, max: 1, noNaN: true });
const point = fc.record({ x: unit, y: unit });

describe('coordinates', () => {
  it('are the same at any zoom', () => {
    fc.assert(
      fc.property(
        point,
        fc.double({ min: 0.1, max: 8, noNaN: true }),
        fc.integer({ min: -500, max: 500 }),
        (at, zoom, left) => {
          const box = { x: left, y: 20, width: 1920 * zoom, height: 1080 * zoom };
          const back = toPicture(box.x + at.x * box.width, box.y + at.y * box.height, box);
          expect(back.x).toBeCloseTo(at.x, 3);
          expect(back.y).toBeCloseTo(at.y, 3);
        },
      ),
    );
  });

  it('never leave the picture', () => {
    const box = { x: 100, y: 100, width: 200, height: 100 };
    expect(toPicture(0, 500, box)).toEqual({ x: 0, y: 1 });
    expect(toPicture(5, 5, { x: 0, y: 0, width: 0, height: 0 })).toEqual({ x: 0, y: 0 });
  });

  it('make the same box from any corner', () => {
    const box = boxBetween({ x: 0.2, y: 0.3 }, { x: 0.5, y: 0.7 });
    expect(box).toEqual({ x: 0.2, y: 0.3, width: 0.3, height: 0.4 });
    expect(boxBetween({ x: 0.5, y: 0.3 }, { x: 0.2, y: 0.7 })).toEqual(box);
  });

  it('are square on screen when asked for', () => {
    const to = squared({ x: 0.1, y: 0.1 }, { x: 0.2, y: 0.5 }, aspect);
    expect((to.x - 0.1) * aspect).toBeCloseTo(to.y - 0.1, 3);
  });
});

describe('a freehand line', () => {
  it('keeps its ends and stays within the tolerance', () => {
    fc.assert(
      fc.property(fc.array(point, { minLength: 2, maxLength: 80 }), (line) => {
        const simple = simplify(line, 0.01, aspect);
        expect(simple.length).toBeGreaterThanOrEqual(2);
        expect(simple.length).toBeLessThanOrEqual(line.length);
        expect(simple[0]!.x).toBeCloseTo(line[0]!.x, 3);
        expect(simple[simple.length - 1]!.y).toBeCloseTo(line[line.length - 1]!.y, 3);
        for (const p of line) expect(distance(p, simple)).toBeLessThan(0.0105);
      }),
    );
  });

  it('drops the points of a straight line, and copes with a very long one', () => {
    const straight = Array.from({ length: 50_000 }, (_, i): Point => ({ x: i / 50_000, y: 0.5 }));
    expect(simplify(straight)).toHaveLength(2);
    const noisy = Array.from({ length: 30_000 }, (_, i): Point => ({ x: i / 30_000, y: i % 2 ? 0.2 : 0.8 }));
    const simple = simplify(noisy);
    expect(simple.length).toBeLessThanOrEqual(5000);
    expect(simple[simple.length - 1]!.x).toBeCloseTo(1, 3);
  });

  it('becomes a smooth path through its ends', () => {
    expect(smoothPath([])).toBe('');
    expect(
      smoothPath([
        { x: 1, y: 2 },
        { x: 3, y: 4 },
        { x: 5, y: 2 },
      ]),
    ).toBe('M1 2Q3 4 4 3L5 2');
  });
});

describe('what a gesture draws', () => {
  const from = { x: 0.2, y: 0.2 };
  const to = { x: 0.4, y: 0.5 };
  it.each([
    ['RECTANGLE', { kind: 'RECTANGLE', x: 0.2, y: 0.2, width: 0.2, height: 0.3 }],
    ['ELLIPSE', { kind: 'ELLIPSE', x: 0.2, y: 0.2, width: 0.2, height: 0.3 }],
    ['HIGHLIGHT', { kind: 'HIGHLIGHT', x: 0.2, y: 0.2, width: 0.2, height: 0.3 }],
    ['ARROW', { kind: 'ARROW', from, to }],
    ['FREEHAND', { kind: 'FREEHAND', points: [from, to] }],
    ['PIN', { kind: 'PIN', at: to }],
    ['TEXT', { kind: 'TEXT', at: to, text: 'here', size: 0.045 }],
  ] as const)('%s', (kind, shape) => {
    expect(drawn(kind, [from, to], { aspect, text: ' here ' })).toEqual(shape);
  });

  it('is nothing for a mere click, but for a pin', () => {
    for (const kind of ['RECTANGLE', 'ELLIPSE', 'HIGHLIGHT', 'ARROW', 'FREEHAND', 'TEXT'] as const) {
      expect(drawn(kind, [from], { aspect })).toBeNull();
    }
    expect(drawn('PIN', [from], { aspect })).toEqual({ kind: 'PIN', at: from });
    expect(drawn('PIN', [], { aspect })).toBeNull();
  });
});

it('an arrow’s barbs are as long as each other on screen, whatever the picture’s proportions', () => {
  fc.assert(
    fc.property(point, point, fc.constantFrom(1, 16 / 9, 2.39), (from, to, ratio) => {
      const lengths = arrowHead(from, to, 0.03, ratio).map((p) => Math.hypot((p.x - to.x) * ratio, p.y - to.y));
      expect(lengths[0]).toBeCloseTo(0.03, 6);
      expect(lengths[1]).toBeCloseTo(0.03, 6);
    }),
  );
});

it('what goes to the api has no empty fields', () => {
  expect(shapeInput({ kind: 'PIN', at: { x: 0, y: 1 }, x: null, text: undefined })).toEqual({
    kind: 'PIN',
    at: { x: 0, y: 1 },
  });
  expect(shapeInput({ kind: 'RECTANGLE', x: 0, y: 0, width: 1, height: 1 })).toMatchObject({ x: 0, y: 0 });
});

function distance(p: Point, line: readonly Point[]): number {
  let best = Infinity;
  for (let i = 1; i < line.length; i++) {
    const [a, b] = [line[i - 1]!, line[i]!];
    const [px, py, bx, by] = [(p.x - a.x) * aspect, p.y - a.y, (b.x - a.x) * aspect, b.y - a.y];
    const t = Math.min(1, Math.max(0, (px * bx + py * by) / (bx * bx + by * by || 1)));
    best = Math.min(best, Math.hypot(px - t * bx, py - t * by));
  }
  return best;
}
