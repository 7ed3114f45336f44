import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from '../../scripts/build.mjs';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const DIST = join(ROOT, 'dist');

let built: Promise<void> | undefined;

/** Builds dist/ when the sources changed; once a spec file, and one build at a time on the machine. */
export function ensureBuilt(): Promise<void> {
  return (built ??= build('server').then(() => undefined));
}

export interface OtherBuild {
  /** Its `dist` folder. */
  readonly dist: string;
  remove(): void;
}

/**
 * A build of this tree with some of its sources changed, in a temporary folder: what an older or newer release would be.
 *
 * @param changes by file, what to find (exactly once) and what to put there
 */
export async function buildChanged(
  changes: Readonly<Record<string, readonly (readonly [find: string, put: string])[]>>,
): Promise<OtherBuild> {
  const root = mkdtempSync(join(tmpdir(), 'picturelock-build-'));
  const remove = (): void => rmSync(root, { recursive: true, force: true });
  try {
    for (const part of ['apps', 'libs', 'scripts', 'package.json', '.swcrc'])
      cpSync(join(ROOT, part), join(root, part), {
        recursive: true,
        filter: (path) => !/[\\/](node_modules|dist)$|\.spec\.tsx?$/.test(path.slice(ROOT.length)),
      });
    symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
    for (const [file, edits] of Object.entries(changes)) {
      let text = readFileSync(join(root, file), 'utf8');
      for (const [find, put] of edits) {
        if (text.split(find).length !== 2)
          throw new Error(`${file} does not have ${JSON.stringify(find)} exactly once`);
        text = text.replace(find, () => put);
      }
      writeFileSync(join(root, file), text);
    }
    await promisify(execFile)(process.execPath, [join(root, 'scripts', 'build.mjs'), 'server'], { cwd: root });
    return { dist: join(root, 'dist'), remove };
  } catch (error) {
    remove();
    throw error;
  }
}
