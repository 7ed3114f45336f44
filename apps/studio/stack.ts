import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type EmbeddedPostgres, ensureDatabase, startPostgres } from '#libs/postgres/index.js';
import { type Databases, loadSettings, publicUrl, type Settings } from '#libs/runtime/index.js';
import { type Home, HOME_VERSION, openHome } from './home.js';
import { choosePort } from './ports.js';
import { Supervised, tail } from './supervised.js';

/** Processes of ours, in the order they stop. They start the other way round. */
export const SERVICES = ['workers', 'api', 'projector', 'eventstore'] as const;
export type ServiceName = (typeof SERVICES)[number];

export interface StackOptions {
  /** Settings come from here; nothing else of the environment is read. */
  env: NodeJS.ProcessEnv;
  /** Folder with `apps/<name>/main.js`; default: the build this file is part of. */
  dist?: string;
  /** Default: all four. The event store is left out by itself when EVENTSTORE_URL is given. */
  services?: readonly ServiceName[];
  /** Ports of the embedded event store; default 2113 and 2114 or the next free ones; 0 for any. */
  eventStorePort?: number;
  eventStoreHttpPort?: number;
  /** Start services again when they die. Default true. */
  restart?: boolean;
  /** Told what happens, in plain words; `problem` is something a person should look at. */
  onEvent?: (event: StackEvent) => void;
  /** Runs when the log is up and nothing else is, for instance to look whether it is empty. */
  beforeServices?: (urls: StackUrls) => Promise<void>;
  /** Further settings of the embedded Postgres. */
  postgresSettings?: Record<string, string>;
  signal?: AbortSignal;
}

export interface StackEvent {
  kind: 'step' | 'note' | 'problem';
  text: string;
}

export interface StackUrls {
  /** As this machine reaches it. Undefined without an api. */
  api: string | undefined;
  /** As people reach it. */
  public: string | undefined;
  eventStore: string;
  /** Health and statistics of the embedded event store. */
  eventStoreHttp: string | undefined;
  databases: { [Name in keyof Databases]: string | undefined };
}

export interface Stack {
  home: Home;
  settings: Settings;
  urls: StackUrls;
  /** The environment the services run with. */
  env: NodeJS.ProcessEnv;
  postgres: EmbeddedPostgres | undefined;
  service(name: ServiceName): Supervised;
  running: readonly ServiceName[];
  /** Stops all in order: workers, api, projector, event store, Postgres. Safe to call twice. */
  stop(): Promise<void>;
  /** Kills the services at once and ends Postgres. */
  abort(): Promise<void>;
}

const HEALTH_TIMEOUT_MS = 60_000;

