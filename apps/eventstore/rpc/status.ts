import { Metadata, status, type StatusObject } from '@grpc/grpc-js';

/** A gRPC status with the trailers by which stock clients tell their typed errors apart. */
export type RpcError = Error & Pick<StatusObject, 'code' | 'details' | 'metadata'>;

function rpcError(code: status, details: string, trailers: Record<string, string> = {}): RpcError {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailers)) metadata.set(key, headerSafe(value));
  return Object.assign(new Error(details), { code, details, metadata });
}

/** HTTP/2 trailers carry ASCII only; what isn't is percent-encoded as gRPC does for its own message. */
function headerSafe(value: string): string {
  return value.replace(/[^\x20-\x7e]/gu, (character) => encodeURIComponent(character));
}

/** The real server's exceptions: code, message and trailers as it sends them. */
export const rpc = {
  streamDeleted: (stream: string) =>
    rpcError(status.FAILED_PRECONDITION, `Event stream '${stream}' is deleted.`, {
      exception: 'stream-deleted',
      'stream-name': stream,
    }),
  wrongExpectedVersion: (operation: string, stream: string, expected: number, actual: number) =>
    rpcError(
      status.FAILED_PRECONDITION,
      `${operation} failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${expected}, Actual version: ${actual}`,
      {
        exception: 'wrong-expected-version',
        'stream-name': stream,
        'expected-version': String(expected),
        'actual-version': String(actual),
      },
    ),
  maxAppendSizeExceeded: (maximum: number) =>
    rpcError(status.INVALID_ARGUMENT, `Maximum Append Size of ${maximum} Exceeded.`, {
      exception: 'maximum-append-size-exceeded',
      'maximum-append-size': String(maximum),
    }),
  requiredMetadataMissing: (property: string) =>
    rpcError(status.INVALID_ARGUMENT, `Required Metadata Property '${property}' is missing`, {
      exception: 'missing-required-metadata-property',
      'required-metadata-properties': 'type,content-type',
    }),
  unauthenticated: () => rpcError(status.UNAUTHENTICATED, 'Unauthenticated'),
  accessDenied: () => rpcError(status.PERMISSION_DENIED, 'Access Denied', { exception: 'access-denied' }),
  loginNotFound: (login: string) =>
    rpcError(status.NOT_FOUND, `User '${login}' is not found.`, { exception: 'user-not-found', 'login-name': login }),
  loginConflict: (login: string) =>
    rpcError(status.FAILED_PRECONDITION, 'Conflict.', { exception: 'user-conflict', 'login-name': login }),
  loginTryAgain: (login: string) =>
    rpcError(status.DEADLINE_EXCEEDED, 'Try again.', { exception: 'user-conflict', 'login-name': login }),
  scavengeNotFound: (id: string) =>
    rpcError(status.NOT_FOUND, 'Scavenge id was invalid.', { exception: 'scavenge-not-found', 'scavenge-id': id }),
  persistentSubscriptionFailed: (stream: string, group: string, reason: string) =>
    rpcError(status.INTERNAL, `Subscription group ${group} on stream ${stream} failed: '${reason}'`, {
      exception: 'persistent-subscription-failed',
      'stream-name': stream,
      'group-name': group,
      reason,
    }),
  persistentSubscriptionDoesNotExist: (stream: string, group: string) =>
    rpcError(status.NOT_FOUND, `Subscription group ${group} on stream ${stream} does not exist.`, {
      exception: 'persistent-subscription-does-not-exist',
      'stream-name': stream,
      'group-name': group,
    }),
  noPersistentSubscription: (stream: string) =>
    rpcError(status.NOT_FOUND, `Subscription group  on stream ${stream} does not exist.`, {
      exception: 'persistent-subscription-does-not-exist',
      'stream-name': stream,
    }),
  persistentSubscriptionExists: (stream: string, group: string) =>
    rpcError(status.ALREADY_EXISTS, `Subscription group ${group} on stream ${stream} exists.`, {
      exception: 'persistent-subscription-exists',
      'stream-name': stream,
      'group-name': group,
    }),
  maximumSubscribersReached: (stream: string, group: string) =>
    rpcError(
      status.FAILED_PRECONDITION,
      `Maximum subscriptions reached for subscription group ${group} on stream ${stream}.`,
      { exception: 'maximum-subscribers-reached', 'stream-name': stream, 'group-name': group },
    ),
  persistentSubscriptionDropped: (stream: string, group: string) =>
    rpcError(status.CANCELLED, `Subscription group ${group} on stream ${stream} was dropped.`, {
      exception: 'persistent-subscription-dropped',
      'stream-name': stream,
      'group-name': group,
    }),
  projectionNotFound: (name: string) => rpcError(status.NOT_FOUND, `Projection '${name}' not found`),
  systemProjection: (name: string, what: string) =>
    rpcError(status.FAILED_PRECONDITION, `System projection '${name}' is always on and can't be ${what}.`),
  readFailed: (what: 'Stream' | 'All' = 'Stream') => rpcError(status.UNKNOWN, `Unexpected Read${what}Result: Error`),
  timeout: (message: string) => rpcError(status.ABORTED, `Operation timed out: ${message}`),
  unavailable: (reason: string) => rpcError(status.UNAVAILABLE, `Server Is Not Ready: ${reason}`),
  invalidArgument: (message: string) => rpcError(status.INVALID_ARGUMENT, message),
  unimplemented: (what: string) =>
    rpcError(status.UNIMPLEMENTED, `${what} is not supported by the embedded event store.`),
  internal: (message: string) => rpcError(status.INTERNAL, message),
};

export function isRpcError(error: unknown): error is RpcError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}
