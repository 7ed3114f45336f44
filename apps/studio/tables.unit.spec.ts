import { bytes, duration, table } from './tables.js';

describe('table', () => {
  it('has columns as wide as their widest cell, numbers to the right', () => {
    expect(
      table(
        ['name', 'lag'],
        [
          ['identity', 0],
          ['a', 1200],
        ],
      ),
    ).toBe('NAME       LAG\nidentity     0\na         1200');
  });

  it('shows what is not known as a dash and nothing behind the last column', () => {
    expect(
      table(
        ['a', 'b'],
        [
          ['x', null],
          ['long', 'y'],
        ],
      ),
    ).toBe('A     B\nx     –\nlong  y');
    expect(table(['only', 'head'], [])).toBe('ONLY  HEAD');
  });
});

it.each([
  [0, '0 s'],
  [0.0004, '1 ms'],
  [0.85, '850 ms'],
  [12.4, '12 s'],
  [600, '10 min'],
  [7200, '2 h'],
  [180_000, '2 d'],
])('%p seconds are %p', (seconds, text) => expect(duration(seconds)).toBe(text));

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1500, '1.5 kB'],
  [123_456_789, '123 MB'],
  [2e12, '2.0 TB'],
])('%p bytes are %p', (size, text) => expect(bytes(size)).toBe(text));
