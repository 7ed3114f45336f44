export { isDatabaseAway, isTransient, PostgresError, type PostgresErrorCode } from './errors.js';
export { Listener, type ListenerOptions } from './listener.js';
export { migrate, type Migration, type MigrationResult } from './migrate.js';
export {
  createPool,
  type Pool,
  type PoolClient,
  type PoolOptions,
  type TransactionOptions,
  withTransaction,
} from './pool.js';
export { lockHolder, type LockHolder, takeLock } from './lock-file.js';
export { locateBinaries } from './binaries.js';
export { isAlive } from './pid-file.js';
export {
  type EmbeddedPostgres,
  ensureDatabase,
  startPostgres,
  type StartPostgresOptions,
  stopOrphan,
} from './server.js';
export { scrub, type Scrubbed, type ScrubbedTable } from './scrub.js';
export { DURABILITY } from './settings.js';
