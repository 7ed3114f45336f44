/** Stable codes of everything that this room refuses or fails with. */
export type PostgresErrorCode =
  | 'POSTGRES_UNSUPPORTED_PLATFORM'
  | 'POSTGRES_BINARIES_UNREADABLE'
  | 'POSTGRES_NO_UNPRIVILEGED_USER'
  | 'POSTGRES_DATA_UNREACHABLE'
  | 'POSTGRES_DATA_FOREIGN'
  | 'POSTGRES_DATA_MISSING'
  | 'POSTGRES_NEWER_MAJOR'
  | 'POSTGRES_OLDER_MAJOR'
  | 'POSTGRES_IN_USE'
  | 'POSTGRES_PORT_IN_USE'
  | 'POSTGRES_INIT_FAILED'
  | 'POSTGRES_START_FAILED'
  | 'POSTGRES_UNSAFE_SETTING'
  | 'POSTGRES_WRONG_ENCODING'
  | 'SCHEMA_NEWER'
  | 'SCHEMA_CHANGED';

/** A failure with a code that programs can branch on and a message that tells the operator what to do. */
export class PostgresError extends Error {
  override readonly name = 'PostgresError';

  constructor(
    readonly code: PostgresErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * The server can't be reached, goes down or comes up, or the database is not there: nothing that a statement did. Asking
 * again helps once it is back.
 */
export function isDatabaseAway(error: unknown): boolean {
  // The mapper's errors carry the driver's.
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code === 'string')
    return /^08/.test(code) || ['57P01', '57P02', '57P03', '3D000'].includes(code) || /^E(CONN|PIPE)/.test(code);
  return (
    typeof message === 'string' &&
    /^(Connection terminated|Client (has encountered a connection error|was closed))/.test(message)
  );
}

/**
 * Errors that say nothing about what was asked: the server is away, full or out of connections, or the transaction was
 * the loser of a deadlock. They go away by waiting.
 */
export function isTransient(error: unknown): boolean {
  if (isDatabaseAway(error)) return true;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code !== 'string')
    return typeof message === 'string' && message.startsWith('timeout exceeded when trying to connect');
  return (
    /^(53|58)/.test(code) ||
    ['57P05', '57014', '40001', '40P01', '55P03', '25P03'].includes(code) ||
    /^E(TIMEDOUT|HOST|NET|AI_)/.test(code)
  );
}
