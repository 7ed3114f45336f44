import { beginsWithIdr, cleanCuts, decodingDelay, planSmart } from './smart.js';

const packets = (text: string) =>
  text.split(' ').map((word) => ({ frame: Number(word.replace('K', '')), key: word.startsWith('K') }));

test('cuts are where decoding and showing agree', () => {
  expect(cleanCuts(packets('K0 2 1 3 K4 6 5 7'), true)).toEqual([0, 4, 8]);
  // Shown before the key though decoded after it.
  expect(cleanCuts(packets('K0 1 K4 2 3 5 K6 7'), true)).toEqual([0, 6, 8]);
  expect(cleanCuts(packets('K0 2 1 3 K4 6'), false)).toEqual([0, 4]);
  expect(cleanCuts(packets('K0 2 3'), true)).toBeNull();
  expect(cleanCuts(packets('K0 1 1 2'), true)).toBeNull();
});

test('the middle is what lies between the first and the last cut inside', () => {
  expect(planSmart({ first: 2, count: 5 }, [0, 4, 8])).toBeNull();
  expect(planSmart({ first: 0, count: 6 }, [0, 4, 8])).toEqual({
    head: { first: 0, count: 0 },
    middle: { first: 0, count: 4 },
    tail: { first: 4, count: 2 },
  });
});

test('only an IDR begins anew', () => {
  expect(beginsWithIdr(Buffer.from('000000020910' + '000000026588', 'hex'), 'h264')).toBe(true);
  expect(beginsWithIdr(Buffer.from('000000020910' + '000000024188', 'hex'), 'h264')).toBe(false);
  expect(beginsWithIdr(Buffer.from('0000000326010a', 'hex'), 'hevc')).toBe(true);
  // A clean random access picture may have followers that look behind it.
  expect(beginsWithIdr(Buffer.from('000000032a010a', 'hex'), 'hevc')).toBe(false);
  expect(beginsWithIdr(Buffer.alloc(3), 'h264')).toBe(false);
});

test('decoding runs ahead by as much as the order needs', () => {
  expect(decodingDelay([0, 1, 2])).toBe(0);
  expect(decodingDelay([0, 4, 2, 1, 3])).toBe(2);
});
