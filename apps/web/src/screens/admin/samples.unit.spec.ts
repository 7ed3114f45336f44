import { appended, behind, linePath, niceMaximum, WINDOW_MS } from './samples.js';

describe('appended', () => {
  it('keeps the window and nothing that is not older than the newest', () => {
    const samples = [
      { at: 0, value: 1 },
      { at: WINDOW_MS - 1000, value: 2 },
      { at: WINDOW_MS + 5000, value: 3 },
    ];
    expect(appended(samples, { at: WINDOW_MS + 1000, value: 4 })).toEqual([
      { at: WINDOW_MS - 1000, value: 2 },
      { at: WINDOW_MS + 1000, value: 4 },
    ]);
  });
});

it.each([
  [0, 1],
  [1, 1],
  [1.2, 2],
  [37, 50],
  [51, 100],
  [1000, 1000],
  [2001, 5000],
])('above %p stands %p', (value, maximum) => expect(niceMaximum(value)).toBe(maximum));

describe('linePath', () => {
  const box = { width: 300, height: 100, now: WINDOW_MS, maximum: 10 };

  it('goes from left to right, large values up', () => {
    expect(
      linePath(
        [
          { at: WINDOW_MS - 1000, value: 0 },
          { at: WINDOW_MS, value: 10 },
        ],
        box,
      ),
    ).toBe('M299.0 100.0L300.0 0.0');
  });

  it('breaks where nothing is known', () => {
    const path = linePath(
      [
        { at: WINDOW_MS - 3000, value: 5 },
        { at: WINDOW_MS - 2000, value: null },
        { at: WINDOW_MS - 1000, value: 5 },
      ],
      box,
    );
    expect(path.match(/M/g)).toHaveLength(2);
    expect(
      linePath(
        [
          { at: 0, value: 5 },
          { at: WINDOW_MS, value: 5 },
        ],
        box,
      ).match(/M/g),
    ).toHaveLength(2);
  });

  it('does not leave its box', () => {
    expect(linePath([{ at: WINDOW_MS, value: 99 }], box)).toBe('M300.0 0.0');
  });
});

it.each([
  [0, '0 s'],
  [0.0001, '1 ms'],
  [0.25, '250 ms'],
  [61, '61 s'],
  [600, '10 min'],
  [9000, '3 h'],
])('%p seconds behind are %p', (seconds, text) => expect(behind(seconds)).toBe(text));
