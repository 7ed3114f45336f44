import { createContext, useContext, useSyncExternalStore } from 'react';
import type { PersonFragment } from '../generated/graphql.js';
import type { Api, Connection } from './client.js';

export interface Session {
  readonly api: Api;
  readonly viewer: PersonFragment;
}

export const SessionContext = createContext<Session | null>(null);

/** The signed-in session. Only below the login. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error('no session');
  return session;
}

export function useConnection(): Connection {
  const { api } = useSession();
  return useSyncExternalStore(api.connection.subscribe, api.connection.current);
}
