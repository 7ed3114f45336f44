import fc from 'fast-check';
import { backOff, resumable } from './resume.js';

describe('a resumable subscription', () => {
  it('is sent again with the position of the last message', () => {
    const { payload, saw } = resumable('subscription…', { stackId: 's', after: '10' });
    expect(JSON.stringify(payload)).toContain('"after":"10"');
    saw({ stackChanged: { position: '11' } });
    saw({ stackChanged: { position: '9007199254740999' } });
    expect(payload.variables).toEqual({ stackId: 's', after: '9007199254740999' });
  });

  it('leaves alone what has no position, and a caller’s variables', () => {
    const variables = { stackId: 's', after: '10' };
    const { payload, saw } = resumable('subscription…', variables);
    for (const data of [null, undefined, 'x', {}, { stackChanged: null }, { stackChanged: { position: 4 } }]) saw(data);
    expect(payload.variables.after).toBe('10');
    saw({ stackChanged: { position: '12' } });
    expect(variables.after).toBe('10');
  });

  it('gives no position to a subscription that takes none', () => {
    const { payload, saw } = resumable('subscription…', { versionId: 'v' });
    saw({ transcodeProgress: { position: '12' } });
    expect(payload.variables).toEqual({ versionId: 'v' });
  });
});

it('waits longer each time, up to a limit, and never all at once', () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
      const wait = backOff(attempt, random, 300, 8_000);
      const full = Math.min(8_000, 300 * 2 ** Math.min(attempt, 20));
      expect(wait).toBeGreaterThanOrEqual(Math.floor(full * 0.75));
      expect(wait).toBeLessThanOrEqual(full);
    }),
  );
});
