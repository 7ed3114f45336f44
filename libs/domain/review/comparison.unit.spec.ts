import fc from 'fast-check';
import { ComparisonCompleted, ComparisonFailed, ComparisonRequested, EXAMPLE } from '#libs/events/catalogue/index.js';
import { streamIdOf } from '../index.js';
import { command, given, OTHER_ORGANISATION, people, play, system, uuid } from '../testing.js';
import { comparisonDecider } from './comparison.js';

const { comparisonId, from, to } = ComparisonRequested.example;
const medium = { projectId: EXAMPLE.project, kind: 'VIDEO' as const };
const input = { comparisonId, from: { ...from, ...medium }, to: { ...to, ...medium } };
const asked = command('RequestComparison', input, people.client);
const askedAgain = command('RequestComparison', input, people.artist);
const completed = command('CompleteComparison', ComparisonCompleted.example, system);
const otherwise = command(
  'CompleteComparison',
  { ...ComparisonCompleted.example, report: { hash: `sha256:${'c2'.repeat(32)}`, size: 9 } },
  system,
);
const failed = command('FailComparison', ComparisonFailed.example, system);
const failedOtherwise = command('FailComparison', { ...ComparisonFailed.example, reason: 'No space left' }, system);

describe('a comparison', () => {
  it('is asked for once: the same again is nothing, whoever asks', () => {
    expect(streamIdOf(asked)).toBe(comparisonId);
    given(comparisonDecider)
      .when(asked)
      .then({ type: 'ComparisonRequested', data: { from, to, versionId: to.versionId, stackId: to.stackId } });
    given(comparisonDecider, [asked]).when(asked).thenNothing();
    given(comparisonDecider, [asked]).when(askedAgain).thenNothing();
    given(comparisonDecider, [asked, completed]).when(askedAgain).thenNothing();
  });

  it('that failed may be asked for again', () => {
    given(comparisonDecider, [asked, failed]).when(askedAgain).then({ type: 'ComparisonRequested' });
    given(comparisonDecider, [asked, failed, askedAgain]).when(asked).thenNothing();
    given(comparisonDecider, [asked, failed, askedAgain])
      .when(failed)
      .then({ type: 'ComparisonFailed', data: { reason: ComparisonFailed.example.reason } });
    given(comparisonDecider, [asked, failed, askedAgain]).when(completed).then({ type: 'ComparisonCompleted' });
  });

  it('has one result: the first success', () => {
    given(comparisonDecider, [asked])
      .when(completed)
      .then({ type: 'ComparisonCompleted', data: { frames: { from: 240, to: 230 }, versionId: to.versionId } });
    for (const late of [completed, otherwise, failed])
      given(comparisonDecider, [asked, completed]).when(late).thenNothing();
    given(comparisonDecider, [asked, failed]).when(failed).thenNothing();
    given(comparisonDecider, [asked, failed]).when(failedOtherwise).then({ type: 'ComparisonFailed' });
    given(comparisonDecider, [asked, failed]).when(completed).then({ type: 'ComparisonCompleted' });
  });

  it('is of two moving pictures of one project', () => {
    const ask = (side: 'from' | 'to', more: object) =>
      given(comparisonDecider).when(command('RequestComparison', { ...input, [side]: { ...input[side], ...more } }));
    ask('from', { versionId: to.versionId }).thenRefused('SAME_MEDIUM', { path: ['from'] });
    ask('from', { versionId: to.versionId, referenceId: EXAMPLE.reference }).then({ type: 'ComparisonRequested' });
    ask('from', { projectId: uuid(7) }).thenRefused('OTHER_PROJECT', { path: ['from'] });
    ask('from', { kind: 'IMAGE' }).thenRefused('NO_MOVING_PICTURE', { path: ['from'] });
    ask('to', { kind: 'AUDIO' }).thenRefused('NO_MOVING_PICTURE', { path: ['to'] });
  });

  it('is nothing to others, and has no result before it was asked for', () => {
    for (const each of [asked, completed, failed]) {
      const meta = { ...each.meta, organisationId: OTHER_ORGANISATION };
      given(comparisonDecider, [asked])
        .when({ ...each, meta })
        .thenRefused('NOT_FOUND');
    }
    for (const each of [completed, failed]) given(comparisonDecider).when(each).thenRefused('NOT_FOUND');
  });

  it('never loses a success, never has two, and hears everything once', () => {
    const any = fc.array(fc.constantFrom(asked, askedAgain, completed, otherwise, failed, failedOtherwise), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(any, (commands) => {
        let state = comparisonDecider.initialState;
        let successes = 0;
        for (const each of commands) {
          const before = state?.status;
          const { state: after, events } = play(comparisonDecider, state, each);
          state = after;
          successes += events.filter(({ type }) => type === 'ComparisonCompleted').length;
          expect(successes).toBeLessThanOrEqual(1);
          if (successes > 0) expect(state!.status).toBe('COMPLETED');
          // Nobody asks for what is there or under way.
          if (events.some(({ type }) => type === 'ComparisonRequested'))
            expect([undefined, 'FAILED']).toContain(before);
          expect(play(comparisonDecider, state, each).events).toEqual([]);
        }
      }),
    );
  });
});
