import { type KeyboardEvent, useId, useRef } from 'react';
import type { FrameRange } from '../../media/frames.js';
import { type Labelling, timecodeAt } from '../../media/timecode.js';
import { CrossIcon, PencilIcon } from '../../ui/icons.jsx';
import { Button, IconButton } from '../../ui/parts.jsx';

/** What a new comment speaks about. */
export type Binding = 'frame' | 'range' | 'version';

/** Writes a comment on the frame, the range or the whole version, with the drawings made for it. */
export function Composer({
  text,
  binding,
  place,
  canRange,
  timed,
  labels,
  drawings,
  busy,
  error,
  onText,
  onBinding,
  onFocus,
  onDropDrawings,
  onSend,
}: {
  text: string;
  binding: Binding;
  /** Frames the comment will carry; null for the whole version. */
  place: FrameRange | null;
  canRange: boolean;
  /** False for stills and sound: a comment is on the whole version. */
  timed: boolean;
  labels: Labelling | null;
  drawings: number;
  busy: boolean;
  error: string | null;
  onText: (text: string) => void;
  onBinding: (binding: Binding) => void;
  onFocus: () => void;
  onDropDrawings: () => void;
  onSend: () => void;
}) {
  const id = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const empty = text.trim() === '' && drawings === 0;
  return (
    <form
      className={`composer ${error ? 'field-wrong' : ''}`}
      aria-label="New comment"
      onSubmit={(event) => {
        event.preventDefault();
        if (!empty) onSend();
      }}
    >
      <div className="composer-place">
        {timed && labels ? (
          <>
            <div className="segments" role="radiogroup" aria-label="The comment is on">
              {(
                [
                  ['frame', 'Frame', false],
                  ['range', 'Range', !canRange],
                  ['version', 'Version', drawings > 0],
                ] as const
              ).map(([value, label, disabled]) => (
                <button
                  key={value}
                  type="button"
                  role="radio"
                  aria-checked={binding === value}
                  disabled={disabled}
                  title={value === 'range' && !canRange ? 'Set an in and an out point first (I and O)' : undefined}
                  onClick={() => onBinding(value)}
                >
                  {label}
                </button>
              ))}
            </div>
            <span className="composer-timecode">
              {place === null
                ? 'whole version'
                : place.out > place.in
                  ? `${timecodeAt(place.in, labels)} – ${timecodeAt(place.out, labels).slice(-5)}`
                  : timecodeAt(place.in, labels)}
            </span>
          </>
        ) : (
          <span className="composer-timecode">on this version</span>
        )}
      </div>
      <textarea
        ref={field}
        aria-label="Comment"
        aria-invalid={error ? true : undefined}
        aria-describedby={error ? `${id}-error` : undefined}
        rows={3}
        maxLength={10_000}
        placeholder={drawings > 0 ? 'Say something about your drawing…' : 'Leave a comment…'}
        value={text}
        onFocus={onFocus}
        onChange={(event) => onText(event.target.value)}
        onKeyDown={(event: KeyboardEvent) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !empty) {
            event.preventDefault();
            onSend();
          }
          if (event.key === 'Escape') field.current?.blur();
        }}
      />
      {error && (
        <p className="field-error" id={`${id}-error`} role="alert">
          {error}
        </p>
      )}
      <div className="composer-foot">
        {drawings > 0 ? (
          <span className="draft-chip">
            <PencilIcon size={12} />
            {drawings} {drawings === 1 ? 'drawing' : 'drawings'}
            <IconButton label="Discard the drawings" onClick={onDropDrawings}>
              <CrossIcon size={10} />
            </IconButton>
          </span>
        ) : (
          <span className="field-hint">Ctrl + Enter sends</span>
        )}
        <Button tone="primary" type="submit" disabled={empty} busy={busy}>
          {drawings > 0 && text.trim() === '' ? 'Post drawing' : 'Comment'}
        </Button>
      </div>
    </form>
  );
}
