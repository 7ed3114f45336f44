import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { opensFile, signPath, verifyPath, type MediaClaims } from './signedUrl.js';

const key = randomBytes(32);
const claims: MediaClaims = {
  organisationId: 'studio',
  versionId: '5e0c…/“quoted”',
  manifestHash: `sha256:${'ab'.repeat(32)}`,
  userId: 'ann',
  sessionId: 'session-1',
  scope: null,
  expiresAt: 1_700_000_000_000,
};

test('a genuine token gives its claims until the moment it expires', () => {
  const token = signPath(claims, key);
  expect(token).toMatch(/^[A-Za-z0-9_.-]+$/);
  expect(verifyPath(token, key, claims.expiresAt - 1)).toEqual({ ok: true, value: claims });
  expect(verifyPath(token, key, claims.expiresAt)).toMatchObject({ error: { code: 'MEDIA_URL_EXPIRED' } });
});

test('no other key opens it, and a short key is a mistake', () => {
  expect(verifyPath(signPath(claims, key), randomBytes(32), 0)).toMatchObject({ error: { code: 'MEDIA_URL_INVALID' } });
  expect(() => signPath(claims, randomBytes(16))).toThrow(TypeError);
});

test('changing any character makes it invalid', () => {
  const token = signPath(claims, key);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  // The last character holds two bits that a decoder drops; all others count.
  fc.assert(
    fc.property(fc.nat(token.length - 2), fc.constantFrom(...alphabet), (at, character) => {
      if (token[at] === character) return;
      const forged = token.slice(0, at) + character + token.slice(at + 1);
      expect(verifyPath(forged, key, 0)).toMatchObject({ error: { code: 'MEDIA_URL_INVALID' } });
    }),
    { numRuns: 1000 },
  );
});

test.each(['', '.', 'a.b', `${'a'.repeat(5000)}.${'b'.repeat(43)}`, '../../etc/passwd', `.${'a'.repeat(43)}`])(
  'malformed “%s” is invalid',
  (token) => {
    expect(verifyPath(token, key, 0)).toMatchObject({ error: { code: 'MEDIA_URL_INVALID' } });
  },
);

test('a token of one name opens its playlist and segments, and nothing else', () => {
  const scoped = { ...claims, scope: 'hls_v0' };
  const read = verifyPath(signPath(scoped, key), key, 0);
  expect(read).toEqual({ ok: true, value: scoped });
  const names = ['hls_v0.m3u8', 'hls_v0.mp4', 'hls_v1.mp4', 'master.m3u8', 'hls_v0', 'original', 'hls_v0.mp4.bak'];
  expect(names.map((name) => opensFile(scoped, name))).toEqual([true, true, false, false, true, false, false]);
  expect(names.every((name) => opensFile(claims, name))).toBe(true);
});
