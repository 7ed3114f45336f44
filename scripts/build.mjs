#!/usr/bin/env node
/**
 * Builds what is out of date, by a hash of the sources: `node scripts/build.mjs [server] [web] [--force]`.
 * The launcher and the tests call the same functions. A new build replaces the old one in one step, so that a process that
 * starts meanwhile never finds half of it.
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function filesBelow(dir, wanted) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) return ['node_modules', 'dist'].includes(entry.name) ? [] : filesBelow(path, wanted);
      return wanted(path) ? [path] : [];
    });
}

function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  return hash.digest('hex');
}

const inWeb = (path) => relative(root, path).startsWith(join('apps', 'web'));

const targets = {
  server: {
    output: join(root, 'dist'),
    sources: () => [
      ...['apps', 'libs'].flatMap((dir) =>
        filesBelow(join(root, dir), (path) => path.endsWith('.ts') && !path.endsWith('.spec.ts') && !inWeb(path)),
      ),
      join(root, '.swcrc'),
    ],
    tool: join(root, 'node_modules', '@swc', 'cli', 'bin', 'swc.js'),
    args: (output) => ['apps', 'libs', '-d', output, '--ignore', 'apps/web/**', '--ignore', '**/*.spec.ts', '--quiet'],
  },
  web: {
    output: join(root, 'apps', 'web', 'dist'),
    sources: () =>
      existsSync(join(root, 'apps', 'web', 'vite.config.ts'))
        ? [
            ...filesBelow(
              join(root, 'apps', 'web'),
              (path) => !/\.spec\.tsx?$/.test(path) && !path.includes(`${sep}generated${sep}`),
            ),
            ...['schema.graphql', 'package-lock.json']
              .map((name) => join(root, name))
              .filter((path) => existsSync(path)),
          ]
        : [],
    // Types and typed documents of the web app's queries, from the committed schema.
    prepare: join(root, 'apps', 'web', 'codegen.mjs'),
    tool: join(root, 'node_modules', 'vite', 'bin', 'vite.js'),
    args: (output) => ['build', '--config', 'apps/web/vite.config.ts', '--outDir', output, '--logLevel', 'warn'],
  },
};

function run(tool, args, quiet) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [tool, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        if (!quiet) process.stderr.write(chunk);
      });
    }
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(output.trim() || `exit code ${code}`))));
  });
}

/** One build of a target at a time, across processes. */
async function locked(name, work) {
  const lock = join(root, 'node_modules', '.cache', `picturelock-build-${name}.lock`);
  mkdirSync(dirname(lock), { recursive: true });
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      let holder = 0;
      try {
        holder = Number(readFileSync(lock, 'utf8'));
        if (holder) process.kill(holder, 0);
        await sleep(100);
      } catch (gone) {
        if (gone.code === 'ESRCH') rmSync(lock, { force: true });
        else await sleep(100);
      }
    }
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

const stampOf = (output) => join(output, '.build.json');

function isCurrent(target, hash) {
  try {
    return JSON.parse(readFileSync(stampOf(target.output), 'utf8')).hash === hash;
  } catch {
    return false;
  }
}

/**
 * Builds `server` or `web` when its sources changed. Resolves to true when it built. An installation without sources (an
 * image) is taken as built.
 */
export async function build(name, { force = false, quiet = true } = {}) {
  const target = targets[name];
  const sources = target.sources();
  if (sources.length <= 1) return false;
  const before = hashOf(sources);
  if (!force && isCurrent(target, before)) return false;
  return locked(name, async () => {
    const hash = hashOf(target.sources());
    if (!force && isCurrent(target, hash)) return false;
    if (!existsSync(target.tool)) {
      if (existsSync(target.output)) return false;
      throw new Error(`The ${name} is not built and ${relative(root, target.tool)} is missing: run npm install`);
    }
    const next = `${target.output}.${randomBytes(3).toString('hex')}`;
    const old = `${next}.old`;
    try {
      if (target.prepare && existsSync(target.prepare)) await run(target.prepare, [], quiet);
      await run(target.tool, target.args(next), quiet);
      mkdirSync(next, { recursive: true });
      writeFileSync(stampOf(next), JSON.stringify({ hash, builtAt: new Date().toISOString() }));
      if (existsSync(target.output)) renameSync(target.output, old);
      renameSync(next, target.output);
    } catch (error) {
      throw new Error(`Building the ${name} failed:\n${error.message}`);
    } finally {
      rmSync(next, { recursive: true, force: true });
      rmSync(old, { recursive: true, force: true });
    }
    return true;
  });
}

if (process.argv[1] && statSync(process.argv[1]).ino === statSync(fileURLToPath(import.meta.url)).ino) {
  const names = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
  try {
    for (const name of names.length > 0 ? names : Object.keys(targets)) {
      if (!targets[name]) throw new Error(`unknown: ${name}; known: ${Object.keys(targets).join(', ')}`);
      await build(name, { force: process.argv.includes('--force'), quiet: false });
    }
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
