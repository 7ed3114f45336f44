import { availableParallelism, release } from 'node:os';
import { PostgresError } from './errors.js';

const MB = 1024 * 1024;
/** Read models get their indexes side by side: with so few cores, several workers for one index only cost more. */
const FEW_CORES = 4;

/** Settings that make an acknowledged commit survive a power cut. They can't be changed by anyone, tests included. */
export const DURABILITY: Readonly<Record<string, string>> = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
};

/**
 * Server settings for a machine with `memoryBytes` of memory and so many cores that Postgres shares with Node and ffmpeg: an
 * eighth of the memory as buffers, between 64 MB and 1 GB. `overrides` win, except over durability
 * (`POSTGRES_UNSAFE_SETTING`).
 */
export function serverSettings(
  memoryBytes: number,
  overrides: Record<string, string> = {},
  cores = availableParallelism(),
): Record<string, string> {
  for (const [name, value] of Object.entries(DURABILITY)) {
    const wanted = overrides[name];
    if (wanted !== undefined && wanted !== value) {
      throw new PostgresError(
        'POSTGRES_UNSAFE_SETTING',
        `${name} must stay ${value}: acknowledged events may not be lost`,
      );
    }
  }
  const buffers = Math.round(Math.min(Math.max(memoryBytes / 8, 64 * MB), 1024 * MB) / MB);
  return {
    max_connections: '200',
    shared_buffers: `${buffers}MB`,
    effective_cache_size: `${Math.max(128, Math.round(memoryBytes / 2 / MB))}MB`,
    work_mem: '8MB',
    maintenance_work_mem: `${Math.max(64, Math.round(buffers / 4))}MB`,
    ...(cores <= FEW_CORES ? { max_parallel_maintenance_workers: '0' } : {}),
    max_wal_size: '2GB',
    min_wal_size: '128MB',
    checkpoint_timeout: '10min',
    // Short OLTP statements only: compiling them costs more than it saves.
    jit: 'off',
    // SSDs are what people have.
    random_page_cost: '1.1',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %a@%d ',
    log_checkpoints: 'off',
    password_encryption: 'scram-sha-256',
    ...recoverySync(process.platform, release()),
    ...overrides,
    ...DURABILITY,
  };
}

/**
 * After a crash Postgres makes sure that every file of the cluster is on the disk. One call for the whole file system takes a
 * tenth of the time of a thousand calls; older kernels don't tell its errors.
 */
export function recoverySync(platform: NodeJS.Platform, kernel: string): Record<string, string> {
  const [major = 0, minor = 0] = kernel.split('.').map(Number);
  const tellsErrors = platform === 'linux' && (major > 5 || (major === 5 && minor >= 8));
  return tellsErrors ? { recovery_init_sync_method: 'syncfs' } : {};
}

/** Unix socket paths end at 107 bytes on Linux, 103 on macOS; `.s.PGSQL.65535.lock` is added to the folder. */
export const socketPathFits = (dir: string): boolean => Buffer.byteLength(`${dir}/.s.PGSQL.65535.lock`) <= 103;
