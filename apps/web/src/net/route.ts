import { useSyncExternalStore } from 'react';

/** The place in the app that the address names. */
export interface Route {
  readonly stackId: string | null;
  /** Number of the version asked for, when the address names one. */
  readonly version: number | null;
  /** The operator's page. */
  readonly admin: boolean;
  readonly known: boolean;
}

/** Pure: `/`, `/stacks/<id>`, `/stacks/<id>?v=2`, `/admin`. */
export function routeOf(pathname: string, query: string): Route {
  const match = /^\/stacks\/([^/]+)\/?$/.exec(pathname);
  const version = /^\d{1,6}$/.exec(new URLSearchParams(query).get('v') ?? '');
  const admin = /^\/admin\/?$/.test(pathname);
  return {
    admin,
    stackId: match ? decodeURIComponent(match[1]!) : null,
    version: version ? Number(version[0]) : null,
    known: match !== null || admin || pathname === '/',
  };
}

export const ADMIN_PATH = '/admin';

export function stackPath(stackId: string, version?: number): string {
  return `/stacks/${encodeURIComponent(stackId)}${version === undefined ? '' : `?v=${version}`}`;
}

const listeners = new Set<() => void>();

export function navigate(path: string, options: { replace?: boolean } = {}): void {
  if (path === location.pathname + location.search) return;
  history[options.replace ? 'replaceState' : 'pushState'](null, '', path);
  listeners.forEach((listener) => listener());
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  window.addEventListener('popstate', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('popstate', listener);
  };
}

export function useRoute(): Route {
  const address = useSyncExternalStore(subscribe, () => location.pathname + location.search);
  const [pathname = '/', query = ''] = address.split('?');
  return routeOf(pathname, query);
}
