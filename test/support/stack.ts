import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type ServiceName, type Stack, type StackUrls, startStack as launch } from '#apps/studio/stack.js';
import { DIST, ensureBuilt } from './build.js';
import { testServer } from './database.js';

export type { ServiceName } from '#apps/studio/stack.js';

export interface TestStackOptions {
  /** Postgres takes as much memory as on an installation, not as little as tests make do with. */
  readonly asInstalled?: boolean;
  /** A home to start on again; default: a new temporary one that `stop()` removes. */
  home?: string;
  /** Settings on top of the tests' own (ephemeral ports, log level, …). */
  env?: NodeJS.ProcessEnv;
  /** Default: all four. */
  services?: readonly ServiceName[];
  /** Restart services that die, as the launcher does. Default false: the test decides when. */
  supervise?: boolean;
  /** `embedded` (default): a Postgres of its own in the home, as in the product. `shared`: databases on the run's server. */
  database?: 'embedded' | 'shared';
}

export interface TestStack {
  /** The public API, `http://127.0.0.1:<port>`. Empty without an api. */
  apiUrl: string;
  urls: StackUrls;
  home: string;
  /** The environment the services run with. */
  env: NodeJS.ProcessEnv;
  /** The launcher's own view: supervised processes, Postgres. */
  stack: Stack;
  pid(name: ServiceName): number | undefined;
  /** What a service has written so far. */
  log(name: ServiceName): string;
  /** Problems and notes the launcher would have shown. */
  events: string[];
  /** Sends a signal (default SIGKILL) and resolves when the process is gone. */
  killService(name: ServiceName, signal?: NodeJS.Signals): Promise<void>;
  /** Ends a service in order if it runs, and starts it; resolves when it is ready. */
  restartService(name: ServiceName): Promise<void>;
  /** Stops everything; removes the home when it was ours, unless `keepHome`. */
  stop(options?: { keepHome?: boolean }): Promise<void>;
}

/** A temporary home that a Postgres run by root can use too (its account must be able to pass). */
export function temporaryHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'picturelock-home-'));
  chmodSync(home, 0o711);
  return home;
}

/** The whole system as `npm start` runs it, by the same code, on ephemeral ports and in a temporary home. */
export async function startStack(options: TestStackOptions = {}): Promise<TestStack> {
  await ensureBuilt();
  const home = options.home ?? temporaryHome();
  const prefix = `test_${randomBytes(6).toString('hex')}`;
  const server = options.database === 'shared' ? new URL(await testServer()) : undefined;
  if (server) server.pathname = `/${prefix}`;
  const events: string[] = [];
  const removeHome = (): void => {
    if (!options.home) rmSync(home, { recursive: true, force: true });
  };
  let stack: Stack;
  try {
    stack = await launch({
      env: {
        PATH: process.env.PATH,
        NODE_ENV: 'test',
        LOG_LEVEL: 'info',
        API_PORT: '0',
        SHUTDOWN_SECONDS: '10',
        ...(server ? { DATABASE_URL: server.toString() } : {}),
        ...options.env,
        PICTURELOCK_HOME: home,
      },
      dist: DIST,
      eventStorePort: 0,
      restart: options.supervise ?? false,
      postgresSettings: options.asInstalled ? {} : { shared_buffers: '64MB' },
      ...(options.services ? { services: options.services } : {}),
      onEvent: ({ kind, text }) => {
        if (kind !== 'step') events.push(`${kind}: ${text}`);
      },
    });
  } catch (error) {
    removeHome();
    throw error;
  }
  const logFile = (name: ServiceName): string => join(stack.home.logs, `${name}.log`);
  return {
    apiUrl: stack.urls.api ?? '',
    urls: stack.urls,
    home,
    env: stack.env,
    stack,
    events,
    pid: (name) => stack.service(name).pid,
    log: (name) => (existsSync(logFile(name)) ? readFileSync(logFile(name), 'utf8') : ''),
    killService: async (name, signal = 'SIGKILL') => {
      const service = stack.service(name);
      const { gone } = service;
      service.kill(signal);
      await gone;
    },
    restartService: async (name) => {
      await stack.service(name).stop();
      await stack.service(name).start();
    },
    stop: async ({ keepHome = false } = {}) => {
      await stack.stop();
      if (server) await dropDatabases(server, prefix);
      if (!keepHome) removeHome();
    },
  };
}

async function dropDatabases(server: URL, prefix: string): Promise<void> {
  const maintenance = new URL(server);
  maintenance.pathname = '/postgres';
  const client = new pg.Client({ connectionString: maintenance.toString() });
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(
      'SELECT datname AS name FROM pg_database WHERE starts_with(datname, $1)',
      [`${prefix}_`],
    );
    for (const { name } of rows) await client.query(`DROP DATABASE ${pg.escapeIdentifier(name)} WITH (FORCE)`);
  } finally {
    await client.end();
  }
}
