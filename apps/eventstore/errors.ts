/** Why the server refuses to start. Stable: supervisors match on it. */
export type StartRefusal =
  | 'EVENTSTORE_SETTINGS_INVALID'
  | 'EVENTSTORE_DATABASE_UNREACHABLE'
  | 'EVENTSTORE_DATABASE_NEWER'
  | 'EVENTSTORE_DATABASE_IN_USE'
  | 'EVENTSTORE_DATABASE_NOT_DURABLE'
  | 'EVENTSTORE_DATABASE_ENCODING'
  | 'EVENTSTORE_PORT_UNAVAILABLE';

export class StartRefused extends Error {
  constructor(
    readonly code: StartRefusal,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'StartRefused';
  }
}
