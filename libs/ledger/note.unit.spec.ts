import { EMPTY_ROOT } from './merkle.js';
import {
  formatCheckpoint,
  formatNote,
  generateSigner,
  NoteError,
  openCheckpoint,
  parseCheckpoint,
  parseNote,
  parseSigner,
  parseVerifier,
  signatureLine,
  signersOf,
  signNote,
} from './note.js';

describe('signed notes', () => {
  // c2sp.org/signed-note, section "Example".
  const KEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
  const NOTE = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;

  it('verify as the example of the specification', () => {
    const verifier = parseVerifier(KEY);
    const note = parseNote(NOTE);
    expect(note.text).toBe('This is an example message.\n');
    expect(signersOf(note, [verifier])).toEqual([{ verifier, time: 0 }]);
    expect(formatNote(note)).toBe(NOTE);
    expect(() => signersOf({ ...note, text: 'This is another message.\n' }, [verifier])).toThrow(NoteError);
  });

  // golang.org/x/mod/sumdb/note: its documentation's key, signer and note.
  it('verify and sign as sumdb/note does', () => {
    const signer = parseSigner('PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz');
    expect(signer.verifier.text).toBe('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
    const text =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    expect(formatNote(signNote(text, signer))).toBe(
      `${text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`,
    );
  });

  it('are signed by a new key that others can read', () => {
    const signer = parseSigner(generateSigner('studio.example/ledger'));
    const note = parseNote(formatNote(signNote('ä\n', signer)));
    expect(signersOf(note, [parseVerifier(signer.verifier.text)])).toHaveLength(1);
    // Other keys are passed over, also of the same name.
    expect(signersOf(note, [parseSigner(generateSigner('studio.example/ledger')).verifier])).toEqual([]);
  });

  it.each([
    ['no signature', 'text\n\n'],
    ['no text', '— a b\n'],
    ['no newline at the end', NOTE.slice(0, -1)],
    ['a control character', NOTE.replace('example m', 'example\tm')],
    ['no base64', NOTE.replace('Uw2', '*w2')],
    ['another dash', NOTE.replace('—', '-')],
  ])('are refused with %s', (_, note) => {
    expect(() => parseNote(note)).toThrow(NoteError);
  });

  it.each([
    ['no parts', 'example.com'],
    ['another hash', KEY.replace('530d', '530e')],
    ['another key', KEY.replace('AekyeR', 'AekyeS')],
    ['another type', 'a+00000000+AAAA'],
    ['a space', KEY.replace('foo', 'f o')],
  ])('have no key with %s', (_, key) => {
    expect(() => parseVerifier(key)).toThrow(NoteError);
    expect(() => parseSigner(key)).toThrow(NoteError);
    expect(() => generateSigner('a b')).toThrow(NoteError);
  });
});

describe('checkpoints', () => {
  const signer = parseSigner(generateSigner('studio.example/ledger'));
  const checkpoint = { origin: signer.name, size: 0, root: EMPTY_ROOT };
  const note = formatNote(signNote(formatCheckpoint(checkpoint), signer));

  it('open with the key of their log', () => {
    expect(note.split('\n').slice(0, 3)).toEqual([signer.name, '0', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=']);
    expect(openCheckpoint(note, signer.verifier)).toEqual({ ...checkpoint, witnessed: [] });
    expect(parseCheckpoint(`${formatCheckpoint(checkpoint)}an extension\n`)).toEqual(checkpoint);
  });

  it('do not open for others', () => {
    const other = parseSigner(generateSigner('other.example'));
    const same = parseSigner(generateSigner(signer.name));
    expect(() => openCheckpoint(note, other.verifier)).toThrow('is of studio.example/ledger');
    expect(() => openCheckpoint(note, same.verifier)).toThrow('not signed');
    expect(() => openCheckpoint(note.replace('\n0\n', '\n1\n'), signer.verifier)).toThrow('does not fit');
  });

  it.each(['a\n1\n', 'a\n01\nAAAA\n', 'a\n-1\nAAAA\n', 'a\n1\nAAAA\n', '\n1\nAAAA\n', 'a\n1\n!\n'])(
    'are not %j',
    (text) => {
      expect(() => parseCheckpoint(text)).toThrow(NoteError);
    },
  );

  it('carry cosignatures with the time a witness saw them', () => {
    // Signed by the Go implementation: sumdb/note, and formats/note of transparency-dev.
    const log = 'studio.example/ledger+7ab89c9f+ASZLT1w4HiQuq5sJwpR5xkV35sZA9MSE9i5xo53WxVEy';
    const signed = `studio.example/ledger
8
XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

— studio.example/ledger ericn9swwOw15Da+/o1mMmy1mIlDg0GISBsatOdf250OnDvuO+Km0AT5Gl9foEBSbz33PxJIJpCVKKOcGr0pDl5rUAc=
— witness.example/w1 e/mUFwAAAABrAUt70TAEmFChipNuT4+Etp/eHopDpz/eQBsKpbbVDrJf0IRhmSGdJqto8e+ahvfKM3lOA9USE0ECzLOxlQ+zBY91Ag==
`;
    // The witness's key of the other signature type has the same bytes.
    const { verifier } = parseSigner(
      'PRIVATE+KEY+witness.example/w1+f8c7394f+ASVv716D6SYxCAstQaEv4vjBL4tKP/TTqgqx8Ip8kuvz',
    );
    const key = Buffer.from(verifier.text.split('+').slice(2).join('+'), 'base64');
    key[0] = 4;
    const witness = parseVerifier(`witness.example/w1+7bf99417+${key.toString('base64')}`);
    expect([verifier.witness, witness.witness]).toEqual([false, true]);
    const opened = openCheckpoint(signed, parseVerifier(log), [witness]);
    expect(opened).toMatchObject({ origin: 'studio.example/ledger', size: 8 });
    expect(opened.witnessed).toEqual([{ name: 'witness.example/w1', time: new Date(0x6b014b7b * 1000) }]);
    // Another time, the same signature.
    expect(() =>
      openCheckpoint(signed.replace('e/mUFwAAAABrAUt7', 'e/mUFwAAAABrAUt8'), parseVerifier(log), [witness]),
    ).toThrow('witness.example/w1 does not fit');
    expect(parseNote(signed).signatures.map(signatureLine).join('')).toBe(signed.slice(signed.indexOf('\n\n') + 2));
  });
});
