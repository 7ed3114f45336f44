import {
  baseStreamOf,
  firstReadableRevision,
  metadataStreamOf,
  parseStreamMetadata,
  SOFT_DELETE_METADATA,
  streamNameProblem,
  undeleteMetadata,
} from './stream-metadata.js';

const parse = (text: string) => parseStreamMetadata(Buffer.from(text));

describe('parseStreamMetadata', () => {
  it('reads what bounds a stream and ignores the rest', () => {
    expect(parse('{"$maxCount":5,"$maxAge":60,"$tb":7,"$acl":{},"own":1}')).toEqual({
      maxCount: 5,
      maxAge: 60,
      truncateBefore: 7,
    });
  });

  it('knows a soft delete, which no JavaScript number spells exactly', () => {
    expect(parse(SOFT_DELETE_METADATA)).toEqual({ truncateBefore: 'deleted' });
  });

  it.each([
    ['{"$maxCount":0,"$maxAge":-1,"$tb":1}', { truncateBefore: 1 }],
    ['{"$maxCount":"2","$tb":1}', {}],
    ['{"$maxAge":1.5,"$tb":1}', {}],
    ['{"$acl":5,"$tb":1}', {}],
    ['{"$acl":{"$r":5},"$tb":1}', {}],
    ['{"$tmp":"x","$tb":1}', {}],
    ['{"$acl":{"$r":["a"]},"$tb":1}', { acl: { read: ['a'] }, truncateBefore: 1 }],
  ])('takes %s as the real server does', (text, metadata) => expect(parse(text)).toEqual(metadata));

  it.each(['', 'no json', 'null', '[]', '"text"', '{"$maxCount":"5","$tb":-1}'])('takes %j for no metadata', (text) => {
    expect(parse(text)).toEqual({});
  });
});

describe('firstReadableRevision', () => {
  it('is the strictest of its bounds', () => {
    expect(firstReadableRevision({}, 9)).toBe(0);
    expect(firstReadableRevision({ maxCount: 3 }, 9)).toBe(7);
    expect(firstReadableRevision({ maxCount: 30 }, 9)).toBe(0);
    expect(firstReadableRevision({ maxCount: 3, truncateBefore: 8 }, 9)).toBe(8);
  });
});

describe('undeleteMetadata', () => {
  it('keeps what was there and truncates before the new life', () => {
    const revived = undeleteMetadata(Buffer.from('{"$maxCount":5,"$tb":9223372036854775807,"own":"x"}'), 4);
    expect(JSON.parse(revived!.toString())).toEqual({ $maxCount: 5, $tb: 4, own: 'x' });
  });

  it('gives up on what is not an object', () => {
    expect(undeleteMetadata(Buffer.from('x'), 4)).toBeUndefined();
  });
});

describe('stream names', () => {
  it('tie a metadata stream to its stream', () => {
    expect(metadataStreamOf('a')).toBe('$$a');
    expect(baseStreamOf('$$a')).toBe('a');
    expect(baseStreamOf('$a')).toBe('$a');
  });

  it.each(['', '$$', '$all', '$$$$a', 'a\0b', 'x'.repeat(1025)])('refuse %j', (name) => {
    expect(streamNameProblem(name)).toEqual(expect.any(String));
  });

  it.each(['a', '$settings', '$$a', '名前 / %41', 'x'.repeat(1024)])('accept %j', (name) => {
    expect(streamNameProblem(name)).toBeUndefined();
  });
});