/**
 * Starts Picturelock on this machine: opens the home, starts whatever of Postgres and the event store no URL is given for,
 * then projector, api and workers as supervised processes, and waits until all of them are healthy. A failure stops what
 * has started.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const tell = (kind: StackEvent['kind'], text: string): void => options.onEvent?.({ kind, text });
  const settings = loadSettings(options.env);
  const wanted = options.services ?? SERVICES;
  const dist = options.dist ?? join(dirname(fileURLToPath(import.meta.url)), '..', '..');
  const services = SERVICES.filter((n) => wanted.includes(n) && !(n === 'eventstore' && settings.eventStoreUrl));
  for (const name of services) {
    const main = join(dist, 'apps', name, 'main.js');
    if (!existsSync(main)) throw new Error(`${main} is missing: run npm run build`);
  }

  const home = openHome(settings.home);
  if (![0, HOME_VERSION].includes(home.openedFrom))
    tell('note', `the home was migrated from layout ${home.openedFrom}`);
  const supervised = new Map<ServiceName, Supervised>();
  let postgres: EmbeddedPostgres | undefined;
  let ending: Promise<void> | undefined;
  let trim: NodeJS.Timeout | undefined;

  const end = (how: 'stop' | 'abort'): Promise<void> => {
    const before = ending;
    ending = (async () => {
      clearInterval(trim);
      if (how === 'abort') await Promise.all([...supervised.values()].map((service) => service.abort()));
      await before;
      for (const name of SERVICES) {
        const service = supervised.get(name);
        if (!service) continue;
        tell('step', `stopping ${name}`);
        await service.stop();
      }
      if (postgres) tell('step', 'stopping the database');
      await postgres?.stop();
      home.release();
    })();
    return ending;
  };
  const stop = (): Promise<void> => ending ?? end('stop');

  const checkAborted = (): void => {
    if (options.signal?.aborted) throw new Error('interrupted');
  };

  try {
    // Databases -------------------------------------------------------------------------------------------------------
    const databases = { ...settings.databases };
    const embedded = (['log', 'read', 'jobs', 'secrets'] as const).filter(
      (name) => databases[name] === undefined && !(name === 'log' && settings.eventStoreUrl),
    );
    if (embedded.length > 0) {
      tell('step', 'starting the database');
      const begin = (port?: number): Promise<EmbeddedPostgres> =>
        startPostgres({
          dataDir: home.postgres,
          log: (line) => tell('note', line),
          ...(port === undefined ? {} : { port }),
          ...(options.postgresSettings ? { settings: options.postgresSettings } : {}),
        });
      postgres = await begin();
      for (const name of embedded) databases[name] = postgres.url(`picturelock_${name}`);
      const watch = (server: EmbeddedPostgres): void =>
        void server.exited.then(async () => {
          for (let attempt = 1; !ending; attempt++) {
            tell('problem', 'the database server ended by itself; starting it again');
            try {
              await server.stop(); // lets go of its lock
              postgres = await begin(server.port);
              return watch(postgres);
            } catch (error) {
              tell('problem', (error as Error).message);
              await sleep(Math.min(1_000 * attempt, 15_000));
            }
          }
        });
      watch(postgres);
    }
    for (const [name, url] of Object.entries(databases)) {
      if (url === undefined || (name === 'log' && settings.eventStoreUrl)) continue;
      await ensureDatabase(url).catch((error: Error) => {
        throw new Error(`The ${name} database can't be opened: ${error.message}`, { cause: error });
      });
    }
    checkAborted();

    // Ports and environment ---------------------------------------------------------------------------------------------
    const loopback = '127.0.0.1';
    const urls: StackUrls = {
      api: undefined,
      public: undefined,
      eventStore: settings.eventStoreUrl ?? '',
      eventStoreHttp: undefined,
      databases,
    };
    let eventStoreEnv: NodeJS.ProcessEnv = {};
    if (services.includes('eventstore')) {
      const port = await choosePort({
        host: loopback,
        preferred: options.eventStorePort ?? 2113,
        variable: 'EVENTSTORE_PORT',
        strict: false,
      });
      const httpPort = await choosePort({
        host: loopback,
        preferred: options.eventStoreHttpPort ?? (options.eventStorePort === 0 ? 0 : port + 1),
        variable: 'EVENTSTORE_HTTP_PORT',
        strict: false,
      });
      // Fixed from here on: after a crash it comes back where its clients look for it.
      eventStoreEnv = {
        EVENTSTORE_DATABASE_URL: databases.log,
        EVENTSTORE_HOST: loopback,
        EVENTSTORE_PORT: String(port),
        EVENTSTORE_HTTP_PORT: String(httpPort),
        EVENTSTORE_LOG_LEVEL: settings.logLevel,
        // Stock clients send credentials over TLS only, and Node wants no address as the name of a TLS server.
        EVENTSTORE_ADMIN_PASSWORD: home.secrets.eventStorePassword,
        EVENTSTORE_TLS_FOLDER: home.eventStoreTls,
        // Many large buffers come and go: glibc keeps less of them with fewer arenas.
        MALLOC_ARENA_MAX: '2',
      };
      const authority = encodeURIComponent(join(home.eventStoreTls, 'ca.pem'));
      const credentials = `admin:${home.secrets.eventStorePassword}`;
      urls.eventStore = `kurrentdb://${credentials}@localhost:${port}?tls=true&tlsCaFile=${authority}`;
      urls.eventStoreHttp = `http://${loopback}:${httpPort}`;
    }
    let apiPort = settings.api.port;
    if (services.includes('api')) {
      apiPort = await choosePort({
        host: settings.api.host,
        preferred: settings.api.port,
        variable: 'API_PORT',
        strict: Boolean(options.env['API_PORT']),
      });
      const everywhere = settings.api.host === '0.0.0.0' || settings.api.host === '::';
      urls.api = `http://${everywhere ? loopback : settings.api.host}:${apiPort}`;
      urls.public = publicUrl(settings, apiPort);
      if (settings.api.port !== 0 && apiPort !== settings.api.port) {
        tell('note', `port ${settings.api.port} is taken: using ${apiPort} (set API_PORT to choose)`);
      }
    }
    const env: NodeJS.ProcessEnv = {
      ...options.env,
      PICTURELOCK_HOME: home.path,
      NODE_ENV: settings.env,
      EVENTSTORE_URL: urls.eventStore,
      READ_DATABASE_URL: databases.read,
      JOBS_DATABASE_URL: databases.jobs,
      SECRETS_DATABASE_URL: databases.secrets,
      STORAGE_URL: settings.storageUrl,
      API_PORT: String(apiPort),
      PUBLIC_URL: urls.public,
      // One machine, several processes: none of them may take the port of another.
      HEALTH_PORT: '0',
    };

    // Services -----------------------------------------------------------------------------------------------------------
    const launch = async (name: ServiceName): Promise<void> => {
      const service = new Supervised({
        name,
        main: join(dist, 'apps', name, 'main.js'),
        // The event store gets what it needs and no secret of the others.
        env:
          name === 'eventstore'
            ? {
                PATH: options.env['PATH'],
                NODE_OPTIONS: options.env['NODE_OPTIONS'],
                NODE_ENV: settings.env,
                ...eventStoreEnv,
              }
            : env,
        // Its heap holds some 50 MB; knowing a limit, V8 cleans up before it has taken several times that. By itself it
        // would then do so every few thousand events, which costs more than all else that is done for them.
        ...(name === 'eventstore' ? { execArgv: ['--max-old-space-size=512', '--heap-growing-percent=200'] } : {}),
        logFile: join(home.logs, `${name}.log`),
        stopTimeoutMs: (settings.shutdownSeconds + 5) * 1_000,
        ...(options.restart === undefined ? {} : { restart: options.restart }),
        onEvent: (event) => {
          if (event.kind === 'restarted') return tell('note', `${name} is back (process ${event.pid})`);
          const how = event.signal ?? `code ${event.code}`;
          const next = event.restartInMs === undefined ? 'it stays down' : 'starting it again';
          tell('problem', `${name} ended by itself (${how}), ${next}${event.lastLines ? `:\n${event.lastLines}` : ''}`);
        },
      });
      supervised.set(name, service);
      tell('step', `starting ${name}`);
      await service.start();
    };
    if (services.includes('eventstore')) await launch('eventstore');
    checkAborted();
    await options.beforeServices?.(urls);
    const rest = services.filter((name) => name !== 'eventstore').reverse();
    const outcomes = await Promise.allSettled(rest.map(launch));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    checkAborted();

    // Health -------------------------------------------------------------------------------------------------------------
    tell('step', 'waiting until everything is healthy');
    const probes = services.flatMap((name): { name: ServiceName; url: string }[] => {
      const healthPort = supervised.get(name)?.ready?.['healthPort'];
      const base =
        name === 'api'
          ? urls.api
          : name === 'eventstore'
            ? urls.eventStoreHttp
            : typeof healthPort === 'number'
              ? `http://${loopback}:${healthPort}`
              : undefined;
      return base ? [{ name, url: `${base}/health/ready` }] : [];
    });
    await Promise.all(
      probes.map(({ name, url }) =>
        healthy(url, HEALTH_TIMEOUT_MS, checkAborted).catch((error: Error) => {
          const log = join(home.logs, `${name}.log`);
          throw new Error(`${name}: ${error.message}\n${tail(log, 0)}\n(more in ${log})`, { cause: error });
        }),
      ),
    );

    trim = setInterval(() => supervised.forEach((service) => service.trimLog()), 60_000);
    trim.unref();
    home.note({
      pid: process.pid,
      startedAt: new Date().toISOString(),
      eventStore: urls.eventStore,
      ...(postgres ? { postgres: { url: postgres.url('postgres'), clusterDir: postgres.clusterDir } } : {}),
      ...(urls.public ? { url: urls.public } : {}),
    });
    return {
      home,
      settings,
      urls,
      env,
      get postgres() {
        return postgres;
      },
      service: (name) => {
        const service = supervised.get(name);
        if (!service) throw new Error(`${name} is not part of this stack`);
        return service;
      },
      running: services,
      stop,
      abort: () => end('abort'),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when the address answers 200. */
async function healthy(url: string, timeoutMs: number, checkAborted: () => void): Promise<void> {
  let last = 'no answer';
  for (const until = Date.now() + timeoutMs; Date.now() < until; await sleep(100)) {
    checkAborted();
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
      if (response.ok) return void (await response.arrayBuffer());
      last = `${response.status} ${(await response.text()).slice(0, 500)}`;
    } catch (error) {
      last = (error as Error).message;
    }
  }
  throw new Error(`${url} is not healthy after ${timeoutMs / 1000} s: ${last}`);
}
