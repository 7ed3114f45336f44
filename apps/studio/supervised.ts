import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { dirname } from 'node:path';

export interface ReadyMessage {
  type: 'ready';
  [detail: string]: unknown;
}

export interface SupervisedOptions {
  name: string;
  /** The script to run. */
  main: string;
  execArgv?: string[];
  env: NodeJS.ProcessEnv;
  /** Its stdout and stderr, appended. */
  logFile: string;
  /** Time from spawn to `{ type: 'ready' }`. Default 60 s. */
  readyTimeoutMs?: number;
  /** Patience between SIGTERM and SIGKILL. Default 25 s. */
  stopTimeoutMs?: number;
  /** Start it again when it ends by itself. Default true. */
  restart?: boolean;
  /** Told about unexpected ends and restarts. */
  onEvent?: (event: SupervisedEvent) => void;
}

export type SupervisedEvent =
  | { kind: 'exited'; code: number | null; signal: NodeJS.Signals | null; restartInMs?: number; lastLines: string }
  | { kind: 'restarted'; pid: number };

const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 15_000;
/** A process that ran this long was healthy: the next back-off begins anew. */
const HEALTHY_MS = 60_000;
const MAX_LOG_BYTES = 32 * 1024 * 1024;
/** A wrong configuration: trying again can't help (EX_CONFIG of our services, 2 of the event store). */
const HOPELESS_EXITS = [78, 2];

/** How long to wait before the `failures`-th restart in a row (ms). */
export const backoff = (failures: number): number =>
  Math.min(FIRST_BACKOFF_MS * 2 ** Math.max(0, failures - 1), MAX_BACKOFF_MS);

/**
 * One child process with an IPC channel, kept running. It leads a process group of its own: Ctrl-C reaches only the
 * launcher, and when it dies whatever it had started (ffmpeg) goes with it. Its log is a file, not a pipe, so that it can
 * finish in order when the launcher is killed.
 */
export class Supervised {
  private child: ChildProcess | undefined;
  private failures = 0;
  private startedAt = 0;
  private stopping = false;
  private timer: NodeJS.Timeout | undefined;
  private ended: Promise<void> = Promise.resolve();
  private latest: ReadyMessage | undefined;

  constructor(private readonly options: SupervisedOptions) {}

