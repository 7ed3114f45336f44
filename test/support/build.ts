import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from '../../scripts/build.mjs';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const DIST = join(ROOT, 'dist');

let built: Promise<void> | undefined;

/** Builds dist/ when the sources changed; once a spec file, and one build at a time on the machine. */
export function ensureBuilt(): Promise<void> {
  return (built ??= build('server').then(() => undefined));
}
