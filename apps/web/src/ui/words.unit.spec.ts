import { bytes, when } from './words.js';

it('sizes in the units people use', () => {
  expect([0, 999, '18432000', 1e12].map(bytes)).toEqual(['0 B', '999 B', '18.4 MB', '1.0 TB']);
});

it('moments shorter the nearer they are', () => {
  const now = new Date('2026-03-12T15:00:00');
  const before = (ms: number) => new Date(now.getTime() - ms).toISOString();
  expect(when(before(20_000), now)).toBe('just now');
  expect(when(before(5 * 60_000), now)).toBe('5 min ago');
  expect(when(before(3 * 3_600_000), now)).toBe('12:00');
  expect(when(before(30 * 3_600_000), now)).toBe('11 Mar, 09:00');
  expect(when('2024-01-05T12:00:00Z', now)).toBe('5 Jan 2024');
});
