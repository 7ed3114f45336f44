import fc from 'fast-check';
import { EXAMPLE, TranscodeCompleted, TranscodeFailed } from '#libs/events/catalogue/index.js';
import { streamIdOf } from '../index.js';
import { command, given, OTHER_ORGANISATION, play, system } from '../testing.js';
import { versionMediaDecider } from './versionMedia.js';

const { versionId } = TranscodeCompleted.example;
const completed = command('CompleteTranscode', TranscodeCompleted.example, system);
const otherManifest = { hash: `sha256:${'c2'.repeat(32)}`, size: 9 };
const recoded = command('CompleteTranscode', { ...TranscodeCompleted.example, manifest: otherManifest }, system);
const failed = command('FailTranscode', TranscodeFailed.example, system);
const failedOtherwise = command('FailTranscode', { ...TranscodeFailed.example, reason: 'No space left' }, system);
const retry = command('RetryTranscode', { versionId });

describe('the media of a version', () => {
  it('is transcoded, and the same result again changes nothing', () => {
    given(versionMediaDecider)
      .when(completed)
      .then({ type: 'TranscodeCompleted', data: { frames: 240 } });
    given(versionMediaDecider, [completed]).when(completed).thenNothing();
    given(versionMediaDecider, [completed]).when(recoded).then({ type: 'TranscodeCompleted' });
  });

  it('fails with ffmpeg’s reason, once for each reason', () => {
    given(versionMediaDecider)
      .when(failed)
      .then({ type: 'TranscodeFailed', data: { reason: 'moov atom not found' } });
    given(versionMediaDecider, [failed]).when(failed).thenNothing();
    given(versionMediaDecider, [failed]).when(failedOtherwise).then({ type: 'TranscodeFailed' });
  });

  it('is good when one of two runs was, whichever came first', () => {
    given(versionMediaDecider, [completed]).when(failed).thenNothing();
    given(versionMediaDecider, [failed]).when(completed).then({ type: 'TranscodeCompleted' });
  });

  it('is tried again only after a failure, and once', () => {
    given(versionMediaDecider, [failed])
      .when(retry)
      .then({ type: 'TranscodeRetried', data: { source: TranscodeFailed.example.source } });
    given(versionMediaDecider, [failed, retry]).when(retry).thenRefused('NOTHING_TO_RETRY');
    given(versionMediaDecider, [completed]).when(retry).thenRefused('NOTHING_TO_RETRY');
    given(versionMediaDecider).when(retry).thenRefused('NOTHING_TO_RETRY');
    given(versionMediaDecider, [failed, retry]).when(failed).then({ type: 'TranscodeFailed' });
    given(versionMediaDecider, [failed, retry]).when(completed).then({ type: 'TranscodeCompleted' });
  });

  it('is nothing to others', () => {
    for (const each of [completed, failed, retry]) {
      const meta = { ...each.meta, organisationId: OTHER_ORGANISATION };
      given(versionMediaDecider, [failed])
        .when({ ...each, meta })
        .thenRefused('NOT_FOUND');
    }
  });

  it('never loses a success, and hears everything once', () => {
    const any = fc.array(fc.constantFrom(completed, recoded, failed, failedOtherwise, retry), { maxLength: 20 });
    fc.assert(
      fc.property(any, (commands) => {
        let state = versionMediaDecider.initialState;
        let good = false;
        for (const each of commands) {
          ({ state } = play(versionMediaDecider, state, each));
          good ||= each.type === 'CompleteTranscode';
          if (good) expect(state!.status).toBe('COMPLETED');
          expect(play(versionMediaDecider, state, each).events).toEqual([]);
        }
      }),
    );
  });
});

describe('the media of a reference beside a version', () => {
  const referenceId = EXAMPLE.reference;
  const { organisationId: _organisation, ...example } = TranscodeFailed.example;
  const broken = command('FailTranscode', { ...example, referenceId }, system);
  const again = command('RetryTranscode', { versionId, referenceId });

  it('has a stream of its own and says whose it is, also when it is tried again', () => {
    expect(streamIdOf(broken)).toBe(referenceId);
    expect(streamIdOf(again)).toBe(referenceId);
    expect(streamIdOf(retry)).toBe(versionId);
    given(versionMediaDecider, [broken])
      .when(again)
      .then({ type: 'TranscodeRetried', data: { versionId, referenceId, source: example.source } });
  });
});
