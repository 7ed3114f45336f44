import { decideConditions, decideRange, ifRangeHolds, matchesEtag, parseHttpDate } from './range.js';

const part = (start: number, end: number) => ({ kind: 'PART', range: { start, end } });

test.each([
  [undefined, { kind: 'WHOLE' }],
  ['bytes=0-0', part(0, 0)],
  ['bytes=0-99', part(0, 99)],
  ['bytes=10-', part(10, 99)],
  ['bytes=-1', part(99, 99)],
  ['bytes=-1000', part(0, 99)],
  ['bytes=50-5000', part(50, 99)],
  ['bytes=50-99999999999999999999999', part(50, 99)],
  ['Bytes = 1-2', part(1, 2)],
  ['bytes=100-', { kind: 'UNSATISFIABLE' }],
  ['bytes=-0', { kind: 'UNSATISFIABLE' }],
  ['bytes=99999999999999999999999-', { kind: 'UNSATISFIABLE' }],
  ['bytes=0-1,5-6', { kind: 'UNSATISFIABLE' }],
  ['bytes=5-2', { kind: 'WHOLE' }],
  ['bytes=-', { kind: 'WHOLE' }],
  ['bytes=', { kind: 'WHOLE' }],
  ['bytes=a-b', { kind: 'WHOLE' }],
  ['bytes=0-1,x', { kind: 'WHOLE' }],
  ['bytes=--5', { kind: 'WHOLE' }],
  ['lines=0-1', { kind: 'WHOLE' }],
  ['0-1', { kind: 'WHOLE' }],
])('%s of 100 bytes', (header, decision) => {
  expect(decideRange(header, 100)).toEqual(decision);
});

test('nothing has no ranges', () => {
  expect(decideRange('bytes=0-', 0)).toEqual({ kind: 'UNSATISFIABLE' });
  expect(decideRange('bytes=-5', 0)).toEqual({ kind: 'UNSATISFIABLE' });
});

test('If-Range takes only the same strong tag', () => {
  expect(ifRangeHolds(undefined, '"a"')).toBe(true);
  expect(ifRangeHolds('"a"', '"a"')).toBe(true);
  expect(ifRangeHolds('W/"a"', '"a"')).toBe(false);
  expect(ifRangeHolds('"b"', '"a"')).toBe(false);
  expect(ifRangeHolds('Wed, 21 Oct 2026 07:28:00 GMT', '"a"')).toBe(false);
});

test('entity-tag lists', () => {
  expect(matchesEtag('*', '"a"', 'strong')).toBe(true);
  expect(matchesEtag('"x", "a"', '"a"', 'strong')).toBe(true);
  expect(matchesEtag('W/"a"', '"a"', 'weak')).toBe(true);
  expect(matchesEtag('W/"a"', '"a"', 'strong')).toBe(false);
  expect(matchesEtag('a', '"a"', 'weak')).toBe(false);
});

describe('conditions in the order of RFC 9110, section 13.2.2', () => {
  const AT = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
  const [same, later, earlier] = [0, 1, -1].map((by) => new Date((AT + by) * 1000).toUTCString());
  test.each([
    [{}, null],
    [{ 'if-match': '"a"' }, null],
    [{ 'if-match': 'W/"a"' }, 412],
    [{ 'if-match': '"b", "c"' }, 412],
    [{ 'if-match': '*' }, null],
    [{ 'if-none-match': '"a"' }, 304],
    [{ 'if-none-match': 'W/"a"' }, 304],
    [{ 'if-none-match': '"b"' }, null],
    [{ 'if-modified-since': same }, 304],
    [{ 'if-modified-since': later }, 304],
    [{ 'if-modified-since': earlier }, null],
    [{ 'if-modified-since': 'yesterday' }, null],
    [{ 'if-unmodified-since': earlier }, 412],
    [{ 'if-unmodified-since': same }, null],
    [{ 'if-unmodified-since': 'yesterday' }, null],
    // A tag is asked before a date, and the date is then no matter.
    [{ 'if-none-match': '"b"', 'if-modified-since': later }, null],
    [{ 'if-match': '"a"', 'if-unmodified-since': earlier }, null],
    [{ 'if-match': '"a"', 'if-none-match': '"a"' }, 304],
    [{ 'if-match': '"b"', 'if-none-match': '"a"' }, 412],
    [{ 'if-unmodified-since': earlier, 'if-none-match': '"a"' }, 412],
  ] as const)('%j', (headers, answer) => {
    expect(decideConditions(headers, { etag: '"a"', modified: AT })).toBe(answer);
  });

  test('content without a date ignores conditions by date', () => {
    expect(
      decideConditions({ 'if-modified-since': later, 'if-unmodified-since': earlier }, { etag: '"a"' }),
    ).toBeNull();
  });

  test.each([
    ['Sun, 06 Nov 1994 08:49:37 GMT', AT],
    ['Sunday, 06-Nov-94 08:49:37 GMT', AT],
    ['Sun Nov  6 08:49:37 1994', AT],
    ['Sun, 06 Foo 1994 08:49:37 GMT', null],
    ['1994-11-06T08:49:37Z', null],
    ['Sun, 06 Nov 1994 25:49:37 GMT', null],
  ])('%s', (text, seconds) => {
    expect(parseHttpDate(text)).toBe(seconds);
  });
});
