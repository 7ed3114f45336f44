import { useState } from 'react';
import { linePath, niceMaximum, type Series, WINDOW_MS } from './samples.js';

const WIDTH = 560;
const HEIGHT = 120;
const COLOURS = ['var(--blue)', 'var(--green)', 'var(--amber)', 'var(--red)', 'var(--grey)'];

/** Lines over the last five minutes, with what they were at the moment under the pointer, or are now. */
export function Plot({
  title,
  series,
  now,
  format,
}: {
  title: string;
  series: readonly Series[];
  now: number;
  format: (value: number) => string;
}) {
  const [pointer, setPointer] = useState<number | null>(null);
  const values = series.flatMap(({ samples }) => samples.flatMap(({ value }) => (value === null ? [] : [value])));
  const maximum = niceMaximum(Math.max(0, ...values));
  const at = pointer === null ? now : now - WINDOW_MS * (1 - pointer);
  const shown = series.map(({ name, samples }) => {
    const nearest = samples.findLast((sample) => sample.at <= at);
    return { name, value: nearest && at - nearest.at <= 3000 ? nearest.value : null };
  });
  return (
    <figure className="plot" aria-label={title}>
      <figcaption>
        <h3>{title}</h3>
        <span className="plot-moment">{pointer === null ? 'now' : `${Math.round((now - at) / 1000)} s ago`}</span>
      </figcaption>
      <div className="plot-box">
        <span className="plot-maximum">{format(maximum)}</span>
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          onPointerMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            setPointer(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
          }}
          onPointerLeave={() => setPointer(null)}
        >
          {[0.25, 0.5, 0.75].map((y) => (
            <line key={y} className="plot-grid" x1={0} x2={WIDTH} y1={HEIGHT * y} y2={HEIGHT * y} />
          ))}
          {series.map(({ name, samples }, index) => (
            <path
              key={name}
              className="plot-line"
              stroke={COLOURS[index % COLOURS.length]}
              d={linePath(samples, { width: WIDTH, height: HEIGHT, now, maximum })}
            />
          ))}
          {pointer !== null && (
            <line className="plot-pointer" x1={WIDTH * pointer} x2={WIDTH * pointer} y1={0} y2={HEIGHT} />
          )}
        </svg>
      </div>
      <ul className="plot-legend">
        {shown.map(({ name, value }, index) => (
          <li key={name}>
            <span className="plot-key" style={{ background: COLOURS[index % COLOURS.length] }} aria-hidden="true" />
            {name} <strong>{value === null ? '–' : format(value)}</strong>
          </li>
        ))}
      </ul>
    </figure>
  );
}
