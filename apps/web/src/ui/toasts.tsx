import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from 'react';
import { CrossIcon } from './icons.jsx';
import { IconButton } from './parts.jsx';

interface Toast {
  readonly id: number;
  readonly tone: 'info' | 'error';
  readonly text: string;
}

const ToastContext = createContext<(text: string, tone?: Toast['tone']) => void>(() => undefined);

/** Says something short for a few seconds; errors stay longer and are announced at once. */
export function useToast() {
  return useContext(ToastContext);
}

let next = 0;

export function Toasts({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const drop = useCallback((id: number) => setToasts((all) => all.filter((toast) => toast.id !== id)), []);
  const say = useCallback(
    (text: string, tone: Toast['tone'] = 'info') => {
      const id = next++;
      setToasts((all) => [...all.filter((toast) => toast.text !== text), { id, tone, text }].slice(-3));
      setTimeout(() => drop(id), tone === 'error' ? 9_000 : 4_000);
    },
    [drop],
  );
  const list = useMemo(
    () => (
      <div className="toasts" role="region" aria-label="Messages" aria-live="polite">
        {toasts.map((toast) => (
          <div
            key={toast.id}
            className={`toast toast-${toast.tone}`}
            role={toast.tone === 'error' ? 'alert' : 'status'}
          >
            <span>{toast.text}</span>
            <IconButton label="Dismiss" onClick={() => drop(toast.id)}>
              <CrossIcon size={12} />
            </IconButton>
          </div>
        ))}
      </div>
    ),
    [toasts, drop],
  );
  return (
    <ToastContext value={say}>
      {children}
      {list}
    </ToastContext>
  );
}
