import { setTimeout as sleep } from 'node:timers/promises';
import { readAhead } from './read-ahead.js';

/** Counts up to `count`, then ends or fails; remembers how often it was asked. */
function counting(count: number, failure?: Error) {
  const asked = { times: 0 };
  const items: AsyncIterable<number> = {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        const n = asked.times++;
        await sleep(n % 3);
        if (n < count) return { done: false, value: n };
        if (failure) throw failure;
        return { done: true, value: undefined };
      },
    }),
  };
  return { items, asked };
}

describe('readAhead', () => {
  it.each([0, 1, 3, 40])('gives all of %i items in order', async (count) => {
    const given: number[] = [];
    for await (const n of readAhead(counting(count).items, 4)) given.push(n);
    expect(given).toEqual(Array.from({ length: count }, (_, n) => n));
  });

  it('reads on while an item is looked at, and no further than it may', async () => {
    const { items, asked } = counting(100);
    const reading = readAhead(items, 4);
    await reading.next();
    const before = asked.times;
    await sleep(100);
    expect(asked.times).toBeGreaterThan(before);
    // The one that was given, those that wait, and nothing more.
    expect(asked.times).toBeLessThanOrEqual(1 + 4);
  });

  it('gives what was read before a failure, and then the failure', async () => {
    const given: number[] = [];
    const reading = async () => {
      for await (const n of readAhead(counting(5, new Error('gone')).items, 10)) {
        given.push(n);
        await sleep(20);
      }
    };
    await expect(reading()).rejects.toThrow('gone');
    expect(given).toEqual([0, 1, 2, 3, 4]);
  });

  it('stops reading when nobody looks any more, also when it fails then', async () => {
    const { items, asked } = counting(3, new Error('nobody hears of it'));
    for await (const n of readAhead(items, 10)) if (n === 0) break;
    await sleep(50);
    const settled = asked.times;
    await sleep(50);
    expect(asked.times).toBe(settled);
  });
});
