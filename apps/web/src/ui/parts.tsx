import { type ButtonHTMLAttributes, type ReactNode, useEffect, useId, useRef } from 'react';
import { initials, personColour } from '../media/colours.js';
import { CrossIcon, WarningIcon } from './icons.jsx';

type Tone = 'plain' | 'primary' | 'approve' | 'changes' | 'reject' | 'ghost';

export function Button({
  tone = 'plain',
  busy = false,
  children,
  className = '',
  ...rest
}: ButtonHTMLAttributes<HTMLButtonElement> & { tone?: Tone; busy?: boolean }) {
  return (
    <button
      type="button"
      {...rest}
      className={`button button-${tone} ${className}`}
      aria-busy={busy || undefined}
      disabled={rest.disabled || busy}
    >
      {busy && <span className="spinner" aria-hidden="true" />}
      {children}
    </button>
  );
}

/** A button that is only a picture; its name is said and shown on hover, with its key. */
export function IconButton({
  label,
  shortcut,
  pressed,
  children,
  className = '',
  ...rest
}: ButtonHTMLAttributes<HTMLButtonElement> & { label: string; shortcut?: string; pressed?: boolean }) {
  return (
    <button
      type="button"
      {...rest}
      className={`icon-button ${className}`}
      aria-label={label}
      aria-pressed={pressed}
      aria-keyshortcuts={shortcut}
      title={shortcut ? `${label}  (${shortcut})` : label}
    >
      {children}
    </button>
  );
}

export function Avatar({ person, size = 24 }: { person: { id: string; name: string }; size?: number }) {
  return (
    <span
      className="avatar"
      style={{ width: size, height: size, fontSize: Math.round(size * 0.42), backgroundColor: personColour(person.id) }}
      title={person.name}
      aria-hidden="true"
    >
      {initials(person.name)}
    </span>
  );
}

export function ProgressBar({ fraction, label }: { fraction: number | null; label: string }) {
  const percent = fraction === null ? undefined : Math.round(fraction * 100);
  return (
    <div
      className={`progress ${fraction === null ? 'progress-unknown' : ''}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <div className="progress-fill" style={{ width: `${percent ?? 30}%` }} />
    </div>
  );
}

export function Notice({
  tone,
  icon,
  children,
  action,
  label,
}: {
  tone: 'info' | 'warning' | 'error';
  icon?: ReactNode;
  children: ReactNode;
  action?: ReactNode;
  label?: string;
}) {
  return (
    <div className={`notice notice-${tone}`} role={tone === 'error' ? 'alert' : 'status'} aria-label={label}>
      {icon ?? <WarningIcon />}
      <div className="notice-text">{children}</div>
      {action}
    </div>
  );
}

/** A place without content yet, or that couldn't be loaded: what is the matter and what to do. */
export function Blank({
  icon,
  title,
  children,
  action,
}: {
  icon?: ReactNode;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="blank">
      {icon && <div className="blank-icon">{icon}</div>}
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Loading({ label }: { label: string }) {
  return (
    <div className="loading" role="status">
      <span className="spinner spinner-large" aria-hidden="true" />
      <span className="visually-hidden">{label}</span>
    </div>
  );
}

/** A field with its label, and its error said to everybody. */
export function Field({
  label,
  error,
  hint,
  children,
}: {
  label: string;
  error?: string | null;
  hint?: string;
  children: (ids: {
    id: string;
    'aria-invalid': boolean | undefined;
    'aria-describedby': string | undefined;
  }) => ReactNode;
}) {
  const id = useId();
  const described = error ? `${id}-error` : hint ? `${id}-hint` : undefined;
  return (
    <div className={`field ${error ? 'field-wrong' : ''}`}>
      <label htmlFor={id}>{label}</label>
      {children({ id, 'aria-invalid': error ? true : undefined, 'aria-describedby': described })}
      {error ? (
        <p className="field-error" id={`${id}-error`} role="alert">
          {error}
        </p>
      ) : (
        hint && (
          <p className="field-hint" id={`${id}-hint`}>
            {hint}
          </p>
        )
      )}
    </div>
  );
}

/** A modal dialog of the browser's own kind: traps the focus and closes with Escape. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
  }, []);
  return (
    <dialog
      ref={ref}
      className="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={id}>{title}</h2>
        <IconButton label="Close" onClick={onClose}>
          <CrossIcon />
        </IconButton>
      </header>
      {children}
    </dialog>
  );
}
