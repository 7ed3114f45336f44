import { useState } from 'react';
import { PENS, personColour, STROKES } from '../../media/colours.js';
import type { ShapeKind } from '../../media/shapes.js';
import {
  ArrowIcon,
  EllipseIcon,
  FreehandIcon,
  HighlightIcon,
  LayersIcon,
  PinIcon,
  RectangleIcon,
  RedoIcon,
  SelectIcon,
  TextIcon,
  UndoIcon,
} from '../../ui/icons.jsx';
import { IconButton } from '../../ui/parts.jsx';

const TOOLS: readonly { kind: ShapeKind; label: string; shortcut: string; icon: typeof ArrowIcon }[] = [
  { kind: 'RECTANGLE', label: 'Rectangle', shortcut: 'R', icon: RectangleIcon },
  { kind: 'ELLIPSE', label: 'Ellipse', shortcut: 'E', icon: EllipseIcon },
  { kind: 'ARROW', label: 'Arrow', shortcut: 'A', icon: ArrowIcon },
  { kind: 'FREEHAND', label: 'Freehand', shortcut: 'D', icon: FreehandIcon },
  { kind: 'HIGHLIGHT', label: 'Highlight', shortcut: 'H', icon: HighlightIcon },
  { kind: 'TEXT', label: 'Text', shortcut: 'T', icon: TextIcon },
  { kind: 'PIN', label: 'Pin', shortcut: 'P', icon: PinIcon },
];

/** The tool of a key, or undefined. */
export function toolOfKey(key: string): ShapeKind | undefined {
  return TOOLS.find(({ shortcut }) => shortcut.toLowerCase() === key.toLowerCase())?.kind;
}

/** The drawing tools beside the picture. */
export function Tools({
  tool,
  colour,
  strokeWidth,
  canDraw,
  canUndo,
  canRedo,
  layers,
  hidden,
  showResolved,
  onTool,
  onColour,
  onStrokeWidth,
  onUndo,
  onRedo,
  onHidden,
  onShowResolved,
}: {
  tool: ShapeKind | null;
  colour: string;
  strokeWidth: number;
  canDraw: boolean;
  canUndo: boolean;
  canRedo: boolean;
  layers: readonly { id: string; name: string; count: number }[];
  hidden: ReadonlySet<string>;
  showResolved: boolean;
  onTool: (tool: ShapeKind | null) => void;
  onColour: (colour: string) => void;
  onStrokeWidth: (width: number) => void;
  onUndo: () => void;
  onRedo: () => void;
  onHidden: (hidden: ReadonlySet<string>) => void;
  onShowResolved: (show: boolean) => void;
}) {
  const [open, setOpen] = useState<'pen' | 'layers' | null>(null);
  const toggle = (which: 'pen' | 'layers') => setOpen(open === which ? null : which);
  return (
    <div className="tools" role="toolbar" aria-label="Drawing" aria-orientation="vertical">
      <IconButton label="Select" shortcut="V" pressed={tool === null} onClick={() => onTool(null)}>
        <SelectIcon />
      </IconButton>
      {TOOLS.map(({ kind, label, shortcut, icon: Icon }) => (
        <IconButton
          key={kind}
          label={label}
          shortcut={shortcut}
          pressed={tool === kind}
          disabled={!canDraw}
          onClick={() => onTool(tool === kind ? null : kind)}
        >
          <Icon />
        </IconButton>
      ))}
      <span className="tools-line" />
      <div className="tools-pop">
        <IconButton
          label="Colour and width"
          aria-expanded={open === 'pen'}
          disabled={!canDraw}
          onClick={() => toggle('pen')}
        >
          <span className="pen-dot" style={{ backgroundColor: colour }} />
        </IconButton>
        {open === 'pen' && (
          <div className="popover" role="group" aria-label="Colour and width">
            <div className="pens">
              {PENS.map((pen) => (
                <button
                  key={pen}
                  type="button"
                  className="pen"
                  aria-label={`Colour ${pen}`}
                  aria-pressed={pen === colour}
                  style={{ backgroundColor: pen }}
                  onClick={() => onColour(pen)}
                />
              ))}
            </div>
            <div className="strokes">
              {STROKES.map(({ label, value }) => (
                <button
                  key={value}
                  type="button"
                  className="stroke"
                  aria-label={`${label} stroke`}
                  title={label}
                  aria-pressed={value === strokeWidth}
                  onClick={() => onStrokeWidth(value)}
                >
                  <span style={{ height: Math.round(value * 700) }} />
                </button>
              ))}
            </div>
          </div>
        )}
      </div>
      <IconButton label="Undo drawing" shortcut="Control+Z" disabled={!canUndo} onClick={onUndo}>
        <UndoIcon />
      </IconButton>
      <IconButton label="Redo drawing" shortcut="Control+Shift+Z" disabled={!canRedo} onClick={onRedo}>
        <RedoIcon />
      </IconButton>
      <span className="tools-line" />
      <div className="tools-pop">
        <IconButton
          label="Layers"
          aria-expanded={open === 'layers'}
          className={hidden.size > 0 ? 'icon-button-noted' : ''}
          onClick={() => toggle('layers')}
        >
          <LayersIcon />
        </IconButton>
        {open === 'layers' && (
          <div className="popover popover-wide" role="group" aria-label="Layers">
            <h3>Layers</h3>
            {layers.length === 0 && <p className="side-note">Nobody has drawn on this version.</p>}
            {layers.map(({ id, name, count }) => (
              <label key={id} className="check">
                <input
                  type="checkbox"
                  checked={!hidden.has(id)}
                  onChange={(event) => {
                    const next = new Set(hidden);
                    if (event.target.checked) next.delete(id);
                    else next.add(id);
                    onHidden(next);
                  }}
                />
                <span className="layer-dot" style={{ backgroundColor: personColour(id) }} />
                <span className="layer-name">{name}</span>
                <small>{count}</small>
              </label>
            ))}
            <label className="check check-line">
              <input
                type="checkbox"
                checked={showResolved}
                onChange={(event) => onShowResolved(event.target.checked)}
              />
              <span className="layer-name">Drawings of resolved comments</span>
            </label>
          </div>
        )}
      </div>
    </div>
  );
}
