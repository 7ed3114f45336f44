import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, totalmem, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Account, accountCan, chooseAccount, localAccounts } from './account.js';
import { type Binaries, locateBinaries } from './binaries.js';
import { PostgresError } from './errors.js';
import { takeLock } from './lock-file.js';
import { isAlive, programName, readPidFile } from './pid-file.js';
import { serverSettings, socketPathFits } from './settings.js';

/** The one superuser of an embedded server; its password is generated when the data folder is made. */
const SUPERUSER = 'picturelock';
const START_TIMEOUT_MS = 60_000;
/** Crash recovery replays up to `max_wal_size` of log: slow disks need minutes, and giving up would be worse. */
const RECOVERY_TIMEOUT_MS = 15 * 60_000;
const FAST_STOP_MS = 30_000;
const MAX_LOG_BYTES = 10 * 1024 * 1024;

export interface StartPostgresOptions {
  /** Our own folder: the cluster is made in `data` below it, beside its password and log. Made when missing. */
  dataDir: string;
  /** Folder for the private Unix socket; default: inside the cluster, which only its owner can enter. */
  socketDir?: string;
  /** TCP port on 127.0.0.1. When unset the port of last time is used if it is free, else any free one. */
  port?: number;
  /** Told in plain lines what happens: initialising, recovering, adopting, relocating. */
  log?: (line: string) => void;
  /** Server settings on top of ours (see `serverSettings`); durability can't be turned off. */
  settings?: Record<string, string>;
  /** Where root puts what an unprivileged Postgres can't reach. Default /var/lib/picturelock. */
  relocationRoot?: string;
}

export interface EmbeddedPostgres {
  /** `postgres://…@127.0.0.1:port/database`, understood by every client. */
  url(database: string): string;
  /** The same over the private Unix socket, for node-pg. */
  socketUrl(database: string): string;
  port: number;
  pid: number;
  /** True when a healthy server left by a killed launcher was taken over instead of started. */
  adopted: boolean;
  /** The cluster folder in use (elsewhere than `dataDir` when relocated). */
  clusterDir: string;
  /** The account that Postgres runs under when we are root. */
  account?: string | undefined;
  /** Makes a UTF-8 database when it is missing. */
  createDatabase(name: string): Promise<void>;
  /** Resolves when the server is gone, wanted or not. */
  exited: Promise<void>;
  /** Disconnects clients, writes a checkpoint and ends the server. Safe to call twice. */
  stop(): Promise<void>;
}

interface State {
  initialised?: boolean;
  port?: number;
  fingerprint?: string;
}

interface Place {
  dataDir: string;
  /** `dataDir`, or the folder root moved the cluster to. */
  base: string;
  cluster: string;
  account: Account | undefined;
}

const readJson = <T>(path: string): T | undefined => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
};

function writePrivate(path: string, text: string): void {
  const part = `${path}.${randomBytes(4).toString('hex')}`;
  writeFileSync(part, text, { mode: 0o600 });
  renameSync(part, path);
}

/**
 * Starts the Postgres that npm installed, in UTF-8 with the built-in C.UTF-8 locale whatever the environment says, on
 * loopback and a private socket, with durability on. Takes over a healthy server that a killed launcher left behind.
 * Run as root it drops to an unprivileged account, and moves the cluster and binaries when that account can't reach them.
 *
 * @throws PostgresError with a code and what to do about it
 */