  get name(): string {
    return this.options.name;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Of the running process; undefined while it starts or is down. */
  get ready(): ReadyMessage | undefined {
    return this.latest;
  }

  /** Resolves when the process that runs now has ended. */
  get gone(): Promise<void> {
    return this.ended;
  }

  /** Starts the process; resolves when it says that it is ready. Rejects (and leaves nothing) when it can't. */
  async start(): Promise<ReadyMessage> {
    this.stopping = false;
    return this.launch();
  }

  private launch(): Promise<ReadyMessage> {
    const { name, main, env, logFile, execArgv, readyTimeoutMs = 60_000 } = this.options;
    mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
    rotate(logFile);
    const log = openSync(logFile, 'a+', 0o600);
    const logStart = fstatSync(log).size;
    const child = spawn(process.execPath, [...(execArgv ?? []), main], {
      env,
      stdio: ['ignore', log, log, 'ipc'],
      detached: true,
    });
    closeSync(log); // the child has its own
    this.child = child;
    this.startedAt = Date.now();

    let reason = '';
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', (error) => {
        reason = error.message;
        if (child.pid === undefined) resolve();
      });
    });
    this.ended = exited.then(() => {
      this.latest = undefined;
      this.sweep(child);
    });

    return new Promise<ReadyMessage>((resolve, reject) => {
      let answered = false;
      const timeout = setTimeout(() => {
        reason = `not ready within ${readyTimeoutMs / 1000} s`;
        this.signalGroup(child, 'SIGKILL');
      }, readyTimeoutMs);
      child.on('message', (message: unknown) => {
        const { type, reason: why } = message as { type?: string; reason?: string };
        if (type === 'failed' && why) reason = why;
        if (type !== 'ready' || answered) return;
        answered = true;
        clearTimeout(timeout);
        this.latest = message as ReadyMessage;
        resolve(this.latest);
      });
      void this.ended.then(() => {
        clearTimeout(timeout);
        const lastLines = tail(logFile, logStart);
        if (!answered) {
          const how = child.signalCode ?? child.exitCode;
          reject(
            new Error(
              `${name} did not start: ${reason || `it ended with ${how}`}` +
                (reason && !lastLines ? '' : `\n${lastLines}\n(more in ${logFile})`),
            ),
          );
          if (this.failures === 0) return; // the first start: whoever called start() decides
        }
        this.onEnded(child, lastLines);
      });
    });
  }

  private onEnded(child: ChildProcess, lastLines: string): void {
    if (this.stopping) return;
    const hopeless = HOPELESS_EXITS.includes(child.exitCode ?? 0);
    const again = (this.options.restart ?? true) && !hopeless;
    if (Date.now() - this.startedAt > HEALTHY_MS) this.failures = 0;
    this.failures++;
    const wait = backoff(this.failures);
    this.options.onEvent?.({
      kind: 'exited',
      code: child.exitCode,
      signal: child.signalCode,
      ...(again ? { restartInMs: wait } : {}),
      lastLines,
    });
    if (!again) return;
    this.timer = setTimeout(() => {
      this.launch().then(
        () => this.options.onEvent?.({ kind: 'restarted', pid: this.child?.pid ?? 0 }),
        () => undefined, // onEnded has told and tries again
      );
    }, wait);
  }

  /** Sends a signal to the process itself, as a fault. False when it is not running. */
  kill(signal: NodeJS.Signals): boolean {
    return this.child?.exitCode === null && this.child.signalCode === null ? this.child.kill(signal) : false;
  }

  /** Asks the process to stop and waits until it and all it started are gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    clearTimeout(this.timer);
    const child = this.child;
    if (!child) return;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const force = setTimeout(() => this.signalGroup(child, 'SIGKILL'), this.options.stopTimeoutMs ?? 25_000);
      await this.ended;
      clearTimeout(force);
    }
    await this.ended;
  }

  /** At once, with everything it started. */
  async abort(): Promise<void> {
    this.stopping = true;
    clearTimeout(this.timer);
    if (this.child) this.signalGroup(this.child, 'SIGKILL');
    await this.ended;
  }

  private signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, signal);
    } catch {
      // nobody left in the group
    }
  }

  /** Ends what a dead process had started. */
  private sweep(child: ChildProcess): void {
    this.signalGroup(child, 'SIGKILL');
  }

  /** Keeps the log of a process that runs for months from filling the disk; called now and then. */
  trimLog(): void {
    const { logFile } = this.options;
    if (!existsSync(logFile) || statSync(logFile).size < MAX_LOG_BYTES) return;
    copyFileSync(logFile, `${logFile}.1`);
    truncateSync(logFile); // the process appends, so it goes on at the beginning
  }
}

function rotate(logFile: string): void {
  if ((statSync(logFile, { throwIfNoEntry: false })?.size ?? 0) < MAX_LOG_BYTES) return;
  copyFileSync(logFile, `${logFile}.1`);
  truncateSync(logFile);
}

/** The last lines that were written after `from`, messages of JSON lines spelled out. */
export function tail(logFile: string, from: number, lines = 12): string {
  if (!existsSync(logFile)) return '';
  const file = openSync(logFile, 'r');
  try {
    const { size } = fstatSync(file);
    const start = Math.max(from > size ? 0 : from, size - 16_384);
    const bytes = Buffer.alloc(size - start);
    readSync(file, bytes, 0, bytes.length, start);
    return bytes.toString('utf8').trim().split('\n').slice(-lines).map(readable).join('\n');
  } finally {
    closeSync(file);
  }
}

function readable(line: string): string {
  try {
    const { level, msg, err } = JSON.parse(line) as { level?: string | number; msg?: string; err?: { stack?: string } };
    return `[${level}] ${msg ?? ''}${err?.stack ? `\n${err.stack}` : ''}`;
  } catch {
    return line;
  }
}
