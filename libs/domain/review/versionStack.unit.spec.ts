import fc from 'fast-check';
import { EXAMPLE, VersionUploaded, type VersionStackEvent } from '#libs/events/catalogue/index.js';
import { command, given, OTHER_ORGANISATION, play, uuid } from '../testing.js';
import { versionStackDecider, withdrawnAfter } from './versionStack.js';

const stackId = uuid(1);
const [v1, v2, v3] = [uuid(0x21), uuid(0x22), uuid(0x23)];
const { filename, media, note } = VersionUploaded.example;
const base = { stackId, deliverableId: uuid(2), projectId: uuid(3), filename, blob: EXAMPLE.blob, media, note };
const add = (versionId: string, closedVersionId: string | null, revertsTo: string | null = null) =>
  command('AddVersion', { ...base, versionId, closedVersionId, revertsTo });
const withdraw = (versionId: string) => command('WithdrawVersion', { stackId, versionId, reason: 'Wrong reel' });
const two = [add(v1, null), add(v2, v1)];

describe('a version stack', () => {
  it('begins with its first version', () => {
    given(versionStackDecider)
      .when(add(v1, null))
      .then({ type: 'VersionUploaded', data: { versionId: v1, number: 1, supersedes: null } });
  });

  it('makes the newest current', () => {
    const state = given(versionStackDecider, [add(v1, null)])
      .when(add(v2, v1))
      .then({ type: 'VersionUploaded', data: { versionId: v2, number: 2, supersedes: v1 } });
    expect(state!.currentVersionId).toBe(v2);
  });

  it('takes a version only over a closed current one', () => {
    given(versionStackDecider, two)
      .when(add(v3, v1))
      .thenRefused('CURRENT_VERSION_OPEN', { path: ['closedVersionId'], details: { currentVersionId: v2 } });
    given(versionStackDecider, two).when(add(v3, null)).thenRefused('CURRENT_VERSION_OPEN');
    given(versionStackDecider)
      .when(add(v2, v1))
      .thenRefused('CURRENT_VERSION_OPEN', { details: { currentVersionId: null } });
  });

  it('takes a version once, so that an interrupted upload can be tried again', () => {
    given(versionStackDecider, two).when(add(v2, v1)).thenNothing();
    given(versionStackDecider, two).when(add(v1, null)).thenNothing();
  });

  it('goes back to an older version’s media, if that still stands', () => {
    given(versionStackDecider, two)
      .when(add(v3, v2, v1))
      .then({ type: 'VersionUploaded', data: { revertsTo: v1, number: 3 } });
    given(versionStackDecider, two)
      .when(add(v3, v2, uuid(9)))
      .thenRefused('VERSION_NOT_FOUND', { path: ['revertsTo'] });
    given(versionStackDecider, [...two, withdraw(v2)])
      .when(add(v3, v1, v2))
      .thenRefused('VERSION_NOT_FOUND', { path: ['revertsTo'] });
  });

  it('gives a withdrawn version’s place to the one before, but not its number to the next', () => {
    given(versionStackDecider, two)
      .when(withdraw(v2))
      .then({ type: 'VersionWithdrawn', data: { versionId: v2, number: 2, current: v1, reason: 'Wrong reel' } });
    given(versionStackDecider, [...two, withdraw(v2)])
      .when(add(v3, v1))
      .then({ type: 'VersionUploaded', data: { number: 3, supersedes: v1 } });
    given(versionStackDecider, [...two, withdraw(v2)])
      .when(withdraw(v1))
      .then({ type: 'VersionWithdrawn', data: { versionId: v1, current: null } });
  });

  it('withdraws only the current version, and once', () => {
    given(versionStackDecider, two)
      .when(withdraw(v1))
      .thenRefused('NOT_CURRENT', { details: { currentVersionId: v2 } });
    given(versionStackDecider, two).when(withdraw(v3)).thenRefused('VERSION_NOT_FOUND');
    given(versionStackDecider, [...two, withdraw(v2)])
      .when(withdraw(v2))
      .thenNothing();
  });

  it('is nothing to others', () => {
    given(versionStackDecider).when(withdraw(v1)).thenRefused('NOT_FOUND');
    for (const each of [withdraw(v2), add(v3, v2)]) {
      const meta = { ...each.meta, organisationId: OTHER_ORGANISATION };
      given(versionStackDecider, two)
        .when({ ...each, meta })
        .thenRefused('NOT_FOUND');
    }
    const elsewhere = add(v3, v2);
    given(versionStackDecider, two)
      .when({ ...elsewhere, data: { ...elsewhere.data, projectId: uuid(9) } })
      .thenRefused('NOT_FOUND');
  });

  it('tells which newer versions were withdrawn', () => {
    const { state } = given(versionStackDecider, [...two, withdraw(v2), add(v3, v1), withdraw(v3)]);
    expect(withdrawnAfter(state, v1)).toEqual([v2, v3]);
    expect(withdrawnAfter(state, v2)).toEqual([v3]);
    expect(withdrawnAfter(state, uuid(9))).toEqual([]);
    expect(withdrawnAfter(null, v1)).toEqual([]);
  });

  it('counts upwards whatever happens, and the newest that stands is current', () => {
    const pool = Array.from({ length: 8 }, (_, i) => uuid(0x30 + i));
    const any = fc.constantFrom(...pool);
    const step = fc.oneof(
      fc.tuple(any, fc.option(any)).map(([v, closed]) => ({ kind: 'add' as const, v, closed })),
      any.map((v) => ({ kind: 'addOverCurrent' as const, v })),
      any.map((v) => ({ kind: 'withdraw' as const, v })),
      fc.constant({ kind: 'withdrawCurrent' as const }),
    );
    let withdrawals = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30, size: 'max' }), (steps) => {
        let state = versionStackDecider.initialState;
        let last = 0;
        const standing: string[] = [];
        for (const next of steps) {
          const current = standing.at(-1) ?? null;
          const cmd =
            next.kind === 'add'
              ? add(next.v, next.closed)
              : next.kind === 'addOverCurrent'
                ? add(next.v, current)
                : withdraw(next.kind === 'withdraw' ? next.v : (current ?? v1));
          const played = play(versionStackDecider, state, cmd);
          state = played.state;
          for (const event of played.events as VersionStackEvent[]) {
            if (event.type === 'VersionUploaded') {
              expect(event.data.number).toBe(last + 1);
              expect(event.data.supersedes).toBe(current);
              last = event.data.number;
              standing.push(event.data.versionId);
            } else {
              withdrawals++;
              expect(event.data.versionId).toBe(standing.pop());
            }
          }
          expect(state?.currentVersionId ?? null).toBe(standing.at(-1) ?? null);
          expect(play(versionStackDecider, state, cmd).events).toEqual([]);
        }
      }),
    );
    expect(withdrawals).toBeGreaterThan(10);
  });
});
