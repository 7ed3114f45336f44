import { toCsv } from './audit.http.js';
import { shownSince } from './trail.js';

describe('a line of CSV', () => {
  it('quotes what RFC 4180 wants quoted', () => {
    expect(toCsv(['a', 'say "cheese"', 'a,b', 'a\nb', 1, null, undefined])).toBe(
      'a,"say ""cheese""","a,b","a\nb",1,,\r\n',
    );
    expect(toCsv([{ path: 'x', old: null }])).toBe('"{""path"":""x"",""old"":null}"\r\n');
  });

  it('holds no formulas', () => {
    expect(toCsv(['=1+1', '+1', '-1', '@x', 'a=b'])).toBe("'=1+1,'+1,'-1,'@x,a=b\r\n");
  });
});

it('the policy says from when entries are shown', () => {
  const now = Date.parse('2031-05-06T00:00:00.000Z');
  expect(shownSince(null, now)).toBeUndefined();
  expect(shownSince(30, now)).toEqual(new Date('2031-04-06T00:00:00.000Z'));
});
