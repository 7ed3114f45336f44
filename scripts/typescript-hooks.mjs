import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { dirname, join } from 'node:path';
import { transform } from '@swc/core';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const options = JSON.parse(await readFile(join(root, '.swcrc'), 'utf8'));
delete options.$schema;

/** `./x.js` and `#libs/x.js` mean the source x.ts when there is one. */
export async function resolve(specifier, context, next) {
  const inside = /^#(libs|apps)\//.test(specifier)
    ? pathToFileURL(join(root, specifier.slice(1)))
    : /^\.{1,2}\//.test(specifier) && context.parentURL?.startsWith('file:')
      ? new URL(specifier, context.parentURL)
      : undefined;
  if (inside?.pathname.endsWith('.js') && !inside.pathname.includes('/node_modules/')) {
    const source = new URL(`${inside.href.slice(0, -3)}.ts`);
    if (existsSync(fileURLToPath(source))) return { url: source.href, shortCircuit: true };
  }
  return next(specifier, context);
}

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context);
  const filename = fileURLToPath(url);
  const { code } = await transform(await readFile(filename, 'utf8'), {
    ...options,
    filename,
    configFile: false,
    swcrc: false,
    sourceMaps: 'inline',
  });
  return { format: 'module', source: code, shortCircuit: true };
}
