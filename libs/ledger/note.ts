/**
 * C2SP signed-note (c2sp.org/signed-note), tlog-checkpoint and tlog-cosignature: what a checkpoint looks like, who signed it.
 */
import { createHash, createPrivateKey, createPublicKey, randomBytes, sign, verify, type KeyObject } from 'node:crypto';
import { HASH_SIZE, type Hash } from './merkle.js';

/** A note, key or checkpoint that is not of the format. */
export class NoteError extends Error {
  override readonly name = 'NoteError';
  readonly code = 'NOTE_INVALID';
}

const ED25519 = 0x01;
/** A witness's signature with its time: tlog-cosignature v1. */
const COSIGNATURE = 0x04;
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

const NAME = /^[^\s+]+$/u;
const keyIdOf = (name: string, key: Buffer): Buffer =>
  createHash('sha256').update(name).update('\n').update(key).digest().subarray(0, 4);

const fromBase64 = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new NoteError(`"${text.slice(0, 60)}" is not base64`);
  return bytes;
};

export interface Verifier {
  readonly name: string;
  readonly keyId: Buffer;
  /** Whether the signature is a cosignature of a witness. */
  readonly witness: boolean;
  /** `name+hash+key`, as people pass it on. */
  readonly text: string;
  /** For a witness the time it saw the note, seconds since 1970; 0 for a plain signature; undefined when it does not fit. */
  verify(noteText: string, signature: Buffer): number | undefined;
}

export interface Signer {
  readonly name: string;
  readonly verifier: Verifier;
  sign(noteText: string): Buffer;
}

/** A verifier key, `name+hash+base64(type, public key)`: Ed25519 of a log or a witness. @throws NoteError */
export function parseVerifier(text: string): Verifier {
  const [name = '', hash = '', ...rest] = text.trim().split('+');
  const key = fromBase64(rest.join('+'));
  const type = key[0];
  if (!NAME.test(name) || !/^[0-9a-f]{8}$/.test(hash)) throw new NoteError('A verifier key is name+hash+key');
  if ((type !== ED25519 && type !== COSIGNATURE) || key.length !== 33)
    throw new NoteError(`The key of ${name} is not Ed25519`);
  const keyId = keyIdOf(name, key);
  if (keyId.toString('hex') !== hash) throw new NoteError(`The hash of the key of ${name} does not fit`);
  const publicKey = createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: key.subarray(1).toString('base64url') },
  });
  return {
    name,
    keyId,
    witness: type === COSIGNATURE,
    text: text.trim(),
    verify(noteText, signature) {
      if (type === ED25519) return verify(null, Buffer.from(noteText), publicKey, signature) ? 0 : undefined;
      if (signature.length !== 72) return undefined;
      const time = signature.readBigUInt64BE(0);
      const signed = Buffer.from(`cosignature/v1\ntime ${time}\n${noteText}`);
      return verify(null, signed, publicKey, signature.subarray(8)) ? Number(time) : undefined;
    },
  };
}

/** A signer key, `PRIVATE+KEY+name+hash+base64(type, seed)`. @throws NoteError */
export function parseSigner(text: string): Signer {
  const [a, b, name = '', hash = '', ...rest] = text.trim().split('+');
  const key = fromBase64(rest.join('+'));
  if (a !== 'PRIVATE' || b !== 'KEY' || !NAME.test(name) || key[0] !== ED25519 || key.length !== 33)
    throw new NoteError('A signer key is PRIVATE+KEY+name+hash+key, of Ed25519');
  const privateKey = createPrivateKey({
    format: 'der',
    type: 'pkcs8',
    key: Buffer.concat([PKCS8_ED25519, key.subarray(1)]),
  });
  const verifier = parseVerifier(verifierText(name, ED25519, privateKey));
  if (verifier.keyId.toString('hex') !== hash) throw new NoteError('The hash of the signer key does not fit');
  return { name, verifier, sign: (noteText) => sign(null, Buffer.from(noteText), privateKey) };
}

function verifierText(name: string, type: number, privateKey: KeyObject): string {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  const key = Buffer.concat([Buffer.of(type), Buffer.from(x!, 'base64url')]);
  return `${name}+${keyIdOf(name, key).toString('hex')}+${key.toString('base64')}`;
}

