import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServiceName } from '#apps/studio/stack.js';
import { type ReadyMessage, Supervised } from '#apps/studio/supervised.js';
import { DIST, ensureBuilt } from './build.js';

export interface ServiceProcess {
  readonly name: ServiceName;
  /** Of the process that runs now, or ran last. */
  readonly pid: number;
  /** What it said over IPC: `{ type: 'ready', port?, healthPort?, … }`. */
  readonly ready: ReadyMessage;
  /** Everything it has written so far. */
  log(): string;
  /** Sends a signal (default SIGKILL) and resolves when the process and all it started are gone. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again after a kill, with the same environment; resolves when ready. */
  restart(): Promise<void>;
  /** In order; removes its log. */
  stop(): Promise<void>;
}

/**
 * Starts one of our services from the build, as the launcher does, with exactly `env` (plus PATH). Rejects with the reason
 * and the last lines of its log when it can't start. It is never restarted by itself. `dist`: of another build.
 */
export async function startService(
  name: ServiceName,
  env: NodeJS.ProcessEnv,
  { dist = DIST }: { readonly dist?: string } = {},
): Promise<ServiceProcess> {
  if (dist === DIST) await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), 'picturelock-service-'));
  const logFile = join(folder, `${name}.log`);
  const service = new Supervised({
    name,
    main: join(dist, 'apps', name, 'main.js'),
    env: { PATH: process.env.PATH, NODE_ENV: 'test', ...env },
    logFile,
    restart: false,
  });
  try {
    let ready = await service.start();
    let pid = service.pid!;
    return {
      name,
      get pid() {
        return pid;
      },
      get ready() {
        return ready;
      },
      log: () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : ''),
      kill: async (signal = 'SIGKILL') => {
        service.kill(signal);
        await service.gone;
      },
      restart: async () => {
        ready = await service.start();
        pid = service.pid!;
      },
      stop: async () => {
        await service.stop();
        rmSync(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await service.abort();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
