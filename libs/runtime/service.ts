import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Config, ConfigError, loadConfig } from './config.js';
import { createLogger, type Logger } from './logger.js';
import { redactText } from './redact.js';

/** Exit code for a wrong configuration (EX_CONFIG): a supervisor must not try again. */
export const EXIT_CONFIG = 78;

export interface ServiceContext {
  config: Config;
  logger: Logger;
  /** Aborted when the process is told to stop. */
  signal: AbortSignal;
  /** Register metrics here; served at /metrics of the health endpoint (or by the api itself). */
  metrics: Registry;
}

export interface RunningService {
  /** Sent to the parent process along with `{ type: 'ready' }`. Plain JSON, for instance `{ port }`. */
  ready?: object;
  /** Finish what is under way and let go of everything; SHUTDOWN_SECONDS at most. */
  stop(): Promise<void>;
  /** Details for /health/ready; rejecting means not ready. */
  health?(): Promise<object>;
}

/** What a service tells its parent over IPC. */
export type ServiceMessage =
  | { type: 'ready'; service: string; pid: number; healthPort?: number; [detail: string]: unknown }
  | { type: 'failed'; service: string; reason: string };

export interface RunServiceOptions {
  /** False for a service that serves /health itself. Default true. */
  healthEndpoint?: boolean;
}

const tell = (message: ServiceMessage): Promise<void> =>
  new Promise((resolve) => {
    if (!process.send || !process.connected) return resolve();
    process.send(message, () => resolve());
  });

/**
 * The frame of every process of ours: reads the configuration, starts the service, reports `ready` to its parent and ends it
 * in order on SIGTERM, SIGINT or when the parent is gone. An error nobody caught is logged in full and ends the process with
 * code 1; a wrong configuration with 78. Resolves when the service is up.
 *
 * @example await runService('projector', async ({ config, logger }) => ({ stop: async () => undefined }));
 */
export async function runService(
  name: string,
  start: (context: ServiceContext) => Promise<RunningService>,
  options: RunServiceOptions = {},
): Promise<void> {
  process.title = `picturelock-${name}`;
  let config: Config;
  try {
    config = loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    await tell({ type: 'failed', service: name, reason: error.message });
    process.exit(EXIT_CONFIG);
  }
  const logger = createLogger(name, config);
  const metrics = new Registry();
  metrics.setDefaultLabels({ service: name });
  if (config.metrics) collectDefaultMetrics({ register: metrics });

  const dying = (err: unknown, kind: string): void => {
    logger.fatal(
      { err: err instanceof Error ? err : new Error(String(err)), kind },
      'unhandled error: the process ends',
    );
    process.exit(1);
  };
  process.on('uncaughtException', (error) => dying(error, 'uncaughtException'));
  process.on('unhandledRejection', (reason) => dying(reason, 'unhandledRejection'));
  process.on('warning', (err) => logger.warn({ err }, 'warning from Node'));

  const abort = new AbortController();
  let starting: Promise<RunningService> | undefined;
  let health: Server | undefined;
  let stopping = false;

  const shutdown = async (cause: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    logger.info({ cause }, 'stopping');
    setTimeout(() => {
      logger.error({ seconds: config.shutdownSeconds }, 'did not stop in time: ending anyway');
      process.exit(1);
    }, config.shutdownSeconds * 1_000).unref();
    abort.abort(new Error(`stopped by ${cause}`));
    try {
      // A start under way may fail because of the abort: then there is nothing to stop.
      const running = await starting?.catch(() => undefined);
      await running?.stop();
      health?.closeAllConnections();
      health?.close();
      logger.info('stopped');
      process.exit(0);
    } catch (err) {
      logger.error({ err }, 'stopping failed');
      process.exit(1);
    }
  };
  process.on('SIGTERM', () => void shutdown('SIGTERM'));
  process.on('SIGINT', () => void shutdown('SIGINT'));
  // The parent died, perhaps by kill -9: nobody would ever stop us.
  if (process.send) process.on('disconnect', () => void shutdown('the end of the parent process'));

  try {
    starting = start({ config, logger, signal: abort.signal, metrics });
    const running = await starting;
    if (stopping) return;
    let healthPort: number | undefined;
    if (options.healthEndpoint ?? true) {
      health = await serveHealth(name, running, metrics, config, logger);
      healthPort = (health.address() as AddressInfo).port;
    }
    await tell({
      ...running.ready,
      type: 'ready',
      service: name,
      pid: process.pid,
      ...(healthPort === undefined ? {} : { healthPort }),
    });
    logger.info({ ...running.ready, healthPort }, 'ready');
  } catch (err) {
    if (stopping) return;
    logger.fatal({ err }, 'could not start');
    await tell({ type: 'failed', service: name, reason: redactText((err as Error).message ?? String(err)) });
    process.exit(1);
  }
}

/** `/health/live`, `/health/ready` (503 while `health()` rejects) and `/metrics`, for the machine's own supervisor. */
async function serveHealth(
  name: string,
  running: RunningService,
  metrics: Registry,
  config: Config,
  logger: Logger,
): Promise<Server> {
  const server = createServer((request, response) => {
    const json = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(JSON.stringify(body));
    };
    const path = request.url?.split('?')[0];
    if (request.method !== 'GET') return json(405, { code: 'METHOD_NOT_ALLOWED' });
    if (path === '/health/live') return json(200, { status: 'live', service: name, pid: process.pid });
    if (path === '/health/ready') {
      const asked = running.health?.() ?? Promise.resolve({});
      asked.then(
        (details) => json(200, { status: 'ready', service: name, ...details }),
        (err: unknown) => {
          logger.warn({ err }, 'not ready');
          json(503, { status: 'not ready', service: name, reason: redactText((err as Error).message ?? String(err)) });
        },
      );
      return undefined;
    }
    if (path === '/metrics' && config.metrics) {
      metrics.metrics().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        (err: unknown) => {
          logger.error({ err }, 'metrics failed');
          json(500, { code: 'INTERNAL' });
        },
      );
      return undefined;
    }
    return json(404, { code: 'NOT_FOUND' });
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.health.port, config.health.host, () => resolve());
  });
  return server;
}
