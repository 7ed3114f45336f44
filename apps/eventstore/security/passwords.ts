import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto';

/** Salted scrypt (RFC 7914) hash of a password, both parts as text. */
export type PasswordHash = { hash: string; salt: string };

const COST = { N: 2 ** 14, r: 8, p: 1 } as const;
const KEY_BYTES = 32;

/** Checks that go on at the same time: each takes 16 MiB and a thread of the pool that serves files and names too. */
const AT_ONCE = 2;
const WAITING = 256;

export class TooManyPasswordChecks extends Error {}

let running = 0;
const waiting: (() => void)[] = [];

async function derive(password: string, salt: Buffer, cost: ScryptOptions): Promise<Buffer> {
  if (running >= AT_ONCE) {
    if (waiting.length >= WAITING) throw new TooManyPasswordChecks();
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  running++;
  try {
    return await new Promise((resolve, reject) => {
      scrypt(password, salt, KEY_BYTES, cost, (error, key) => (error ? reject(error) : resolve(key)));
    });
  } finally {
    running--;
    waiting.shift()?.();
  }
}

export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(16);
  const key = await derive(password, salt, COST);
  const { N, r, p } = COST;
  return { hash: `scrypt:${N}:${r}:${p}:${key.toString('base64')}`, salt: salt.toString('base64') };
}

export async function verifyPassword(password: string, { hash, salt }: PasswordHash): Promise<boolean> {
  const match = /^scrypt:(\d+):(\d+):(\d+):(.+)$/.exec(hash);
  if (match === null) return false;
  const [N, r, p] = match.slice(1, 4).map(Number);
  const expected = Buffer.from(match[4]!, 'base64');
  const key = await derive(password, Buffer.from(salt, 'base64'), { N: N!, r: r!, p: p! });
  return key.length === expected.length && timingSafeEqual(key, expected);
}

/** So that an unknown user takes as long as a wrong password. */
export async function verifyNothing(password: string): Promise<false> {
  await derive(password, Buffer.alloc(16), COST);
  return false;
}
