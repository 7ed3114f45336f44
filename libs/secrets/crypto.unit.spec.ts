import fc from 'fast-check';
import { MasterKeys, newKey, normaliseEmail, open, RootKeys, seal, secretKey } from './crypto.js';
import { personOfCiphertext, SecretsError } from './types.js';

const personId = fc.stringMatching(/^[A-Za-z0-9_-]{1,36}$/);
const key = secretKey(newKey());
const code = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return error instanceof SecretsError ? error.code : String(error);
  }
};

describe('ciphertexts of a person', () => {
  it('open to what was sealed, and name the person', () => {
    fc.assert(
      fc.property(personId, fc.string({ unit: 'grapheme' }), fc.string(), (person, plaintext, aad) => {
        const sealed = seal(key, person, plaintext, aad);
        expect(sealed).toMatch(/^enc:v1:[A-Za-z0-9_-]+:[A-Za-z0-9_-]+$/);
        expect(personOfCiphertext(sealed)).toBe(person);
        expect(open(key, person, sealed, aad)).toBe(plaintext);
      }),
    );
  });

  it('never come out the same twice', () => {
    expect(new Set(Array.from({ length: 100 }, () => seal(key, 'p', 'same', 'there'))).size).toBe(100);
  });

  it('do not open after any change of a character', () => {
    fc.assert(
      fc.property(
        personId,
        fc.string(),
        fc.nat(),
        fc.constantFrom(...'ABCxyz019-_=:+/ '),
        (person, plaintext, at, character) => {
          const sealed = seal(key, person, plaintext, 'there');
          const index = at % sealed.length;
          const changed = sealed.slice(0, index) + character + sealed.slice(index + 1);
          fc.pre(changed !== sealed);
          expect(code(() => open(key, person, changed, 'there'))).toBe('CIPHERTEXT_INVALID');
        },
      ),
    );
  });

  it('do not open elsewhere, for another, or with another key', () => {
    fc.assert(
      fc.property(personId, personId, fc.string(), fc.string(), fc.string(), (person, other, text, aad, otherAad) => {
        fc.pre(person !== other && aad !== otherAad);
        const sealed = seal(key, person, text, aad);
        expect(code(() => open(key, person, sealed, otherAad))).toBe('CIPHERTEXT_INVALID');
        expect(code(() => open(key, other, sealed, aad))).toBe('CIPHERTEXT_INVALID');
        expect(code(() => open(key, other, sealed.replace(`:${person}:`, `:${other}:`), aad))).toBe(
          'CIPHERTEXT_INVALID',
        );
        expect(code(() => open(secretKey(newKey()), person, sealed, aad))).toBe('CIPHERTEXT_INVALID');
      }),
    );
  });

  it.each(['', 'plain', 'enc:v1:p', 'enc:v1:p:', 'enc:v2:p:AAAA', 'enc:v1:p:AAAA', `enc:v1:p:${'A'.repeat(37)}`])(
    'refuse %j',
    (text) => expect(code(() => open(key, 'p', text, ''))).toBe('CIPHERTEXT_INVALID'),
  );

  it('refuse an id that would break the form', () => {
    expect(() => seal(key, 'a:b', 'x', '')).toThrow(RangeError);
    expect(() => seal(key, '', 'x', '')).toThrow(RangeError);
  });
});

describe('master keys', () => {
  const first = newKey();
  const second = newKey();

  it('wrap and unwrap under the same name only', () => {
    const master = new MasterKeys(first);
    const inner = newKey();
    const wrapped = master.wrap(inner, 'person:a');
    expect(master.unwrap(master.currentId, wrapped, 'person:a').equals(inner)).toBe(true);
    expect(code(() => master.unwrap(master.currentId, wrapped, 'person:b'))).toBe('MASTER_KEY_WRONG');
  });

  it('open what a previous one wrapped, but not what an unknown one did', () => {
    const old = new MasterKeys(first);
    const wrapped = old.wrap(newKey(), 'x');
    expect(new MasterKeys(second, [first]).unwrap(old.currentId, wrapped, 'x')).toHaveLength(32);
    expect(code(() => new MasterKeys(second).unwrap(old.currentId, wrapped, 'x'))).toBe('MASTER_KEY_WRONG');
  });

  it('must have 32 bytes', () => {
    expect(() => new MasterKeys(Buffer.alloc(16))).toThrow(RangeError);
  });
});

describe('e-mail addresses', () => {
  it('are the same however they are typed, and only then', () => {
    const root = new RootKeys(newKey());
    expect(root.emailHash(' Ada@Example.org ').equals(root.emailHash('ada@example.org'))).toBe(true);
    expect(root.emailHash('ada@example.org').equals(root.emailHash('ida@example.org'))).toBe(false);
    expect(new RootKeys(newKey()).emailHash('ada@example.org').equals(root.emailHash('ada@example.org'))).toBe(false);
    expect(normaliseEmail('ＡＤＡ@example.org')).toBe('ada@example.org');
  });
});
