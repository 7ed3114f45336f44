import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { isAlive, lockHolder, takeLock } from '#libs/postgres/index.js';
import { ensureSecrets, type Secrets } from '#libs/runtime/index.js';

/** A home that can't be used, with what to do about it. */
export class HomeError extends Error {
  override readonly name = 'HomeError';

  constructor(
    readonly code: 'HOME_IN_USE' | 'HOME_NEWER' | 'HOME_DAMAGED' | 'HOME_FOREIGN' | 'HOME_UNWRITABLE',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What the running launcher tells other commands (`stop`, `doctor`). */
export interface RunInfo {
  pid: number;
  startedAt: string;
  url?: string;
  /** Connection string of the event store, with credentials. */
  eventStore?: string;
  /** The embedded Postgres: URL with its password, and its folder. */
  postgres?: { url: string; clusterDir: string };
}

export interface Home {
  path: string;
  /** Differs between any two homes. */
  id: string;
  secrets: Secrets;
  postgres: string;
  /** Certificate of the embedded event store, made by itself; clients trust `ca.pem` in it. */
  eventStoreTls: string;
  logs: string;
  /** Version the home had before this opening migrated it; equal to the current one when nothing was to do. */
  openedFrom: number;
  note(info: RunInfo): void;
  release(): void;
}

/**
 * Steps from one layout of the home to the next; the index is the version it starts from. Version 0 is a home without
 * home.json, as the very first builds made it.
 */
const MIGRATIONS: readonly ((path: string) => void)[] = [
  () => undefined, // 0 → 1: home.json begins
];

export const HOME_VERSION = MIGRATIONS.length;

interface Marker {
  version: number;
  id: string;
  createdAt: string;
}

const OURS = [
  'home.json',
  'secrets.json',
  'erasures.ndjson',
  'postgres',
  'eventstore-tls',
  'blobs',
  'logs',
  'launcher.lock',
  'launcher.json',
  'demo.json',
];

function writeMarker(path: string, marker: Marker): void {
  const part = join(path, `home.json.${randomBytes(4).toString('hex')}`);
  writeFileSync(part, `${JSON.stringify(marker, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(part, join(path, 'home.json'));
}

function readMarker(path: string): Marker | undefined {
  const file = join(path, 'home.json');
  if (!existsSync(file)) return undefined;
  try {
    const marker = JSON.parse(readFileSync(file, 'utf8')) as Marker;
    if (Number.isInteger(marker.version) && typeof marker.id === 'string') return marker;
  } catch {
    // said below
  }
  throw new HomeError('HOME_DAMAGED', `${file} is damaged: restore it from the backup of the home.`);
}

/** Opens the home for this process alone: makes it, migrates an older one, refuses a newer one. */
export function openHome(where: string): Home {
  const path = resolve(where);
  const isRoot = process.getuid?.() === 0;
  try {
    // As root, Postgres runs under another account that must be able to pass through; the files themselves are closed.
    if (!existsSync(path)) mkdirSync(path, { recursive: true, mode: isRoot ? 0o711 : 0o700 });
    if (readMarker(path) === undefined) refuseForeign(path);
    mkdirSync(join(path, 'logs'), { recursive: true, mode: 0o700 });
  } catch (error) {
    if (error instanceof HomeError) throw error;
    throw new HomeError(
      'HOME_UNWRITABLE',
      `The home ${path} can't be written (${(error as NodeJS.ErrnoException).code}): set PICTURELOCK_HOME to a folder of yours.`,
      { cause: error },
    );
  }
  const release = takeLock(join(path, 'launcher.lock'), (pid) => {
    return new HomeError(
      'HOME_IN_USE',
      `Picturelock is running already on ${path} (process ${pid}). Stop it with \`npx picturelock stop\`, or set another PICTURELOCK_HOME.`,
    );
  });
  try {
    const marker = readMarker(path) ?? {
      version: 0,
      id: randomBytes(8).toString('hex'),
      createdAt: new Date().toISOString(),
    };
    if (marker.version > HOME_VERSION) {
      throw new HomeError(
        'HOME_NEWER',
        `The home ${path} has layout ${marker.version}; this Picturelock knows ${HOME_VERSION}. Start the newer one that wrote it.`,
      );
    }
    for (let version = marker.version; version < HOME_VERSION; version++) {
      MIGRATIONS[version]!(path);
      writeMarker(path, { ...marker, version: version + 1 });
    }
    const secrets = ensureSecrets(path);
    return {
      path,
      id: marker.id,
      secrets,
      postgres: join(path, 'postgres'),
      eventStoreTls: join(path, 'eventstore-tls'),
      logs: join(path, 'logs'),
      openedFrom: marker.version,
      note: (info) => {
        writeFileSync(join(path, 'launcher.json'), JSON.stringify(info), { mode: 0o600 });
        chmodSync(join(path, 'launcher.json'), 0o600);
      },
      release: () => {
        rmSync(join(path, 'launcher.json'), { force: true });
        release();
      },
    };
  } catch (error) {
    release();
    throw error;
  }
}

/** A mistyped PICTURELOCK_HOME must not scatter our files over somebody's folder. */
function refuseForeign(path: string): void {
  const foreign = readdirSync(path).filter((name) => !OURS.includes(name) && !name.startsWith('.'));
  if (foreign.length > 0 && !existsSync(join(path, 'secrets.json'))) {
    throw new HomeError(
      'HOME_FOREIGN',
      `${path} is not empty (${foreign.slice(0, 3).join(', ')}…) and no home of Picturelock: set PICTURELOCK_HOME to an empty or new folder.`,
    );
  }
}

/** The launcher that runs on a home, if any. */
export function runningLauncher(home: string): RunInfo | undefined {
  const holder = lockHolder(join(resolve(home), 'launcher.lock'));
  if (!holder || !isAlive(holder.pid)) return undefined;
  try {
    const info = JSON.parse(readFileSync(join(resolve(home), 'launcher.json'), 'utf8')) as RunInfo;
    if (info.pid === holder.pid) return info;
  } catch {
    // it has only just begun
  }
  return { pid: holder.pid, startedAt: '' };
}