export async function startPostgres(options: StartPostgresOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir);
  const log = options.log ?? (() => undefined);
  const settings = serverSettings(totalmem(), options.settings);
  const isRoot = process.getuid?.() === 0;
  // Root's Postgres runs as someone else, who must be able to pass through (not list) this folder.
  mkdirSync(dataDir, { recursive: true, mode: isRoot ? 0o711 : 0o700 });
  const release = takeLock(join(dataDir, 'owner.json'), (pid) => {
    return new PostgresError(
      'POSTGRES_IN_USE',
      `${dataDir} is in use by process ${pid}. Stop that one first, or choose another PICTURELOCK_HOME.`,
    );
  });
  try {
    const place = settle(dataDir, options.relocationRoot ?? '/var/lib/picturelock', log);
    const binaries = locateBinaries({
      account: place.account,
      relocationRoot: options.relocationRoot ?? '/var/lib/picturelock',
      log,
    });
    checkVersion(place.cluster, binaries.major);
    const statePath = join(dataDir, 'state.json');
    const state = readJson<State>(statePath) ?? {};
    const password = initialise(place, binaries, state, statePath, log);
    const socketDir = privateSocketDir(options.socketDir, place);
    const fingerprint = createHash('sha256')
      .update(JSON.stringify([settings, binaries.native, socketDir]))
      .digest('hex');

    const found = await adopt(place, password, { ...options, fingerprint, remembered: state.fingerprint }, log);
    const running =
      found ??
      (await launch({ place, binaries, password, settings, socketDir, wanted: options.port, last: state.port, log }));
    writePrivate(statePath, JSON.stringify({ initialised: true, port: running.port, fingerprint } satisfies State));
    return handle({ ...running, adopted: found !== undefined, place, password, socketDir, release, log });
  } catch (error) {
    release();
    throw error;
  }
}

/** Decides under which account and in which folder the cluster lives; as root this may move it. */
function settle(dataDir: string, relocationRoot: string, log: (line: string) => void): Place {
  const pointer = join(dataDir, 'RELOCATED');
  const moved = existsSync(pointer) ? readFileSync(pointer, 'utf8').trim() : undefined;
  const at = (base: string, account?: Account): Place => ({ dataDir, base, cluster: join(base, 'data'), account });
  const ownerOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.uid;

  if (process.getuid?.() !== 0) {
    const place = at(moved ?? dataDir);
    let owner: number | undefined;
    try {
      owner = ownerOf(place.cluster);
    } catch {
      owner = -1; // a folder on the way is closed to us
    }
    if (owner !== undefined && process.getuid && owner !== process.getuid()) {
      throw new PostgresError(
        'POSTGRES_DATA_FOREIGN',
        `The database in ${place.cluster} belongs to another user. Start as that user, or set PICTURELOCK_HOME to a folder of ${userInfo().username}.`,
      );
    }
    return place;
  }

  const account = chooseAccount(localAccounts(), ownerOf(join(moved ?? dataDir, 'data')));
  if (!account) {
    throw new PostgresError(
      'POSTGRES_NO_UNPRIVILEGED_USER',
      'Postgres refuses to run as root, and there is no account `picturelock`, `postgres` or `nobody` to run it under. ' +
        'Make one (`useradd --system picturelock`) or start as another user.',
    );
  }
  let base = moved ?? dataDir;
  if (!moved && !accountCan(account, '-x', dataDir)) {
    base = join(relocationRoot, `data-${randomBytes(8).toString('hex')}`);
    mkdirSync(base, { recursive: true, mode: 0o711 });
    if (!accountCan(account, '-x', base)) {
      throw new PostgresError(
        'POSTGRES_DATA_UNREACHABLE',
        `Postgres runs as ${account.name}, who can enter neither ${dataDir} nor ${base}. Set PICTURELOCK_HOME to a folder ` +
          'outside of private ones such as /root, or start as a user other than root.',
      );
    }
    // The pointer first: a crash before the move below is repaired by the next start.
    writePrivate(pointer, `${base}\n`);
    log(`${dataDir} is closed to ${account.name}, the account Postgres runs under: its data lives in ${base}`);
  }
  if (base !== dataDir && existsSync(join(dataDir, 'data')) && !existsSync(join(base, 'data'))) {
    try {
      mkdirSync(base, { recursive: true, mode: 0o711 });
      renameSync(join(dataDir, 'data'), join(base, 'data'));
    } catch (error) {
      throw new PostgresError(
        'POSTGRES_DATA_UNREACHABLE',
        `Postgres runs as ${account.name}, who can't enter ${dataDir}, and moving the data to ${base} failed: ` +
          `${(error as Error).message}. Move it by hand, or set PICTURELOCK_HOME to a folder outside of /root.`,
        { cause: error },
      );
    }
  }
  const cluster = join(base, 'data');
  if (existsSync(cluster) && ownerOf(cluster) !== account.uid) chownTree(cluster, account);
  return at(base, account);
}

