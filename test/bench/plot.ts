/** One line of a plot: y over x. */
export interface Series {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly Series[];
  /** Drawn as dashed lines. */
  readonly marks?: readonly { readonly y: number; readonly name: string }[];
}

const WIDTH = 960;
const HEIGHT = 300;
const LEFT = 80;
const RIGHT = 170;
const TOP = 40;
const BOTTOM = 40;

const escaped = (text: string): string => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
/** The next round number: 1, 2 or 5 times a power of ten. */
function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value)!;
}
const short = (value: number): string => Math.round(value).toLocaleString('en-US');

/** Panels one below the other over a common x axis, seconds, as SVG. */
export function plot(title: string, panels: readonly Panel[]): string {
  const end = nice(
    Math.max(1, ...panels.flatMap(({ series }) => series.flatMap(({ points }) => points.map(([x]) => x)))),
  );
  const x = (value: number): string => (LEFT + (value / end) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const parts = panels.map((panel, index) => {
    const top = 30 + index * HEIGHT + TOP;
    const height = HEIGHT - TOP - BOTTOM;
    const values = [
      ...panel.series.flatMap(({ points }) => points.map(([, y]) => y)),
      ...(panel.marks ?? []).map(({ y }) => y),
    ];
    const most = nice(Math.max(1, ...values) * 1.02);
    const y = (value: number): string => (top + height - (value / most) * height).toFixed(1);
    const grid = [0, 0.25, 0.5, 0.75, 1].flatMap((part) => [
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(part * most)}" y2="${y(part * most)}" stroke="#ddd"/>`,
      `<text x="${LEFT - 8}" y="${Number(y(part * most)) + 4}" text-anchor="end">${short(part * most)}</text>`,
      `<text x="${x(part * end)}" y="${top + height + 18}" text-anchor="middle">${short(part * end)} s</text>`,
    ]);
    const lines = panel.series.map(
      ({ colour, points }) =>
        `<polyline fill="none" stroke="${colour}" stroke-width="1.6" points="${points.map(([px, py]) => `${x(px)},${y(py)}`).join(' ')}"/>`,
    );
    const marks = (panel.marks ?? []).flatMap(({ y: at, name }) => [
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(at)}" y2="${y(at)}" stroke="#888" stroke-dasharray="6 4"/>`,
      `<text x="${WIDTH - RIGHT + 8}" y="${Number(y(at)) + 4}">${escaped(name)}</text>`,
    ]);
    // Beside the title, where no line and no mark is.
    const legend = panel.series.flatMap(({ name, colour }, i) => [
      `<rect x="${LEFT + 180 + i * 150}" y="${top - 17}" width="12" height="3" fill="${colour}"/>`,
      `<text x="${LEFT + 198 + i * 150}" y="${top - 12}">${escaped(name)}</text>`,
    ]);
    return [
      `<text x="${LEFT}" y="${top - 12}" font-weight="bold">${escaped(panel.title)}, ${escaped(panel.unit)}</text>`,
      ...grid,
      ...marks,
      ...lines,
      ...legend,
    ].join('\n');
  });
  const height = 30 + panels.length * HEIGHT;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="${LEFT}" y="24" font-size="16">${escaped(title)}</text>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}
