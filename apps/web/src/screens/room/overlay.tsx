import { type KeyboardEvent, type PointerEvent, useRef, useState } from 'react';
import {
  arrowHead,
  drawn,
  type Point,
  type Shape,
  type ShapeKind,
  smoothPath,
  squared,
  toPicture,
} from '../../media/shapes.js';

export interface Drawing {
  readonly id: string;
  readonly shape: Shape;
  readonly colour: string;
  readonly strokeWidth: number;
}

export interface Pen {
  readonly kind: ShapeKind;
  readonly colour: string;
  readonly strokeWidth: number;
}

/** One shape in view units: 1000 to the picture's height. */
export function ShapeMark({ drawing, aspect }: { drawing: Drawing; aspect: number }) {
  const { shape, colour } = drawing;
  const [w, h] = [aspect * 1000, 1000];
  const stroke = drawing.strokeWidth * h;
  const px = (point: Point): Point => ({ x: point.x * w, y: point.y * h });
  // A thin dark edge keeps any colour readable on any picture.
  const line = (element: (props: { stroke: string; strokeWidth: number }) => React.ReactNode) => (
    <g fill="none" strokeLinecap="round" strokeLinejoin="round">
      {element({ stroke: 'rgba(0,0,0,0.55)', strokeWidth: stroke + 3 })}
      {element({ stroke: colour, strokeWidth: stroke })}
    </g>
  );
  const box = {
    x: (shape.x ?? 0) * w,
    y: (shape.y ?? 0) * h,
    width: (shape.width ?? 0) * w,
    height: (shape.height ?? 0) * h,
  };
  switch (shape.kind) {
    case 'RECTANGLE':
      return line((props) => <rect {...box} rx={2} {...props} />);
    case 'ELLIPSE':
      return line((props) => (
        <ellipse
          cx={box.x + box.width / 2}
          cy={box.y + box.height / 2}
          rx={box.width / 2}
          ry={box.height / 2}
          {...props}
        />
      ));
    case 'HIGHLIGHT':
      return (
        <rect {...box} rx={3} fill={colour} fillOpacity={0.32} stroke={colour} strokeOpacity={0.7} strokeWidth={1.5} />
      );
    case 'CALLOUT':
      return (
        <g>
          {line((props) => (
            <rect {...box} rx={6} {...props} />
          ))}
          <Words at={{ x: box.x + 10, y: box.y + 44 }} size={36} colour={colour} text={shape.text ?? ''} />
        </g>
      );
    case 'ARROW': {
      if (!shape.from || !shape.to) return null;
      const head = arrowHead(shape.from, shape.to, Math.max(0.028, drawing.strokeWidth * 4.5), aspect).map(px);
      const [from, to] = [px(shape.from), px(shape.to)];
      const path = `M${from.x} ${from.y}L${to.x} ${to.y}M${head[0]!.x} ${head[0]!.y}L${to.x} ${to.y}L${head[1]!.x} ${head[1]!.y}`;
      return line((props) => <path d={path} {...props} />);
    }
    case 'FREEHAND': {
      const path = smoothPath((shape.points ?? []).map(px));
      return line((props) => <path d={path} {...props} />);
    }
    case 'TEXT':
      return shape.at ? (
        <Words at={px(shape.at)} size={(shape.size ?? 0.045) * h} colour={colour} text={shape.text ?? ''} />
      ) : null;
    case 'PIN': {
      if (!shape.at) return null;
      const { x, y } = px(shape.at);
      return (
        <g transform={`translate(${x} ${y})`}>
          <path
            d="M0 0C-6 -14 -19 -24 -19 -40A19 19 0 0 1 19 -40C19 -24 6 -14 0 0Z"
            fill={colour}
            stroke="rgba(0,0,0,0.6)"
            strokeWidth={2}
          />
          <circle cx={0} cy={-40} r={7} fill="rgba(0,0,0,0.65)" />
        </g>
      );
    }
  }
}

function Words({ at, size, colour, text }: { at: Point; size: number; colour: string; text: string }) {
  return (
    <text
      x={at.x}
      y={at.y}
      fontSize={size}
      fontWeight={600}
      fill={colour}
      stroke="rgba(0,0,0,0.75)"
      strokeWidth={size * 0.12}
      paintOrder="stroke"
      strokeLinejoin="round"
    >
      {text.split('\n').map((row, index) => (
        <tspan key={index} x={at.x} dy={index === 0 ? 0 : size * 1.2}>
          {row}
        </tspan>
      ))}
    </text>
  );
}

