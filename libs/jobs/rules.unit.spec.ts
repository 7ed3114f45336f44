import fc from 'fast-check';
import { assertJobId, assertQueueName, backoffMs, jobIdOf } from './rules.js';

describe('job ids', () => {
  it('come from event ids', () => {
    const eventId = 'b5f3a6c2-0000-5000-8000-000000000001';
    expect(jobIdOf(eventId)).toBe(eventId);
    expect(jobIdOf(eventId, 'poster')).toBe(`poster-${eventId}`);
    expect(() => jobIdOf(eventId, 'a:b')).toThrow(RangeError);
  });

  it.each(['', 'a:b', '12', '0', '-7', 'a b', 'ü', 'x'.repeat(201), 'a\n'])('refuse %j', (jobId) =>
    expect(() => assertJobId(jobId)).toThrow(RangeError),
  );

  it.each(['a', '1a', 'a-1', 'transcode-x.y_z=1', 'x'.repeat(200)])('take %j', (jobId) =>
    expect(() => assertJobId(jobId)).not.toThrow(),
  );
});

describe('queue names', () => {
  it.each(['', 'A', 'a:b', '1a', 'a b', 'x'.repeat(61)])('refuse %j', (name) =>
    expect(() => assertQueueName(name)).toThrow(RangeError),
  );
  it('take plain words', () => expect(() => assertQueueName('transcode-4k')).not.toThrow());
});

describe('waiting after a failure', () => {
  it('doubles, within a fifth', () => {
    expect([1, 2, 3, 4].map((attempt) => backoffMs(1_000, attempt, 0.5))).toEqual([1_000, 2_000, 4_000, 8_000]);
    expect(backoffMs(1_000, 1, 0)).toBe(800);
    expect(backoffMs(1_000, 1, 1)).toBe(1_200);
  });

  it('is never longer than an hour and a fifth, nor nothing', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000_000 }),
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (first, attempt, random) => {
          const wait = backoffMs(first, attempt, random);
          expect(wait).toBeGreaterThanOrEqual(1);
          expect(wait).toBeLessThanOrEqual(1.2 * 3_600_000);
        },
      ),
    );
  });
});