function chownTree(path: string, account: Account): void {
  const { status, stderr } = spawnSync('chown', ['-R', `${account.uid}:${account.gid}`, path], { encoding: 'utf8' });
  if (status !== 0) throw new PostgresError('POSTGRES_DATA_UNREACHABLE', `chown of ${path} failed: ${stderr}`);
}

function checkVersion(cluster: string, ours: number): void {
  const file = join(cluster, 'PG_VERSION');
  if (!existsSync(file)) return;
  const major = Number(readFileSync(file, 'utf8').trim());
  if (major > ours) {
    throw new PostgresError(
      'POSTGRES_NEWER_MAJOR',
      `The database in ${cluster} was written by Postgres ${major}; this Picturelock brings ${ours}. ` +
        'Use the newer Picturelock that wrote it: data of a newer major version can not be read.',
    );
  }
  if (major < ours) {
    throw new PostgresError(
      'POSTGRES_OLDER_MAJOR',
      `The database in ${cluster} was written by Postgres ${major}; this Picturelock brings ${ours}. ` +
        `Restore a backup into a fresh home, or run Postgres ${major} yourself and set DATABASE_URL.`,
    );
  }
}

/** Makes the cluster when there is none; returns the superuser's password. */
function initialise(
  place: Place,
  binaries: Binaries,
  state: State,
  statePath: string,
  log: (line: string) => void,
): string {
  const passwordPath = join(place.dataDir, 'password');
  if (existsSync(join(place.cluster, 'PG_VERSION'))) {
    const password = existsSync(passwordPath) ? readFileSync(passwordPath, 'utf8').trim() : '';
    if (password) return password;
    throw new PostgresError(
      'POSTGRES_DATA_MISSING',
      `${passwordPath} is missing: restore it from the backup of the home, the database can't be opened without it.`,
    );
  }
  if (state.initialised) {
    throw new PostgresError(
      'POSTGRES_DATA_MISSING',
      `The database that belongs to ${place.dataDir} is not in ${place.cluster} any more. Restore it, or remove ` +
        `${place.dataDir} to begin with an empty one.`,
    );
  }
  log('making the database cluster');
  const password = randomBytes(24).toString('base64url');
  writePrivate(passwordPath, `${password}\n`);
  // initdb works in a folder of its own that is renamed when done: a killed initdb leaves nothing that looks finished.
  const work = join(place.base, 'initialising');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { mode: 0o700 });
  const secret = join(work, 'password');
  writeFileSync(secret, password, { mode: 0o600 });
  if (place.account) {
    chownSync(work, place.account.uid, place.account.gid);
    chownSync(secret, place.account.uid, place.account.gid);
  }
  const made = spawnSync(
    binaries.initdb,
    [
      `--pgdata=${join(work, 'data')}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${secret}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--data-checksums',
      '--no-instructions',
    ],
    { ...asAccount(place.account), encoding: 'utf8' },
  );
  if (made.status !== 0) {
    rmSync(work, { recursive: true, force: true });
    const noAccount = made.stderr?.includes('could not look up effective user ID');
    throw new PostgresError(
      'POSTGRES_INIT_FAILED',
      `initdb failed: ${made.error?.message ?? (made.stderr.trim() || made.stdout.trim())}` +
        (noAccount ? '. The user id of this process needs an entry in /etc/passwd.' : ''),
    );
  }
  rmSync(secret, { force: true });
  renameSync(join(work, 'data'), place.cluster);
  rmSync(work, { recursive: true, force: true });
  writePrivate(statePath, JSON.stringify({ initialised: true } satisfies State));
  return password;
}

/**
 * Memory of a large statement stays with its backend for the next one, up to this many bytes. glibc would give it back after
 * each: a fifth of what bulk writing costs Postgres were page faults. Other C libraries don't look at it.
 */
const KEPT_MEMORY = { MALLOC_TRIM_THRESHOLD_: String(8 << 20), MALLOC_MMAP_THRESHOLD_: String(4 << 20) };

/** A clean environment: nothing of LANG, LC_*, PG* or LD_* may reach Postgres. */
function asAccount(account: Account | undefined): { cwd: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number } {
  const env = { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', ...KEPT_MEMORY };
  return { cwd: '/', env, ...(account ? { uid: account.uid, gid: account.gid } : {}) };
}

function privateSocketDir(wanted: string | undefined, place: Place): string {
  if (!wanted && socketPathFits(place.cluster)) return place.cluster;
  const hash = createHash('sha256').update(place.cluster).digest('hex').slice(0, 12);
  const dir = wanted ?? join(tmpdir(), `picturelock-${hash}`);
  if (!socketPathFits(dir)) {
    throw new PostgresError('POSTGRES_START_FAILED', `The socket folder's path is too long for Unix sockets: ${dir}`);
  }
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (place.account) chownSync(dir, place.account.uid, place.account.gid);
  else if (process.getuid && statSync(dir).uid !== process.getuid()) {
    throw new PostgresError('POSTGRES_START_FAILED', `The socket folder ${dir} belongs to another user`);
  }
  chmodSync(dir, 0o700);
  return dir;
}

