/**
 * A process that reads and rebuilds, so that its memory is nobody else's: does what the parent asks over IPC, one thing after
 * the other, with the environment of a service.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import { rebuildAll } from '#apps/projector/index.js';
import { openEventLog } from '#libs/events/log/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { ROOT } from '../support/build.js';

export type Task = 'read' | 'rebuild';

export interface Done {
  /** Domain events read, or written by the projection that writes most. */
  readonly events: number;
  readonly seconds: number;
  /** Of this process, user and system, seconds. */
  readonly cpu: number;
}

export interface Rebuilder {
  readonly pid: number;
  /** @param onProgress told now and then how many events were read so far */
  run(task: Task, onProgress?: (events: number) => void): Promise<Done>;
  stop(): Promise<void>;
}

type Message = { progress: number } | { done: Done } | { failed: string } | 'ready';

export async function startRebuilder(env: NodeJS.ProcessEnv): Promise<Rebuilder> {
  const child = fork(fileURLToPath(import.meta.url), ['--work'], {
    env: { PATH: process.env.PATH, ...env },
    execArgv: ['--no-warnings', '--import', join(ROOT, 'scripts', 'typescript.mjs')],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await Promise.race([once(child, 'message'), once(child, 'exit').then(() => Promise.reject(new Error('it ended')))]);
  return {
    pid: child.pid!,
    run: (task, onProgress) =>
      new Promise<Done>((resolve, reject) => {
        const onExit = (): void => reject(new Error('the rebuilding process ended'));
        const onMessage = (message: Message): void => {
          if (message === 'ready') return;
          if ('progress' in message) return onProgress?.(message.progress);
          child.off('message', onMessage).off('exit', onExit);
          if ('done' in message) resolve(message.done);
          else reject(new Error(message.failed));
        };
        child.on('message', onMessage).on('exit', onExit);
        child.send(task);
      }),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.disconnect();
      await once(child, 'exit');
    },
  };
}

const PROGRESS_MS = 500;

async function work(): Promise<void> {
  const config = loadConfig(process.env);
  const secrets = await openSecrets({ databaseUrl: config.databases.secrets, masterKey: config.keys.master });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys });
  const client = KurrentDBClient.connectionString(config.eventStoreUrl);
  const tasks: Readonly<Record<Task, () => Promise<number>>> = {
    // The bare rate: the stock client, and nothing done with what it reads.
    read: async () => {
      let read = 0;
      for await (const { event } of client.readAll({ fromPosition: START }))
        if (event && !event.type.startsWith('$')) read++;
      return read;
    },
    rebuild: async () => {
      const { events } = await rebuildAll({
        log,
        url: config.databases.read,
        onProgress: (progress) => process.send!({ progress }),
        progressMs: PROGRESS_MS,
      });
      return Math.max(...Object.values(events));
    },
  };
  process.on('SIGINT', () => undefined);
  process.on('disconnect', () => process.exit(0));
  process.on('message', (task: Task) => {
    const begun = performance.now();
    const before = process.cpuUsage();
    tasks[task]().then(
      (events) => {
        const { user, system } = process.cpuUsage(before);
        process.send!({ done: { events, seconds: (performance.now() - begun) / 1000, cpu: (user + system) / 1e6 } });
      },
      (error: unknown) => process.send!({ failed: error instanceof Error ? error.stack : String(error) }),
    );
  });
  process.send!('ready');
}

if (process.argv[2] === '--work' && process.send) await work();
