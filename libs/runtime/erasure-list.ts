import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

export const ERASURE_LIST = 'erasures.ndjson';

/** Somebody who was erased. An id and a time: nothing that says who it was. */
export interface ListedErasure {
  readonly person: string;
  /** ISO 8601 UTC. */
  readonly erasedAt: string;
}

/** A list that was changed by other hands, or is of another installation. */
export class ErasureListError extends Error {
  override readonly name = 'ErasureListError';
  readonly code = 'ERASURE_LIST_INVALID';
}

const line = z.strictObject({ person: z.uuid(), erasedAt: z.iso.datetime(), mac: z.string() });

const macKey = (masterKey: Buffer): Buffer =>
  Buffer.from(hkdfSync('sha256', masterKey, '', 'picturelock erasure list v1', 32));

/** Each line is authenticated with all before it: none can be changed, dropped or put in between. */
const macOf = (key: Buffer, before: string, { person, erasedAt }: ListedErasure): string =>
  createHmac('sha256', key).update(`${before}\n${person}\n${erasedAt}`).digest('base64url');

/**
 * The erasures that a file lists, oldest first; none when there is no file.
 *
 * @throws ErasureListError when a line is not as this installation wrote it
 */
export function readErasureList(file: string, masterKey: Buffer): ListedErasure[] {
  if (!existsSync(file)) return [];
  const key = macKey(masterKey);
  let before = '';
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((text) => text !== '')
    .map((text, n): ListedErasure => {
      const wrong = new ErasureListError(
        `${file} is damaged, was changed, or is of another installation (line ${n + 1})`,
      );
      let found: z.output<typeof line>;
      try {
        found = line.parse(JSON.parse(text));
      } catch {
        throw wrong;
      }
      const { mac, ...erasure } = found;
      const expected = Buffer.from(macOf(key, before, erasure));
      const given = Buffer.from(mac);
      if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw wrong;
      before = mac;
      return erasure;
    });
}

/**
 * Adds to the list of a folder what it does not name yet, and makes it when there is none; what it has stays. Safely on
 * disk when it returns. Returns how many were added.
 *
 * @throws ErasureListError rather than write over a list that is not this installation's
 */
export function extendErasureList(folder: string, masterKey: Buffer, erasures: readonly ListedErasure[]): number {
  const file = join(folder, ERASURE_LIST);
  const there = readErasureList(file, masterKey);
  const known = new Set(there.map(({ person }) => person));
  const fresh = erasures
    .filter(({ person }) => !known.has(person))
    .toSorted((a, b) => (a.erasedAt === b.erasedAt ? 0 : a.erasedAt < b.erasedAt ? -1 : 1));
  if (fresh.length === 0 && existsSync(file)) return 0;
  const key = macKey(masterKey);
  let before = '';
  const text = [...there, ...fresh].map((erasure) => {
    before = macOf(key, before, erasure);
    return `${JSON.stringify({ ...erasure, mac: before })}\n`;
  });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // The whole file takes the place of the old one: a crash leaves either, and two writers at once leave a right one.
  const part = `${file}.${randomBytes(4).toString('hex')}`;
  const out = openSync(part, 'wx', 0o600);
  try {
    writeSync(out, text.join(''));
    fsyncSync(out);
  } finally {
    closeSync(out);
  }
  renameSync(part, file);
  return fresh.length;
}
