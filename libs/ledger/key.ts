import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { generateSigner, parseSigner, type Signer } from './note.js';

/** Where the signing key is: given as text, in a file, or generated in the home. */
export interface KeyPlace {
  readonly home: string;
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
}

function readKey(path: string): string | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0)
      throw new Error(`${path} holds the ledger's key and others can read it: chmod 600 ${path}`);
    return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The key that signs this installation's checkpoints. Made once, with a name of its own, and safely on disk before it is
 * used: two processes that begin at once agree on one.
 *
 * @throws Error when the file is open to others or unreadable; NoteError when it holds no signer key
 */
export function ensureLedgerKey({ home, key, keyFile }: KeyPlace): Signer {
  if (key) return parseSigner(key);
  const path = keyFile ?? join(home, 'ledger.key');
  const there = readKey(path);
  if (there !== undefined) return parseSigner(there);
  if (keyFile) throw new Error(`${keyFile} does not exist`);
  const part = `${path}.${randomBytes(4).toString('hex')}`;
  const file = openSync(part, 'wx', 0o600);
  try {
    writeSync(file, `${generateSigner(`picturelock/${randomBytes(6).toString('hex')}`)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  chmodSync(part, 0o600);
  try {
    linkSync(part, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(part, { force: true });
  }
  return parseSigner(readKey(path)!);
}