interface Running {
  port: number;
  pid: number;
  child?: ChildProcess;
}

/** Takes over a server left by a killed launcher when it is the one we would start; else stops it. */
async function adopt(
  place: Place,
  password: string,
  wanted: { port?: number; fingerprint: string; remembered: string | undefined },
  log: (line: string) => void,
): Promise<Running | undefined> {
  const pidPath = join(place.cluster, 'postmaster.pid');
  const postmaster = readPidFile(pidPath);
  if (!postmaster || !isAlive(postmaster.pid)) return undefined; // none, or stale: Postgres replaces a dead one's file
  if (!programName(postmaster.pid).startsWith('postgres')) {
    // After a reboot or in a new container the id may belong to anything, and Postgres would refuse to start.
    log(`removing a stale postmaster.pid: process ${postmaster.pid} is not Postgres`);
    rmSync(pidPath, { force: true });
    return undefined;
  }
  const { pid, port } = postmaster;
  const fits = wanted.fingerprint === wanted.remembered && (wanted.port === undefined || wanted.port === port);
  if (fits && port !== undefined && (await answers(port, password, place.cluster)) === 'ready') {
    log(`taking over the database server left running as process ${pid}`);
    return { port, pid };
  }
  log(`stopping the database server left running as process ${pid}`);
  await end(pid);
  return undefined;
}

/** Asks the server on `port` whether it is ours. */
async function answers(
  port: number,
  password: string,
  cluster: string,
): Promise<'ready' | 'starting' | 'foreign' | 'down'> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: SUPERUSER,
    password,
    database: 'postgres',
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ dir: string }>(`SELECT current_setting('data_directory') AS dir`);
    return rows[0]?.dir === cluster ? 'ready' : 'foreign';
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === '57P03') return 'starting';
    return code === '28P01' || code === '28000' ? 'foreign' : 'down';
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', () => done(false));
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => done(true)));
  });
}

async function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', fail);
    probe.listen({ host: '127.0.0.1', port: 0 }, () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}

