import { useEffect, useEffectEvent } from 'react';

/** Keys of the room, off while somebody types or a dialog is open. The handler answers true when the key was one of its own. */
export function useKeys(handle: (event: KeyboardEvent) => boolean): void {
  const onKey = useEffectEvent((event: KeyboardEvent) => {
    const target = event.target as HTMLElement | null;
    if (event.defaultPrevented || target?.closest('input, textarea, select, dialog, [contenteditable]')) return;
    // A focused button keeps its own space and enter.
    if (target?.closest('button, a') && (event.key === ' ' || event.key === 'Enter')) return;
    if (handle(event)) event.preventDefault();
  });
  useEffect(() => {
    const listener = (event: KeyboardEvent) => onKey(event);
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);
}