/** A new signer key. @throws NoteError when the name has spaces or a plus */
export function generateSigner(name: string): string {
  if (!NAME.test(name)) throw new NoteError('The name of a key has no spaces and no plus');
  const seed = randomBytes(32);
  const privateKey = createPrivateKey({ format: 'der', type: 'pkcs8', key: Buffer.concat([PKCS8_ED25519, seed]) });
  const hash = verifierText(name, ED25519, privateKey).split('+')[1]!;
  return `PRIVATE+KEY+${name}+${hash}+${Buffer.concat([Buffer.of(ED25519), seed]).toString('base64')}`;
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: Buffer;
  readonly signature: Buffer;
}

export interface Note {
  /** Ends with a newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const MAX_NOTE = 1_000_000;
const MAX_SIGNATURES = 100;

/** `— name base64(key id, signature)` @throws NoteError */
export function parseSignatureLine(line: string): NoteSignature {
  const match = /^— ([^\s+]+) (\S+)$/u.exec(line);
  const bytes = match && fromBase64(match[2]!);
  if (!match || !bytes || bytes.length < 5) throw new NoteError('A signature line is "— name signature"');
  return { name: match[1]!, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

export const signatureLine = ({ name, keyId, signature }: NoteSignature): string =>
  `— ${name} ${Buffer.concat([keyId, signature]).toString('base64')}\n`;

/** @throws NoteError */
export function parseNote(note: string): Note {
  if (note.length > MAX_NOTE) throw new NoteError('The note is too long');
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) throw new NoteError('The note has control characters');
  const end = note.lastIndexOf('\n\n');
  if (end < 0 || !note.endsWith('\n')) throw new NoteError('The note has no signatures');
  const lines = note.slice(end + 2, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw new NoteError('The note has too many signatures');
  return { text: note.slice(0, end + 1), signatures: lines.map(parseSignatureLine) };
}

export const formatNote = ({ text, signatures }: Note): string =>
  `${text}\n${signatures.map((signature) => signatureLine(signature)).join('')}`;

export function signNote(text: string, signer: Signer): Note {
  const { name, keyId } = signer.verifier;
  return { text, signatures: [{ name, keyId, signature: signer.sign(text) }] };
}

/**
 * The signatures of known keys. Those of unknown keys are passed over, as the specification asks.
 *
 * @throws NoteError when a known key's signature does not fit
 */
export function signersOf(note: Note, verifiers: readonly Verifier[]): { verifier: Verifier; time: number }[] {
  return verifiers.flatMap((verifier) => {
    const own = note.signatures.find((s) => s.name === verifier.name && s.keyId.equals(verifier.keyId));
    if (!own) return [];
    const time = verifier.verify(note.text, own.signature);
    if (time === undefined) throw new NoteError(`The signature of ${verifier.name} does not fit`);
    return [{ verifier, time }];
  });
}

/** What a checkpoint says (c2sp.org/tlog-checkpoint). */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
}

export const formatCheckpoint = ({ origin, size, root }: Checkpoint): string =>
  `${origin}\n${size}\n${root.toString('base64')}\n`;

/** Reads the text of a checkpoint; lines after the third are extensions and passed over. @throws NoteError */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin, size, root] = text.split('\n');
  if (!origin || !size || !root || !/^(0|[1-9]\d{0,15})$/.test(size))
    throw new NoteError('A checkpoint is origin, size and root, a line each');
  const hash = fromBase64(root);
  if (hash.length !== HASH_SIZE) throw new NoteError('The root of a checkpoint has 32 bytes');
  return { origin, size: Number(size), root: hash };
}

/**
 * A checkpoint that the log itself has signed.
 *
 * @throws NoteError when it is malformed, of another log, or not signed by `log`
 */
export function openCheckpoint(
  note: string,
  log: Verifier,
  witnesses: readonly Verifier[] = [],
): Checkpoint & { readonly witnessed: readonly { readonly name: string; readonly time: Date }[] } {
  const parsed = parseNote(note);
  const checkpoint = parseCheckpoint(parsed.text);
  if (checkpoint.origin !== log.name)
    throw new NoteError(`The checkpoint is of ${checkpoint.origin}, the key of ${log.name}`);
  if (signersOf(parsed, [log]).length === 0) throw new NoteError(`The checkpoint is not signed by ${log.name}`);
  const witnessed = signersOf(parsed, witnesses).map(({ verifier, time }) => ({
    name: verifier.name,
    time: new Date(time * 1000),
  }));
  return { ...checkpoint, witnessed };
}
