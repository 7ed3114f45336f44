/** Pure cryptography of this room: AES-256-GCM, HMAC-SHA-256, HKDF. No I/O but the system's random source. */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hash,
  hkdfSync,
  type KeyObject,
  createSecretKey,
  randomBytes,
} from 'node:crypto';
import { personOfCiphertext, SecretsError } from './types.js';

const IV_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const WRAP_VERSION = 1;

export const newKey = (): Buffer => randomBytes(KEY_BYTES);
export const secretKey = (bytes: Buffer): KeyObject => createSecretKey(bytes);

function gcmSeal(key: KeyObject, plaintext: Buffer, aad: string): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(Buffer.from(aad));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), ciphertext]);
}

/** Undefined when it does not open. */
function gcmOpen(key: KeyObject, sealed: Buffer, aad: string): Buffer | undefined {
  if (sealed.length < IV_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(aad));
  decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}

const place = (personId: string, aad: string): string => `enc:v1\0${personId}\0${aad}`;

/** Ids that can stand in a ciphertext. */
export function assertPersonId(personId: string): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(personId)) throw new RangeError('A person id is 1 to 64 letters, digits, - or _');
}

export function seal(key: KeyObject, personId: string, plaintext: string, aad: string): string {
  assertPersonId(personId);
  const sealed = gcmSeal(key, Buffer.from(plaintext, 'utf8'), place(personId, aad));
  return `enc:v1:${personId}:${sealed.toString('base64url')}`;
}

/** The base64url part of a ciphertext of this person. @throws SecretsError CIPHERTEXT_INVALID */
function payload(personId: string, ciphertext: string): Buffer {
  const encoded = personOfCiphertext(ciphertext) === personId ? ciphertext.split(':')[3]! : undefined;
  const sealed = encoded === undefined ? undefined : Buffer.from(encoded, 'base64url');
  // Only one spelling of each value: what decodes the same but is spelt otherwise has been changed.
  if (!sealed || sealed.toString('base64url') !== encoded) {
    throw new SecretsError('CIPHERTEXT_INVALID', 'This is not a ciphertext of this person');
  }
  return sealed;
}

export function open(key: KeyObject, personId: string, ciphertext: string, aad: string): string {
  const plaintext = gcmOpen(key, payload(personId, ciphertext), place(personId, aad));
  if (!plaintext) {
    throw new SecretsError('CIPHERTEXT_INVALID', 'The ciphertext was changed or belongs to another place');
  }
  return plaintext.toString('utf8');
}

/** For values whose key is gone: at least their shape is checked. */
export const assertCiphertext = (personId: string, ciphertext: string): void => void payload(personId, ciphertext);

/** The master key in use, and those before it. */
export class MasterKeys {
  readonly currentId: string;
  private readonly keys = new Map<string, KeyObject>();

  constructor(current: Buffer, previous: readonly Buffer[] = []) {
    for (const bytes of [...previous, current]) {
      if (bytes.length !== KEY_BYTES) throw new RangeError(`A master key has ${KEY_BYTES} bytes, not ${bytes.length}`);
      this.keys.set(MasterKeys.idOf(bytes), createSecretKey(bytes));
    }
    this.currentId = MasterKeys.idOf(current);
  }

  /** Names a master key without telling anything about it. */
  private static idOf(bytes: Buffer): string {
    return createHmac('sha256', bytes).update('picturelock master key id').digest('hex').slice(0, 16);
  }

  wrap(key: Buffer, name: string): Buffer {
    return Buffer.concat([Buffer.from([WRAP_VERSION]), gcmSeal(this.key(this.currentId), key, `wrap:v1\0${name}`)]);
  }

  /** @throws SecretsError MASTER_KEY_WRONG */
  unwrap(masterKeyId: string, wrapped: Buffer, name: string): Buffer {
    const key = this.key(masterKeyId);
    const opened = wrapped[0] === WRAP_VERSION ? gcmOpen(key, wrapped.subarray(1), `wrap:v1\0${name}`) : undefined;
    if (!opened || opened.length !== KEY_BYTES) {
      throw new SecretsError('MASTER_KEY_WRONG', `The stored key ${name} does not open: it was damaged or moved`);
    }
    return opened;
  }

  /** Authenticates a key backup. @throws SecretsError MASTER_KEY_WRONG */
  mac(masterKeyId: string, text: string): Buffer {
    const key = hkdfSync('sha256', this.key(masterKeyId), '', 'picturelock key backup', KEY_BYTES);
    return createHmac('sha256', Buffer.from(key)).update(text).digest();
  }

  private key(id: string): KeyObject {
    const key = this.keys.get(id);
    if (!key) {
      throw new SecretsError(
        'MASTER_KEY_WRONG',
        `The database was sealed with master key ${id}, this process has ${[...this.keys.keys()].join(', ')}`,
      );
    }
    return key;
  }
}

/** Keys derived from the install's root key, which outlives every master key. */
export class RootKeys {
  /** For Argon2's secret input: a stolen table alone cannot be guessed at. */
  readonly pepper: Buffer;
  private readonly email: Buffer;
  private readonly subject: Buffer;

  constructor(root: Buffer) {
    const derive = (use: string): Buffer => Buffer.from(hkdfSync('sha256', root, '', `picturelock ${use}`, KEY_BYTES));
    this.pepper = derive('password pepper');
    this.email = derive('e-mail index');
    this.subject = derive('login throttle');
  }

  emailHash(email: string): Buffer {
    return createHmac('sha256', this.email).update(normaliseEmail(email)).digest();
  }

  throttleSubject(kind: 'email' | 'ip', value: string | Buffer): Buffer {
    return createHmac('sha256', this.subject).update(`${kind}\0`).update(value).digest();
  }
}

/** Two spellings of one mailbox, as people type them, are one. */
export const normaliseEmail = (email: string): string => email.trim().normalize('NFKC').toLowerCase();

/** 256 bits as 43 characters. */
export const newToken = (): string => randomBytes(32).toString('base64url');
export const isToken = (token: string): boolean => /^[A-Za-z0-9_-]{43}$/.test(token);
export const hashToken = (token: string): Buffer => hash('sha256', token, 'buffer');
