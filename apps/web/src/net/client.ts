/** The one way to the api: GraphQL over HTTP, subscriptions over graphql-ws on the same path. */
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { createClient as createSocket, type Client as Socket } from 'graphql-ws';
import { Client, type CombinedError, fetchExchange, mapExchange, subscriptionExchange } from 'urql';
import { backOff, resumable } from './resume.js';
import { session } from './session.js';

export type Connection = 'connecting' | 'live' | 'reconnecting';

export interface Api {
  readonly client: Client;
  readonly connection: {
    current(): Connection;
    subscribe(listener: () => void): () => void;
  };
  /**
   * Sends a command, again with the same id for as long as the network fails (about half a minute), so that it happens once.
   * Rejects with ApiFailure when the api can't be reached or breaks; expected refusals are in the payload's `errors`.
   */
  send<Result, Input extends { commandId?: string | null }>(
    document: TypedDocumentNode<Result, { input: Input }>,
    input: Omit<Input, 'commandId'>,
  ): Promise<Result>;
  /** A query, never from a cache. Rejects with ApiFailure. */
  ask<Result, Variables extends Record<string, unknown>>(
    document: TypedDocumentNode<Result, Variables>,
    variables: Variables,
  ): Promise<Result>;
  close(): void;
}

/** What went wrong beyond a refusal, with the api's stable code where it gave one. */
export class ApiFailure extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const NO_NETWORK = 'NETWORK_ERROR';

export function failureOf(error: CombinedError): ApiFailure {
  if (error.networkError) return new ApiFailure(NO_NETWORK, 'The server can’t be reached.');
  const first = error.graphQLErrors[0];
  const code = typeof first?.extensions?.code === 'string' ? first.extensions.code : 'INTERNAL_ERROR';
  return new ApiFailure(code, first?.message ?? 'Something went wrong on the server.');
}

const SIGNED_OUT = new Set(['UNAUTHENTICATED', 'SESSION_EXPIRED', 'TOKEN_EXPIRED']);
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export function createApi(token: string | null): Api {
  let state: Connection = 'connecting';
  let opened = false;
  const listeners = new Set<() => void>();
  const become = (next: Connection) => {
    if (next === state) return;
    state = next;
    listeners.forEach((listener) => listener());
  };

  const socket: Socket | null =
    token === null
      ? null
      : createSocket({
          url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql`,
          connectionParams: { token },
          lazy: true,
          lazyCloseTimeout: 5_000,
          // A dead line is noticed within this time even when no packet says so.
          keepAlive: 12_000,
          retryAttempts: Infinity,
          shouldRetry: () => true,
          retryWait: (attempt) => pause(backOff(attempt, Math.random())),
          on: {
            connecting: () => become(opened ? 'reconnecting' : 'connecting'),
            connected: () => {
              opened = true;
              become('live');
            },
            closed: (event) => {
              become('reconnecting');
              // 4401 and 4403: the session has ended; trying again can't help.
              if (event instanceof CloseEvent && (event.code === 4401 || event.code === 4403)) session.end();
            },
            ping: (received) => {
              // Our own ping must be answered soon, or the line is dead.
              if (!received) overdue = setTimeout(() => socket?.terminate(), 6_000);
            },
            pong: (received) => {
              if (received) clearTimeout(overdue);
            },
          },
        });
  let overdue: ReturnType<typeof setTimeout> | undefined;
  // The browser knows sooner than any timeout.
  const online = () => socket?.terminate();
  const offline = () => become('reconnecting');
  window.addEventListener('online', online);
  window.addEventListener('offline', offline);

  const client = new Client({
    url: '/graphql',
    preferGetMethod: false,
    requestPolicy: 'network-only',
    fetchOptions: () => (token === null ? {} : { headers: { authorization: `Bearer ${token}` } }),
    exchanges: [
      mapExchange({
        onError(error) {
          const status = (error.response as Response | undefined)?.status;
          const ended =
            status === 401 || error.graphQLErrors.some((one) => SIGNED_OUT.has(String(one.extensions.code)));
          // Only while this session is still the one on screen.
          if (ended && token !== null && session.token() === token) session.end();
        },
      }),
      fetchExchange,
      subscriptionExchange({
        forwardSubscription(request) {
          const { payload, saw } = resumable(request.query ?? '', (request.variables ?? {}) as Record<string, unknown>);
          return {
            subscribe(sink) {
              const unsubscribe = socket?.subscribe(payload, {
                next: (result) => {
                  saw(result.data);
                  sink.next(result as Parameters<typeof sink.next>[0]);
                },
                error: (error) => sink.error(error),
                // Ours never end by themselves; urql tells its caller of an error, not of an end.
                complete: () => sink.error(new Error('The server ended the subscription.')),
              });
              return { unsubscribe: () => unsubscribe?.() };
            },
          };
        },
      }),
    ],
  });

  return {
    client,
    connection: {
      current: () => state,
      subscribe: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    async send(document, input) {
      // The cast adds back the one field that was left out of the argument's type.
      const variables = { input: { ...input, commandId: crypto.randomUUID() } } as never;
      for (let attempt = 0; ; attempt++) {
        const result = await client.mutation(document, variables).toPromise();
        if (result.data) return result.data;
        const failure = result.error ? failureOf(result.error) : new ApiFailure('INTERNAL_ERROR', 'Empty answer.');
        const status = (result.error?.response as Response | undefined)?.status ?? 0;
        const passing = failure.code === NO_NETWORK && (status === 0 || status === 429 || status >= 500);
        if (!passing || attempt >= 7) throw failure;
        await pause(backOff(attempt, Math.random(), 400, 6_000));
      }
    },
    async ask(document, variables) {
      for (let attempt = 0; ; attempt++) {
        const result = await client.query(document, variables).toPromise();
        if (result.data && !result.error) return result.data;
        const failure = result.error ? failureOf(result.error) : new ApiFailure('INTERNAL_ERROR', 'Empty answer.');
        if (failure.code !== NO_NETWORK || attempt >= 4) throw failure;
        await pause(backOff(attempt, Math.random(), 300, 4_000));
      }
    },
    close() {
      window.removeEventListener('online', online);
      window.removeEventListener('offline', offline);
      clearTimeout(overdue);
      void socket?.dispose();
      listeners.clear();
    },
  };
}
