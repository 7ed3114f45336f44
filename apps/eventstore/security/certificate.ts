import { generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';

/** PEM texts of a server. */
export type Identity = { certificate: Buffer; key: Buffer };

const VALID_YEARS = 10;
/** A certificate that ends sooner than this is replaced. */
const RENEW_DAYS = 365;
const DAY_MS = 86_400_000;

/**
 * The identity in a folder, made on first use: an authority of its own whose key is thrown away at once, and one
 * certificate of it for these hosts. Clients trust `ca.pem`. The key is readable by its owner only.
 */
export function ensureIdentity(folder: string, hosts: readonly string[]): Identity & { authorityFile: string } {
  const file = (name: string) => join(folder, name);
  const [authorityFile, certificateFile, keyFile] = [file('ca.pem'), file('server.pem'), file('server.key')];
  if (![authorityFile, certificateFile, keyFile].every(existsSync) || !isUsable(certificateFile, hosts)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { authority, certificate, key } = makeIdentity(hosts);
    for (const [path, text] of [
      [keyFile, key],
      [certificateFile, certificate],
      [authorityFile, authority],
    ] as const) {
      const part = `${path}.${randomBytes(4).toString('hex')}`;
      writeFileSync(part, text, { mode: 0o600 });
      chmodSync(part, 0o600);
      renameSync(part, path);
    }
  }
  return { authorityFile, certificate: readFileSync(certificateFile), key: readFileSync(keyFile) };
}

function isUsable(file: string, hosts: readonly string[]): boolean {
  try {
    const certificate = new X509Certificate(readFileSync(file));
    if (Date.parse(certificate.validTo) < Date.now() + RENEW_DAYS * DAY_MS) return false;
    return hosts.every((host) => (isIP(host) ? certificate.checkIP(host) : certificate.checkHost(host)) !== undefined);
  } catch {
    return false;
  }
}

/** An authority and a server certificate it signed, as PEM: X.509 version 3 (RFC 5280), P-256, ECDSA with SHA-256. */
export function makeIdentity(hosts: readonly string[]): { authority: string; certificate: string; key: string } {
  const root = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = `event store ${randomBytes(4).toString('hex')}`;
  const authority = certificate(name, name, root.publicKey, root.privateKey, [
    extension('551d13', true, sequence(der(0x01, Buffer.from([0xff])))), // basicConstraints: CA
    extension('551d0f', true, der(0x03, Buffer.from([1, 0b0000_0110]))), // keyUsage: keyCertSign, cRLSign
  ]);
  const names = hosts.map((host) => {
    if (isIP(host) === 0) return der(0x82, Buffer.from(host, 'latin1'));
    return der(0x87, addressBytes(host));
  });
  const leaf = certificate(`${name} server`, name, server.publicKey, root.privateKey, [
    extension('551d13', true, sequence()),
    extension('551d0f', true, der(0x03, Buffer.from([7, 0b1000_0000]))), // keyUsage: digitalSignature
    extension('551d25', false, sequence(der(0x06, Buffer.from('2b06010505070301', 'hex')))), // extKeyUsage: serverAuth
    extension('551d11', false, sequence(...names)), // subjectAltName
  ]);
  return { authority, certificate: leaf, key: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

function certificate(
  subject: string,
  issuer: string,
  key: KeyObject,
  signWith: KeyObject,
  extensions: readonly Buffer[],
): string {
  const algorithm = sequence(der(0x06, Buffer.from('2a8648ce3d040302', 'hex'))); // ecdsa-with-SHA256
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const from = new Date(Date.now() - DAY_MS);
  const until = new Date(from);
  until.setUTCFullYear(until.getUTCFullYear() + VALID_YEARS);
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    algorithm,
    distinguishedName(issuer),
    sequence(time(from), time(until)),
    distinguishedName(subject),
    key.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = der(0x03, Buffer.concat([Buffer.from([0]), sign('sha256', body, signWith)]));
  const text = sequence(body, algorithm, signature)
    .toString('base64')
    .replace(/.{64}(?!$)/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
}

/** One tag, length and value of the Distinguished Encoding Rules (X.690). */
function der(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), value]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  const parts = [der(0x06, Buffer.from(id, 'hex'))];
  if (critical) parts.push(der(0x01, Buffer.from([0xff])));
  return sequence(...parts, der(0x04, value));
}

function distinguishedName(commonName: string): Buffer {
  const attribute = sequence(der(0x06, Buffer.from('550403', 'hex')), der(0x0c, Buffer.from(commonName)));
  return sequence(der(0x31, attribute));
}

/** UTCTime up to 2049, GeneralizedTime from then on, as RFC 5280 wants it. */
function time(at: Date): Buffer {
  const text = at.toISOString().replace(/[-:T]|\.\d+/g, '');
  return at.getUTCFullYear() < 2050
    ? der(0x17, Buffer.from(text.slice(2), 'latin1'))
    : der(0x18, Buffer.from(text, 'latin1'));
}

function addressBytes(host: string): Buffer {
  if (isIP(host) === 4) return Buffer.from(host.split('.').map(Number));
  const [head = '', tail] = host.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const [before, after] = [groups(head), groups(tail ?? '')];
  const all =
    tail === undefined ? before : [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
