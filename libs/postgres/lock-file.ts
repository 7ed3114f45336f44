import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isAlive, startStamp } from './pid-file.js';

export interface LockHolder {
  pid: number;
  /** Start time of the process, so that a later one with the same id is not taken for it. */
  stamp: string;
}

/** Who holds a lock file, if that process still lives. */
export function lockHolder(path: string): LockHolder | undefined {
  try {
    const holder = JSON.parse(readFileSync(path, 'utf8')) as LockHolder;
    return isAlive(holder.pid) && startStamp(holder.pid) === holder.stamp ? holder : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Takes a lock that lasts as long as this process: a file with its id. One left by a dead process is replaced. Throws what
 * `inUse` makes when a live process holds it. Returns the release.
 */
export function takeLock(path: string, inUse: (pid: number) => Error): () => void {
  const me = JSON.stringify({ pid: process.pid, stamp: startStamp(process.pid) } satisfies LockHolder);
  for (let attempt = 0; ; attempt++) {
    try {
      writeFileSync(path, me, { flag: 'wx', mode: 0o600 });
      return () => {
        if (existsSync(path) && readFileSync(path, 'utf8') === me) rmSync(path, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === 3) throw error;
      const holder = lockHolder(path);
      if (holder) throw inUse(holder.pid);
      rmSync(path, { force: true });
    }
  }
}
