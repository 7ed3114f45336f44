import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const key = z.string().refine((text) => Buffer.from(text, 'base64url').length === 32, 'must be 32 bytes as base64url');

const schema = z.object({
  /** Wraps every person's key. Losing it loses all personal data: back it up apart from the databases. */
  masterKey: key,
  mediaSigningKey: key,
  /** Password of the user `admin` of the embedded event store. */
  eventStorePassword: z.string().min(16),
});

/** Secrets made for this installation when its home was made. */
export type Secrets = z.output<typeof schema>;

const fileIn = (home: string): string => join(home, 'secrets.json');

/** The generated secrets, or undefined when the home has none. @throws Error when the file is damaged or open to others */
export function readSecrets(home: string): Secrets | undefined {
  const path = fileIn(home);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new Error(`holds a secrets.json that can't be read (${(error as NodeJS.ErrnoException).code})`, {
      cause: error,
    });
  }
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
    throw new Error(`holds a secrets.json that others can read: chmod 600 ${path}`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error(`holds a damaged secrets.json: restore ${path} from the backup`);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new Error(
    `holds a damaged secrets.json (${parsed.error.issues[0]!.path.join('.')}): restore it from the backup`,
  );
}

/** The generated secrets, made on first use and safely on disk before they are returned. */
export function ensureSecrets(home: string): Secrets {
  const there = readSecrets(home);
  if (there) return there;
  mkdirSync(home, { recursive: true });
  const secrets: Secrets = {
    masterKey: randomBytes(32).toString('base64url'),
    mediaSigningKey: randomBytes(32).toString('base64url'),
    eventStorePassword: randomBytes(24).toString('base64url'),
  };
  const path = fileIn(home);
  const part = `${path}.${randomBytes(4).toString('hex')}`;
  const file = openSync(part, 'wx', 0o600);
  try {
    writeSync(file, `${JSON.stringify(secrets, undefined, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  chmodSync(part, 0o600);
  renameSync(part, path);
  return secrets;
}
