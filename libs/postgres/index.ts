export { PostgresError, type PostgresErrorCode } from './errors.js';
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
export { type EmbeddedPostgres, ensureDatabase, startPostgres, type StartPostgresOptions } from './server.js';
export { DURABILITY } from './settings.js';
