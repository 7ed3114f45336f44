#!/usr/bin/env node
// Plain JavaScript for any Node, so that an old one hears what is wrong instead of a syntax error.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(
    `Picturelock needs Node.js 20.19 or newer; this is ${process.versions.node}. See https://nodejs.org\n`,
  );
  process.exit(1);
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
// The project's own folder, wherever the command is typed.
process.env.PICTURELOCK_HOME ||= join(root, '.picturelock');

const [command, ...rest] = process.argv.slice(2);
if (command === 'torture' || command === 'bench') {
  const script = join(root, 'test', 'bench', 'run.mjs');
  if (!existsSync(script)) {
    process.stderr.write(`${command} needs the project's test folder, which is not here\n`);
    process.exit(1);
  }
  const { status } = spawnSync(process.execPath, [script, command, ...rest], { stdio: 'inherit', cwd: root });
  process.exit(status ?? 1);
}

try {
  const builder = join(root, 'scripts', 'build.mjs');
  const build = existsSync(builder) ? (await import(pathToFileURL(builder).href)).build : async () => false;
  if (command === 'start') process.stdout.write('Picturelock\n');
  await build('server');
  const { main } = await import(pathToFileURL(join(root, 'dist', 'apps', 'studio', 'main.js')).href);
  process.exitCode = await main(process.argv.slice(2), { build });
  process.exit();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