/** The drawings of a frame over the picture, and the sheet on which new ones are drawn when a pen is picked. */
export function Overlay({
  aspect,
  drawings,
  chosen,
  pen,
  onPick,
  onDrawn,
  onStart,
}: {
  aspect: number;
  drawings: readonly Drawing[];
  /** Drawings of the comment that is looked at: the others step back. */
  chosen: ReadonlySet<string>;
  pen: Pen | null;
  onPick: (id: string) => void;
  onDrawn: (shape: Shape) => void;
  /** The first touch: whatever plays must stand still. */
  onStart: () => void;
}) {
  const sheet = useRef<SVGSVGElement>(null);
  const [path, setPath] = useState<readonly Point[]>([]);
  const [typing, setTyping] = useState<Point | null>(null);

  const place = (event: PointerEvent): Point => {
    const box = sheet.current!.getBoundingClientRect();
    return toPicture(event.clientX, event.clientY, { x: box.left, y: box.top, width: box.width, height: box.height });
  };

  function down(event: PointerEvent<SVGSVGElement>) {
    if (!pen || event.button !== 0) return;
    event.preventDefault();
    onStart();
    if (pen.kind === 'TEXT') return setTyping(place(event));
    event.currentTarget.setPointerCapture(event.pointerId);
    setPath([place(event)]);
  }

  function move(event: PointerEvent<SVGSVGElement>) {
    if (!pen || path.length === 0) return;
    const here = place(event);
    if (pen.kind === 'FREEHAND') {
      // A fast stroke has several places between two repaints.
      const box = sheet.current!.getBoundingClientRect();
      const between = event.nativeEvent
        .getCoalescedEvents()
        .map((one) =>
          toPicture(one.clientX, one.clientY, { x: box.left, y: box.top, width: box.width, height: box.height }),
        );
      return setPath([...path, ...(between.length > 0 ? between : [here])]);
    }
    const boxed = pen.kind !== 'ARROW' && pen.kind !== 'PIN';
    setPath([path[0]!, event.shiftKey && boxed ? squared(path[0]!, here, aspect) : here]);
  }

  function up() {
    if (!pen || path.length === 0) return;
    const shape = drawn(pen.kind, path, { aspect });
    setPath([]);
    if (shape) onDrawn(shape);
  }

  function typed(text: string) {
    const shape = pen && typing ? drawn('TEXT', [typing], { aspect, text }) : null;
    setTyping(null);
    if (shape) onDrawn(shape);
  }

  const inProgress = pen && path.length > 0 ? (drawn(pen.kind, path, { aspect }) ?? null) : null;
  return (
    <>
      <svg
        ref={sheet}
        className={`overlay ${pen ? 'overlay-drawing' : ''}`}
        viewBox={`0 0 ${aspect * 1000} 1000`}
        preserveAspectRatio="none"
        role="group"
        aria-label={`${drawings.length} drawings on this frame`}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={() => setPath([])}
      >
        {drawings.map((drawing) => (
          <g
            key={drawing.id}
            className="drawing"
            data-drawing={drawing.shape.kind}
            opacity={chosen.size === 0 || chosen.has(drawing.id) ? 1 : 0.35}
            onPointerDown={() => {
              if (!pen) onPick(drawing.id);
            }}
          >
            <ShapeMark drawing={drawing} aspect={aspect} />
          </g>
        ))}
        {pen && inProgress && <ShapeMark drawing={{ ...pen, id: 'new', shape: inProgress }} aspect={aspect} />}
      </svg>
      {typing && pen && (
        <input
          className="overlay-text"
          aria-label="Text on the picture"
          autoFocus
          maxLength={2000}
          style={{ left: `${typing.x * 100}%`, top: `${typing.y * 100}%`, color: pen.colour }}
          onKeyDown={(event: KeyboardEvent<HTMLInputElement>) => {
            event.stopPropagation();
            if (event.key === 'Enter') typed(event.currentTarget.value);
            if (event.key === 'Escape') setTyping(null);
          }}
          onBlur={(event) => typed(event.currentTarget.value)}
        />
      )}
    </>
  );
}
