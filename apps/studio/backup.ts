import { createHash } from 'node:crypto';
import { constants, createReadStream, createWriteStream, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { chmod, copyFile, lstat, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Transform } from 'node:stream';
import pg from 'pg';
import { type EmbeddedPostgres, startPostgres } from '#libs/postgres/index.js';
import {
  ERASURE_LIST,
  erasureListFolders,
  extendErasureList,
  type ListedErasure,
  readErasureList,
  readSecrets,
  type Settings,
} from '#libs/runtime/index.js';
import { HOME_VERSION, openHome, runningLauncher } from './home.js';

/** Layout of a backup. One of a newer layout is refused. */
const FORMAT = 1;
const MANIFEST = 'manifest.json';
/** Made by the workers, which refuse a ledger that another key has signed. */
const LEDGER_KEY = 'ledger.key';
const KEY_FILES = ['secrets.json', LEDGER_KEY];

/** A backup or restore that can't be done, with what to do about it. */
export class BackupError extends Error {
  override readonly name = 'BackupError';

  constructor(
    readonly code:
      | 'BACKUP_FOLDER_NOT_EMPTY'
      | 'BACKUP_NOTHING_EMBEDDED'
      | 'BACKUP_DAMAGED'
      | 'BACKUP_NEWER'
      | 'BACKUP_INCOMPLETE'
      | 'RESTORE_HOME_NOT_EMPTY'
      | 'ERASURES_UNVERIFIED',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface Manifest {
  format: number;
  createdAt: string;
  homeVersion: number;
  postgresMajor: number;
  /** Where the write-ahead log stood when the databases were as they are in here. */
  lsn: string;
  /** Last position of the log at that moment; undefined without an embedded event store. */
  head: number | undefined;
  /** Version of the event store's schema. */
  logSchema: number | undefined;
  blobs: boolean;
  files: { path: string; size: number; sha256: string }[];
}

export interface BackupOptions {
  settings: Settings;
  folder: string;
  blobs: boolean;
  /** Where secrets.json goes: keys belong apart from the data they open. Undefined: nowhere. */
  keys: string | undefined;
  /** Restores into a temporary home beside the backup and reads everything there. */
  verify: boolean;
  onStep?: (text: string) => void;
}

/**
 * Copies the databases of a running or stopped home as of one moment, by Postgres' own low-level backup API (its manual,
 * "Making a Base Backup Using the Low Level API"): a temporary replication slot keeps the write-ahead log, the files are
 * copied between pg_backup_start and pg_backup_stop, and the log written meanwhile makes them consistent when the copy
 * is opened. Nothing waits for it. Blobs follow: an event names a blob that was there before it.
 */
export async function backup(options: BackupOptions): Promise<Manifest> {
  const step = options.onStep ?? (() => undefined);
  const { home } = options.settings;
  const folder = resolve(options.folder);
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new BackupError('BACKUP_FOLDER_NOT_EMPTY', `${folder} is not empty: name a new folder.`);
  if (!existsSync(join(home, 'postgres', 'password'))) {
    throw new BackupError(
      'BACKUP_NOTHING_EMBEDDED',
      `${home} holds no database of its own: back up the databases of DATABASE_URL and EVENTSTORE_URL by their own means.`,
    );
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const files: Manifest['files'] = [];
  const database = await openDatabase(home, step);
  let manifest: Manifest;
  try {
    step('copying the databases');
    const taken = await copyCluster(database, join(folder, 'postgres', 'data'), folder, files);
    await copyInto(join(home, 'postgres', 'password'), join(folder, 'postgres', 'password'), folder, files);
    await copyInto(join(home, 'home.json'), join(folder, 'home.json'), folder, files);
    const blobs = join(home, 'blobs');
    if (options.blobs && existsSync(blobs)) {
      step('copying blobs');
      for await (const path of walk(blobs))
        await copyInto(path, join(folder, 'blobs', relative(blobs, path)), folder, files);
    }
    manifest = {
      format: FORMAT,
      createdAt: new Date().toISOString(),
      homeVersion: HOME_VERSION,
      ...taken,
      blobs: options.blobs,
      files,
    };
  } finally {
    await database.close();
  }
  if (options.keys !== undefined) {
    mkdirSync(options.keys, { recursive: true, mode: 0o700 });
    for (const name of KEY_FILES) await copyKey(home, options.keys, name);
    extendErasureList(options.keys, masterKeyIn(home), listedIn(options.settings));
  }
  // Last: a folder without it is no backup.
  await writeFile(join(folder, MANIFEST), `${JSON.stringify(manifest, undefined, 1)}\n`, { mode: 0o600 });
  if (options.verify) await verify(folder, manifest, step);
  return manifest;
}

async function copyKey(from: string, to: string, name: string): Promise<void> {
  if (!existsSync(join(from, name))) return;
  await copyFile(join(from, name), join(to, name));
  await chmod(join(to, name), 0o600);
}

/** @throws BackupError when it is nowhere: what is erased could not be told from what was put in the list by others */
function masterKeyIn(home: string): Buffer {
  const key = process.env['MASTER_KEY'] || readSecrets(home)?.masterKey;
  if (!key)
    throw new BackupError('ERASURES_UNVERIFIED', `${home} has no keys: name their folder (--keys), or set MASTER_KEY.`);
  return Buffer.from(key, 'base64url');
}

function listedIn(settings: Settings): ListedErasure[] {
  const lists = erasureListFolders(settings).map((folder) => join(folder, ERASURE_LIST));
  return lists.flatMap((file) => readErasureList(file, masterKeyIn(settings.home)));
}

interface Database {
  url(database: string): string;
  clusterDir: string;
  close(): Promise<void>;
}

/** The Postgres of the home: the one that runs, or one started for the backup. */
async function openDatabase(home: string, step: (text: string) => void): Promise<Database> {
  const running = runningLauncher(home)?.postgres;
  if (running) {
    const url = (name: string): string => {
      const address = new URL(running.url);
      address.pathname = `/${name}`;
      return address.toString();
    };
    return { url, clusterDir: running.clusterDir, close: () => Promise.resolve() };
  }
  step('starting the database');
  const opened = openHome(home);
  try {
    const postgres = await startPostgres({ dataDir: opened.postgres });
    return {
      url: (name) => postgres.url(name),
      clusterDir: postgres.clusterDir,
      close: async () => {
        await postgres.stop();
        opened.release();
      },
    };
  } catch (error) {
    opened.release();
    throw error;
  }
}

/** What belongs to one run of the server only, or is made anew by recovery (the manual's list). */
const SKIPPED = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
]);
const SKIPPED_FILES =
  /^(postmaster\.(pid|opts)|pg_internal\.init.*|pgsql_tmp.*|\.s\.PGSQL.*|backup_label|tablespace_map)$/;

async function copyCluster(
  database: Database,
  target: string,
  folder: string,
  files: Manifest['files'],
): Promise<Pick<Manifest, 'postgresMajor' | 'lsn' | 'head' | 'logSchema'>> {
  const source = database.clusterDir;
  const session = new pg.Client({ connectionString: database.url('postgres'), application_name: 'backup' });
  await session.connect();
  try {
    const one = async <Row extends object>(text: string, values: unknown[] = []): Promise<Row> =>
      (await session.query<Row>(text, values)).rows[0]!;
    await session.query('SELECT pg_create_physical_replication_slot($1, true, true)', [`backup_${process.pid}`]);
    const { first } = await one<{ first: string }>(
      'SELECT pg_walfile_name(pg_backup_start($1, fast => true)) AS first',
      ['picturelock'],
    );
    await mkdir(target, { recursive: true, mode: 0o700 });
    for (const name of SKIPPED) await mkdir(join(target, name), { mode: 0o700 });
    await mkdir(join(target, 'pg_wal', 'archive_status'), { mode: 0o700 });
    for await (const path of walk(source, (name, depth) => !(depth === 0 && SKIPPED.has(name)))) {
      if (SKIPPED_FILES.test(path.split(sep).at(-1)!)) continue;
      const to = join(target, relative(source, path));
      // A table dropped meanwhile takes its files with it.
      await copyInto(path, to, folder, files, true);
    }
    for (const name of await emptyFolders(source)) await mkdir(join(target, name), { recursive: true, mode: 0o700 });
    const log = await session
      .query<{ n: number }>("SELECT count(*)::int AS n FROM pg_database WHERE datname = 'picturelock_log'")
      .then(({ rows }) => rows[0]!.n > 0);
    const facts = log ? await logFacts(database.url('picturelock_log')) : { head: undefined, logSchema: undefined };
    const end = await one<{ lsn: string; last: string; label: string }>(
      'SELECT lsn::text, pg_walfile_name(lsn) AS last, labelfile AS label FROM pg_backup_stop(wait_for_archive => false)',
    );
    const label = join(target, 'backup_label');
    await writeFile(label, end.label, { mode: 0o600 });
    files.push({ path: relative(folder, label), size: Buffer.byteLength(end.label), sha256: hashOf(end.label) });
    const segments = (await readdir(join(source, 'pg_wal'))).filter(
      (name) => /^[0-9A-F]{24}$/.test(name) && name >= first && name <= end.last,
    );
    for (const name of segments)
      await copyInto(join(source, 'pg_wal', name), join(target, 'pg_wal', name), folder, files);
    if (!segments.includes(first) || !segments.includes(end.last))
      throw new BackupError('BACKUP_INCOMPLETE', `The write-ahead log from ${first} to ${end.last} is not all there.`);
    const major = Number((await readFile(join(source, 'PG_VERSION'), 'utf8')).trim());
    return { postgresMajor: major, lsn: end.lsn, ...facts };
  } finally {
    // Ends a backup that was begun, and the slot with it.
    await session.end();
  }
}

async function logFacts(url: string): Promise<{ head: number | undefined; logSchema: number | undefined }> {
  const session = new pg.Client({ connectionString: url, application_name: 'backup' });
  await session.connect();
  try {
    const result = await session.query<{ head: string; version: number }>(
      'SELECT coalesce((SELECT max(position) FROM eventstore.events), 0)::text AS head, version FROM eventstore.schema_version',
    );
    const row = result.rows[0];
    return { head: row && Number(row.head), logSchema: row?.version };
  } catch {
    // No event store has been here yet.
    return { head: undefined, logSchema: undefined };
  } finally {
    await session.end();
  }
}

export interface RestoreOptions {
  /** The backup. */
  folder: string;
  /** A new or empty folder. */
  home: string;
  /** The secrets.json that belongs to it; without, personal data can't be read. */
  keys: string | undefined;
  /** List of who was erased since; default: the one beside the keys, if there is one. */
  erasures?: string | undefined;
  onStep?: (text: string) => void;
}

/** Makes a home of a backup, after every file was found as it was written. Who is listed as erased is erased at its start. */
export async function restore({ folder, home, keys, erasures, onStep }: RestoreOptions): Promise<Manifest> {
  const step = onStep ?? (() => undefined);
  const manifest = await readManifest(folder);
  const target = resolve(home);
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new BackupError(
      'RESTORE_HOME_NOT_EMPTY',
      `${target} is not empty: nothing is overwritten. Set PICTURELOCK_HOME to a new folder.`,
    );
  }
  const inKeys = keys && join(keys, 'secrets.json');
  const secretsFile = inKeys && existsSync(inKeys) ? inKeys : keys;
  const beside = secretsFile && join(dirname(secretsFile), ERASURE_LIST);
  const list = erasures ?? (beside && existsSync(beside) ? beside : undefined);
  if (erasures !== undefined && !existsSync(erasures))
    throw new BackupError('ERASURES_UNVERIFIED', `There is no list of erasures at ${erasures}.`);
  // Before anything is written: a list that can't be trusted must not be found out when all else is there.
  const listed = list && readErasureList(list, masterKeyIn(secretsFile ? dirname(secretsFile) : target));
  step('checking the backup');
  for (const { path, size, sha256 } of manifest.files) {
    const file = join(folder, path);
    const found = await stat(file).catch(() => undefined);
    if (found?.size !== size || (await hashFile(file)) !== sha256)
      throw new BackupError('BACKUP_DAMAGED', `${path} is not as it was written: take another backup.`);
  }
  step('copying');
  // Postgres of root runs as someone else, who must be able to pass through.
  mkdirSync(target, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 });
  for await (const path of folders(folder)) {
    const inside = relative(folder, path);
    await mkdir(join(target, inside), { recursive: true, mode: inside === 'postgres' ? 0o711 : 0o700 });
  }
  for (const { path } of manifest.files) {
    const to = join(target, path);
    await copyFile(join(folder, path), to, constants.COPYFILE_FICLONE);
    await chmod(to, 0o600);
  }
  if (secretsFile) {
    await copyFile(secretsFile, join(target, 'secrets.json'));
    await chmod(join(target, 'secrets.json'), 0o600);
    await copyKey(dirname(secretsFile), target, LEDGER_KEY);
  }
  if (listed) extendErasureList(target, masterKeyIn(secretsFile ? dirname(secretsFile) : target), listed);
  return manifest;
}