async function launch(input: {
  place: Place;
  binaries: Binaries;
  password: string;
  settings: Record<string, string>;
  socketDir: string;
  wanted: number | undefined;
  last: number | undefined;
  log: (line: string) => void;
}): Promise<Running> {
  const { place, wanted } = input;
  const portTaken = (): PostgresError =>
    new PostgresError(
      'POSTGRES_PORT_IN_USE',
      `Port ${wanted} on 127.0.0.1 is taken by another program: free it, or choose another port.`,
    );
  if (wanted !== undefined && !(await isFree(wanted))) throw portTaken();
  const blockedUntil = Date.now() + 15_000;
  for (let attempt = 1; ; attempt++) {
    const last = attempt === 1 && input.last !== undefined && (await isFree(input.last)) ? input.last : undefined;
    const port = wanted ?? last ?? (await freePort());
    const outcome = await tryLaunch({ ...input, port });
    if ('pid' in outcome) return outcome;
    if (/Address already in use|could not bind/i.test(outcome.why)) {
      if (wanted !== undefined) throw portTaken();
      if (attempt < 5) continue; // someone was faster between our look and Postgres's bind
    }
    // The postmaster was killed and its backends still notice: they go within moments.
    if (/shared memory block .* still in use/i.test(outcome.why) && Date.now() < blockedUntil) {
      await sleep(300);
      continue;
    }
    throw new PostgresError('POSTGRES_START_FAILED', `Postgres did not start in ${place.cluster}:\n${outcome.why}`);
  }
}

