import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What Postgres writes into `postmaster.pid` while it runs. */
export interface Postmaster {
  pid: number;
  dataDir: string;
  /** Unset when the server died before it listened. */
  port?: number;
}

/** Parses `postmaster.pid`: pid, data folder, start time, port, socket folder, …, one per line. */
export function parsePidFile(text: string): Postmaster | undefined {
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  const port = Number(lines[3]);
  return { pid, dataDir: lines[1] ?? '', ...(Number.isInteger(port) && port > 0 ? { port } : {}) };
}

/** The same from a file; undefined when there is none or it is cut off. */
export function readPidFile(path: string): Postmaster | undefined {
  try {
    return parsePidFile(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** True while a process with this id exists, whoever owns it; a zombie counts as gone. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' && !isZombie(pid);
  }
  return !isZombie(pid);
}

function procStat(pid: number): string[] | undefined {
  try {
    // The command name is in parentheses and may itself hold blanks: what follows it starts after the last ')'.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function isZombie(pid: number): boolean {
  return procStat(pid)?.[0] === 'Z';
}

/** Something that differs between two processes that had the same id one after the other. */
export function startStamp(pid: number): string {
  const ticks = procStat(pid)?.[19];
  if (ticks) return ticks;
  return spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).stdout?.trim() ?? '';
}

/** The program name of a process, or '' when it can't be told. */
export function programName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    const { stdout } = spawnSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' });
    return stdout?.trim().split('/').pop() ?? '';
  }
}