async function readManifest(folder: string): Promise<Manifest> {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8')) as Manifest;
  } catch (error) {
    throw new BackupError('BACKUP_INCOMPLETE', `${folder} holds no finished backup: ${MANIFEST} is missing.`, {
      cause: error,
    });
  }
  if (manifest.format > FORMAT || manifest.homeVersion > HOME_VERSION)
    throw new BackupError('BACKUP_NEWER', `${folder} was written by a newer Picturelock: restore it with that one.`);
  return manifest;
}

/** Opens a copy of the backup as the product would, and reads every page of every table (they carry checksums). */
async function verify(folder: string, manifest: Manifest, step: (text: string) => void): Promise<void> {
  const home = `${folder}.verify`;
  step('restoring into a temporary home to verify it');
  await rm(home, { recursive: true, force: true });
  let postgres: EmbeddedPostgres | undefined;
  try {
    await restore({ folder, home, keys: undefined });
    postgres = await startPostgres({ dataDir: join(home, 'postgres'), settings: { shared_buffers: '32MB' } });
    const server = postgres;
    const names = await rowsOf<{ datname: string }>(
      server.url('postgres'),
      'SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate',
    );
    for (const { datname } of names) {
      const tables = await rowsOf<{ name: string }>(
        server.url(datname),
        `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
          WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
      );
      for (const { name } of tables)
        await rowsOf(server.url(datname), `SELECT count(*), sum(octet_length(t::text)) FROM ${name} t`);
    }
    if (manifest.head !== undefined && manifest.head > 0) {
      const [log] = await rowsOf<{ head: string }>(
        server.url('picturelock_log'),
        'SELECT max(position)::text AS head FROM eventstore.events',
      );
      if (Number(log!.head) < manifest.head)
        throw new BackupError('BACKUP_DAMAGED', `The copy ends at ${log!.head}, before position ${manifest.head}.`);
    }
  } finally {
    await postgres?.stop();
    await rm(home, { recursive: true, force: true });
  }
}

async function rowsOf<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
  const session = new pg.Client({ connectionString: url });
  await session.connect();
  try {
    return (await session.query<Row>(text)).rows;
  } finally {
    await session.end();
  }
}

/** Copies one file and notes its checksum. One that went meanwhile is left out if it may. */
async function copyInto(
  from: string,
  to: string,
  folder: string,
  files: Manifest['files'],
  mayVanish = false,
): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  const hash = createHash('sha256');
  let size = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  try {
    await pipeline(createReadStream(from), count, createWriteStream(to, { mode: 0o600, flush: true }));
  } catch (error) {
    if (mayVanish && (error as NodeJS.ErrnoException).code === 'ENOENT') {
      await rm(to, { force: true });
      return;
    }
    throw error;
  }
  files.push({ path: relative(folder, to), size, sha256: hash.digest('hex') });
}

async function* walk(
  folder: string,
  enter: (name: string, depth: number) => boolean = () => true,
  depth = 0,
): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (enter(entry.name, depth)) yield* walk(path, enter, depth + 1);
    } else if (entry.isFile()) yield path;
  }
}

async function* folders(folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    yield join(folder, entry.name);
    yield* folders(join(folder, entry.name));
  }
}

/** Postgres insists on some folders that may hold nothing. */
async function emptyFolders(cluster: string): Promise<string[]> {
  const names = await readdir(cluster);
  const kinds = await Promise.all(names.map(async (name) => (await lstat(join(cluster, name))).isDirectory()));
  const nested = ['pg_logical/snapshots', 'pg_logical/mappings', 'pg_multixact/members', 'pg_multixact/offsets'];
  return [...names.filter((name, n) => kinds[n] && !SKIPPED.has(name)), ...nested];
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