async function tryLaunch(input: {
  place: Place;
  binaries: Binaries;
  password: string;
  settings: Record<string, string>;
  socketDir: string;
  port: number;
  log: (line: string) => void;
}): Promise<Running | { why: string }> {
  const { place, port } = input;
  const logPath = join(place.dataDir, 'server.log');
  if ((statSync(logPath, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) renameSync(logPath, `${logPath}.1`);
  // A file and not a pipe: a server that outlives its launcher must still have somewhere to write.
  const logFile = openSync(logPath, 'a+', 0o600);
  const logStart = fstatSync(logFile).size;
  const why = (): string => {
    const bytes = Buffer.alloc(Math.min(fstatSync(logFile).size - logStart, 8_192));
    readSync(logFile, bytes, 0, bytes.length, Math.max(logStart, fstatSync(logFile).size - bytes.length));
    return bytes.toString('utf8').trim();
  };
  const settings = {
    ...input.settings,
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: input.socketDir,
    unix_socket_permissions: '0700',
  };
  const args = [
    '-D',
    place.cluster,
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
  // In a session of its own: Ctrl-C in the terminal goes to us alone, and we stop things in order.
  const child = spawn(input.binaries.postgres, args, {
    ...asAccount(place.account),
    stdio: ['ignore', logFile, logFile],
    detached: true,
  });
  try {
    let ended: string | undefined;
    child.once('error', (error) => (ended = error.message));
    child.once('exit', (code, signal) => (ended ??= `exit ${code ?? signal}`));
    const started = Date.now();
    let toldRecovery = false;
    for (;;) {
      if (ended !== undefined) return { why: why() || ended };
      const answer = await answers(port, input.password, place.cluster);
      if (answer === 'ready' && child.pid !== undefined) return { port, pid: child.pid, child };
      if (answer === 'starting' && !toldRecovery && Date.now() - started > 2_000) {
        toldRecovery = true;
        input.log('the database is recovering from a crash');
      }
      const limit = answer === 'starting' ? RECOVERY_TIMEOUT_MS : START_TIMEOUT_MS;
      if (answer === 'foreign' || Date.now() - started > limit) {
        if (child.pid !== undefined) await end(child.pid);
        if (answer === 'foreign') {
          return {
            why: /could not bind/.test(why())
              ? why()
              : `the password in ${join(place.dataDir, 'password')} does not fit`,
          };
        }
        return { why: `no answer within ${limit / 1000} s\n${why()}` };
      }
      await sleep(25);
    }
  } catch (error) {
    if (child.pid !== undefined) await end(child.pid);
    throw error;
  } finally {
    closeSync(logFile);
  }
}

/** Ends the server that a launcher left running in `dataDir`, if there is one; true when there was. */
export async function stopOrphan(dataDir: string): Promise<boolean> {
  const pointer = join(dataDir, 'RELOCATED');
  const base = existsSync(pointer) ? readFileSync(pointer, 'utf8').trim() : dataDir;
  const postmaster = readPidFile(join(base, 'data', 'postmaster.pid'));
  if (!postmaster || !isAlive(postmaster.pid) || !programName(postmaster.pid).startsWith('postgres')) return false;
  await end(postmaster.pid);
  return true;
}

/** Ends a postmaster: fast, then immediate, then killed (its backends notice and go). */
async function end(pid: number): Promise<void> {
  for (const [signal, patience] of [
    ['SIGINT', FAST_STOP_MS],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ] as const) {
    try {
      process.kill(pid, signal);
    } catch {
      return; // gone
    }
    for (const until = Date.now() + patience; Date.now() < until; await sleep(20)) if (!isAlive(pid)) return;
  }
}

function handle(
  input: Running & {
    adopted: boolean;
    place: Place;
    password: string;
    socketDir: string;
    release: () => void;
    log: (line: string) => void;
  },
): EmbeddedPostgres {
  const { port, pid, child, place } = input;
  const login = `${SUPERUSER}:${encodeURIComponent(input.password)}`;
  const url = (database: string): string => `postgres://${login}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
  const socketUrl = (database: string): string =>
    `postgres://${login}@/${encodeURIComponent(database)}?host=${encodeURIComponent(input.socketDir)}&port=${port}`;

  // A launcher that ends without stop() (an uncaught error) still takes its server with it; kill -9 leaves it to adopt().
  const onExit = (): void => {
    try {
      process.kill(pid, 'SIGINT');
    } catch {
      // gone already
    }
    input.release();
  };
  process.once('exit', onExit);

  const exited = new Promise<void>((done) => {
    if (child) {
      if (child.exitCode !== null || child.signalCode !== null) done();
      else child.once('exit', () => done());
    } else {
      const watch = setInterval(() => {
        if (isAlive(pid)) return;
        clearInterval(watch);
        done();
      }, 500);
      watch.unref();
    }
  });
  child?.unref();

  let stopping: Promise<void> | undefined;
  return {
    url,
    socketUrl,
    port,
    pid,
    adopted: input.adopted,
    clusterDir: place.cluster,
    account: place.account?.name,
    exited,
    createDatabase: (name) => ensureDatabase(url(name)),
    stop: () =>
      (stopping ??= (async () => {
        await end(pid);
        process.removeListener('exit', onExit);
        if (input.socketDir !== place.cluster && dirname(input.socketDir) === tmpdir()) {
          rmSync(input.socketDir, { recursive: true, force: true });
        }
        input.release();
      })()),
  };
}

/**
 * Makes the database that `url` names when it is missing, always in UTF-8; the rest of the URL must be good.
 * Several processes may do it at once.
 */
export async function ensureDatabase(url: string): Promise<void> {
  const name = decodeURIComponent(new URL(url).pathname.slice(1));
  if (!name) throw new PostgresError('POSTGRES_START_FAILED', 'The database URL names no database');
  const encoding = await serverEncoding(url).catch((error: unknown) => {
    if ((error as { code?: string }).code === '3D000') return undefined; // no such database
    throw error;
  });
  if (encoding === undefined) {
    const maintenance = new URL(url);
    maintenance.pathname = '/postgres';
    const client = new pg.Client({ connectionString: maintenance.toString() });
    await client.connect();
    try {
      await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)} TEMPLATE template0 ENCODING 'UTF8'`);
    } catch (error) {
      // 42P04: it exists by now; 23505: two were making it in the same moment.
      if (!['42P04', '23505'].includes((error as { code?: string }).code ?? '')) throw error;
    } finally {
      await client.end();
    }
  } else if (encoding !== 'UTF8') {
    throw new PostgresError(
      'POSTGRES_WRONG_ENCODING',
      `The database ${name} is encoded in ${encoding}. Picturelock needs UTF8: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'.`,
    );
  }
}

async function serverEncoding(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
    return rows[0]!.server_encoding;
  } finally {
    await client.end();
  }
}
