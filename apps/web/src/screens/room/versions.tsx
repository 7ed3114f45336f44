import { useEffect, useRef, useState } from 'react';
import { ChevronIcon, LockIcon, UploadIcon } from '../../ui/icons.jsx';
import { Button } from '../../ui/parts.jsx';
import { bytes, OUTCOMES, STATUSES, when } from '../../ui/words.js';
import { personOf, type Version } from './state.js';

/** v1 … vn of the stack, newest first. */
export function VersionSelector({
  versions,
  selected,
  mayUpload,
  onSelect,
  onUpload,
}: {
  versions: readonly Version[];
  selected: Version;
  mayUpload: boolean;
  onSelect: (version: Version) => void;
  onUpload: () => void;
}) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const outside = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    const escape = (event: KeyboardEvent) => {
      if (event.key === 'Escape') setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    document.addEventListener('keydown', escape);
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('keydown', escape);
    };
  }, [open]);

  return (
    <div className="versions" ref={root}>
      <button
        type="button"
        className="version-button"
        aria-haspopup="listbox"
        aria-expanded={open}
        aria-label={`Version ${selected.number}, ${OUTCOMES[selected.outcome].word}. Pick another version`}
        onClick={() => setOpen(!open)}
      >
        <b>v{selected.number}</b>
        <span className={`badge badge-${OUTCOMES[selected.outcome].tint}`}>{OUTCOMES[selected.outcome].word}</span>
        {selected.status !== 'CURRENT' && (
          <span className="version-lock">
            <LockIcon size={12} />
          </span>
        )}
        <ChevronIcon size={14} />
      </button>
      {mayUpload && (
        <Button onClick={onUpload}>
          <UploadIcon size={14} /> New version
        </Button>
      )}
      {open && (
        <ul className="popover version-list" role="listbox" aria-label="Versions">
          {versions.map((version) => {
            const outcome = OUTCOMES[version.outcome];
            return (
              <li key={version.id} role="option" aria-selected={version.id === selected.id}>
                <button
                  type="button"
                  onClick={() => {
                    setOpen(false);
                    onSelect(version);
                  }}
                >
                  <b className="version-number">v{version.number}</b>
                  <span className="version-words">
                    <span className="version-file">{version.filename}</span>
                    <small>
                      {personOf(version.uploadedBy).name} · {when(version.uploadedAt, new Date())} ·{' '}
                      {bytes(version.media.sizeBytes)}
                      {version.revertsTo && ` · same as v${version.revertsTo.number}`}
                    </small>
                    {version.note !== '' && <small className="version-note">{version.note}</small>}
                  </span>
                  <span className="version-side">
                    <span className={`badge badge-${outcome.tint}`}>{outcome.word}</span>
                    <small>{STATUSES[version.status]}</small>
                  </span>
                </button>
              </li>
            );
          })}
        </ul>
      )}
    </div>
  );
}
