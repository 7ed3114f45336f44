/** A process of a bench's own, so that what it uses is nobody else's: asked over IPC, one thing after the other. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ROOT } from '../support/build.js';

export interface SideProcess {
  readonly pid: number;
  send(message: object | string): void;
  /** The next it tells, in order. Rejects when it has ended. */
  told(): Promise<unknown>;
  /** Has it end by itself: it hears that its parent has disconnected. */
  stop(): Promise<void>;
}

/**
 * Runs the module with these arguments; resolves when it has told that it is ready, whatever it tells first.
 *
 * @param module its URL
 * @param env instead of this process' own
 */
export async function startSideProcess(
  module: string,
  args: readonly string[],
  env?: NodeJS.ProcessEnv,
): Promise<SideProcess> {
  const file = fileURLToPath(module);
  const child = fork(file, [...args], {
    ...(env && { env: { PATH: process.env.PATH, ...env } }),
    execArgv: ['--no-warnings', '--import', join(ROOT, 'scripts', 'typescript.mjs')],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const waiting: unknown[] = [];
  let wake: (() => void) | undefined;
  let ended: string | undefined;
  child.on('message', (message) => {
    waiting.push(message);
    wake?.();
  });
  child.once('exit', (code, signal) => {
    ended = `${file} ended (${code ?? signal})`;
    wake?.();
  });
  const told = async (): Promise<unknown> => {
    while (waiting.length === 0) {
      if (ended !== undefined) throw new Error(ended);
      await new Promise<void>((resolve) => (wake = resolve));
    }
    return waiting.shift();
  };
  await told();
  return {
    pid: child.pid!,
    send: (message) => void child.send(message),
    told,
    stop: async () => {
      if (ended !== undefined) return;
      const exit = once(child, 'exit');
      child.disconnect();
      await exit;
    },
  };
}
