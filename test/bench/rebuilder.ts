/**
 * A process that reads and rebuilds, so that its memory is nobody else's: does what the parent asks over IPC, one thing after
 * the other, with the environment of a service.
 */
import { KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import { rebuildAll } from '#apps/projector/index.js';
import { openEventLog } from '#libs/events/log/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { startSideProcess } from './side-process.js';

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

type Message = { progress: number } | { done: Done } | { failed: string };

export async function startRebuilder(env: NodeJS.ProcessEnv): Promise<Rebuilder> {
  const side = await startSideProcess(import.meta.url, ['--work'], env);
  return {
    pid: side.pid,
    run: async (task, onProgress) => {
      side.send(task);
      for (;;) {
        const message = (await side.told()) as Message;
        if ('done' in message) return message.done;
        if ('failed' in message) throw new Error(message.failed);
        onProgress?.(message.progress);
      }
    },
    stop: side.stop,
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
