import { randomUUID } from 'node:crypto';
import { versionDecider, versionStackDecider, type VersionStackState, type VersionState } from '#libs/domain/index.js';
import { EXAMPLE, VersionOpened, type CommandMeta, type Refusal } from '#libs/events/catalogue/index.js';
import { CommandExecutor } from '#libs/events/log/index.js';
import type { CommandOutcomes } from '#libs/secrets/index.js';
import { MemoryLog, MemoryOutcomes } from '#libs/events/log/memory-log.fixture.js';
import {
  addVersion,
  finishVersionUpload,
  outcomeMemory,
  progressTopic,
  reopenCurrent,
  step,
  transcodeJob,
  withdrawVersion,
} from './index.js';

const ORGANISATION = EXAMPLE.organisation;
const { organisationId: _organisation, ...example } = VersionOpened.example;

const meta = (more: Partial<CommandMeta> = {}): CommandMeta => {
  const commandId = randomUUID();
  return {
    commandId,
    organisationId: ORGANISATION,
    actor: { userId: EXAMPLE.user, role: 'PRODUCER' },
    at: '2031-05-06T07:08:09.000Z',
    correlationId: commandId,
    causationId: commandId,
    ...more,
  };
};

function studio() {
  const log = new MemoryLog();
  const outcomes = new MemoryOutcomes();
  /** A process of its own: nothing in memory. */
  const process = () => new CommandExecutor({ log, outcomes, audit: () => Promise.resolve() });
  const executor = process();
  const stackId = randomUUID();
  const version = (more: Partial<typeof example> = {}) => ({ ...example, stackId, versionId: randomUUID(), ...more });
  const stack = async (): Promise<NonNullable<VersionStackState>> =>
    (await process().load(versionStackDecider, stackId)).state!;
  const closed = async (versionId: string): Promise<NonNullable<VersionState>['closed']> =>
    (await process().load(versionDecider, versionId)).state!.closed;
  const types = (stream: string) => log.stream(stream).map((e) => e.type);
  /** Opens the version's stream and crashes. */
  const openOnly = async (by: CommandMeta, data: ReturnType<typeof version>) => {
    const outcome = await process().execute(versionDecider, data.versionId, { type: 'OpenVersion', data, meta: by });
    expect(outcome.ok).toBe(true);
  };
  const add = async (data = version(), by = meta()) => {
    const added = await addVersion(executor, by, data);
    if (!added.ok) throw new Error(added.refusal.code);
    return data.versionId;
  };
  /** The rule of the stack: numbers without a gap, every version but the current one is closed. */
  const expectSound = async () => {
    const { versions, currentVersionId } = await stack();
    expect(versions.map((v) => v.number)).toEqual(versions.map((_, i) => i + 1));
    for (const { versionId } of versions)
      expect([versionId, (await closed(versionId)) === null]).toEqual([versionId, versionId === currentVersionId]);
  };
  return { log, process, executor, stackId, version, stack, closed, types, openOnly, add, expectSound };
}

const codeOf = (result: { ok: true } | { ok: false; refusal: Refusal }) => (result.ok ? 'ok' : result.refusal.code);

describe('adding a version', () => {
  it('opens its stream, closes the current one, joins the stack: in that order', async () => {
    const { log, executor, version, stack, closed, expectSound } = studio();
    const [one, two] = [version(), version()];
    expect(await addVersion(executor, meta(), one)).toMatchObject({ ok: true, versionId: one.versionId, number: 1 });
    const by = meta();
    const added = await addVersion(executor, by, two);
    expect(added).toMatchObject({ ok: true, number: 2, position: log.all.at(-1)!.position });
    expect(log.all.map((e) => e.type)).toEqual([
      'VersionOpened',
      'VersionUploaded',
      'VersionOpened',
      'VersionClosed',
      'VersionUploaded',
    ]);
    expect((await stack()).currentVersionId).toBe(two.versionId);
    expect(await closed(one.versionId)).toEqual({ reason: 'SUPERSEDED', by: [two.versionId] });
    // One cause, one correlation, and each step an id of its own.
    const steps = log.all.slice(2).map((e) => e.metadata);
    expect(new Set(steps.map((m) => m.$correlationId))).toEqual(new Set([by.correlationId]));
    expect(new Set(steps.slice(1).map((m) => m.$causationId))).toEqual(new Set([by.commandId]));
    expect(new Set(steps.map((m) => m.commandId)).size).toBe(3);
    await expectSound();
  });

  it('told again says the same and writes nothing, also from another process', async () => {
    const { log, process, executor, version, add } = studio();
    const [by, data] = [meta(), version()];
    const first = await addVersion(executor, by, data);
    await add();
    const before = log.all.length;
    for (const each of [executor, process()])
      expect(await addVersion(each, by, data)).toMatchObject({ ok: true, number: first.ok && first.number });
    expect(log.all).toHaveLength(before);
  });

  it.each([1, 2, 5])(
    'several at once (%s more) from two processes: each gets a number, the last is current',
    async (n) => {
      const { process, version, stack, expectSound } = studio();
      const processes = [process(), process()];
      const all = Array.from({ length: n + 1 }, () => version());
      const results = await Promise.all(all.map((data, i) => addVersion(processes[i % 2]!, meta(), data)));
      expect(results.map(codeOf)).toEqual(all.map(() => 'ok'));
      expect(results.map((r) => r.ok && r.number).sort()).toEqual(all.map((_, i) => i + 1));
      expect((await stack()).versions.map((v) => v.versionId).sort()).toEqual(all.map((v) => v.versionId).sort());
      await expectSound();
    },
  );

  it('cut after each step is finished by whoever comes: the reaction, the repeat, or both at once', async () => {
    for (const stepsDone of ['opened', 'closed', 'joined'] as const) {
      const { process, version, stack, openOnly, add, expectSound, types, log } = studio();
      const current = await add();
      const [by, data] = [meta(), version()];
      await openOnly(by, data);
      if (stepsDone !== 'opened')
        await process().execute(
          versionDecider,
          current,
          step(by, `close ${current}`, 'CloseVersion', {
            versionId: current,
            reason: 'SUPERSEDED',
            by: data.versionId,
            text: null,
          }),
        );
      if (stepsDone === 'joined') await finishVersionUpload(process(), by, data);
      const results = await Promise.all([
        finishVersionUpload(process(), by, data),
        addVersion(process(), by, data),
        finishVersionUpload(process(), meta({ actor: { userId: null, role: 'SERVICE' } }), data),
      ]);
      expect(results).toMatchObject([{ number: 2 }, { number: 2 }, { number: 2 }]);
      expect((await stack()).currentVersionId).toBe(data.versionId);
      expect(types(`version-${current}`)).toEqual(['VersionOpened', 'VersionClosed']);
      expect(log.all.filter((e) => e.type === 'VersionUploaded')).toHaveLength(2);
      await expectSound();
    }
  });

  it('that can’t join leaves the current version open', async () => {
    const { executor, version, closed, add } = studio();
    const current = await add();
    const result = await addVersion(executor, meta(), version({ revertsTo: randomUUID() }));
    expect(codeOf(result)).toBe('VERSION_NOT_FOUND');
    expect(await closed(current)).toBeNull();
    const elsewhere = await addVersion(executor, meta(), version({ projectId: randomUUID() }));
    expect(codeOf(elsewhere)).toBe('NOT_FOUND');
    expect(await closed(current)).toBeNull();
  });
});

describe('withdrawing a version', () => {
  it('closes it, takes it off the stack, opens the one before', async () => {
    const { log, executor, stackId, stack, closed, add } = studio();
    const [one, two] = [await add(), await add()];
    const before = log.all.length;
    const by = meta();
    const reason = 'Wrong reel';
    const withdrawn = await withdrawVersion(executor, by, { stackId, versionId: two, reason });
    expect(withdrawn).toEqual({ ok: true, currentVersionId: one, position: log.all.at(-1)!.position });
    expect(log.all.slice(before).map((e) => e.type)).toEqual(['VersionClosed', 'VersionWithdrawn', 'VersionReopened']);
    expect((await stack()).versions).toMatchObject([{ withdrawn: false }, { withdrawn: true, number: 2 }]);
    expect([await closed(one), (await closed(two))?.reason]).toEqual([null, 'WITHDRAWN']);
    // Again, by the same and by another command.
    for (const again of [by, meta()])
      expect(await withdrawVersion(executor, again, { stackId, versionId: two, reason })).toMatchObject({
        ok: true,
        currentVersionId: one,
      });
    expect(log.all).toHaveLength(before + 3);
    // Its number is not used again.
    await add();
    expect((await stack()).versions.at(-1)!.number).toBe(3);
  });

  it('of the only one leaves an empty stack', async () => {
    const { executor, stackId, add } = studio();
    const versionId = await add();
    expect(await withdrawVersion(executor, meta(), { stackId, versionId, reason: 'x' })).toMatchObject({
      ok: true,
      currentVersionId: null,
    });
    expect(await add()).toBeDefined();
  });

  it('is refused for a version that others build on, or that was decided on: nothing is written', async () => {
    const { log, executor, stackId, add } = studio();
    const [one, two] = [await add(), await add()];
    await executor.execute(versionDecider, two, {
      type: 'RecordDecision',
      data: { versionId: two, decisionId: randomUUID(), verdict: 'APPROVED', text: '' },
      meta: meta({ actor: { userId: EXAMPLE.user, role: 'CLIENT' } }),
    });
    const before = log.all.length;
    const codes = [];
    for (const versionId of [one, two])
      codes.push(codeOf(await withdrawVersion(executor, meta(), { stackId, versionId, reason: 'x' })));
    expect(codes).toEqual(['NOT_CURRENT', 'VERSION_DECIDED']);
    expect(log.all).toHaveLength(before);
  });

  it('cut after the close, or after the stack, is finished by its repeat or by the reaction', async () => {
    for (const stepsDone of ['closed', 'withdrawn'] as const) {
      const { process, stackId, stack, closed, add } = studio();
      const [one, two] = [await add(), await add()];
      const by = meta();
      const data = { versionId: two, reason: 'WITHDRAWN' as const, by: null, text: 'x' };
      await process().execute(versionDecider, two, { type: 'CloseVersion', data, meta: by });
      if (stepsDone === 'withdrawn') {
        await process().execute(
          versionStackDecider,
          stackId,
          step(by, 'withdraw', 'WithdrawVersion', { stackId, versionId: two, reason: 'x' }),
        );
        // The reaction to `VersionWithdrawn`, twice.
        for (let i = 0; i < 2; i++) expect(codeOf(await reopenCurrent(process(), meta(), stackId))).toBe('ok');
      } else expect(codeOf(await withdrawVersion(process(), by, { stackId, versionId: two, reason: 'x' }))).toBe('ok');
      expect([(await stack()).currentVersionId, await closed(one)]).toEqual([one, null]);
    }
  });

  it('that crashed after the close does not keep the next upload out', async () => {
    const { process, stack, closed, add, version } = studio();
    const [one, two] = [await add(), await add()];
    const data = { versionId: two, reason: 'WITHDRAWN' as const, by: null, text: 'x' };
    await process().execute(versionDecider, two, { type: 'CloseVersion', data, meta: meta() });
    const next = version();
    expect(await addVersion(process(), meta(), next)).toMatchObject({ ok: true, number: 3 });
    const { versions, currentVersionId } = await stack();
    expect(currentVersionId).toBe(next.versionId);
    expect(versions.map((v) => v.withdrawn)).toEqual([false, true, false]);
    expect((await closed(one))?.by).toContain(next.versionId);
  });

  it('and uploading at once end in one of the two orders, with one version open', async () => {
    for (let round = 0; round < 10; round++) {
      const { process, stackId, version, stack, closed, add } = studio();
      await add();
      const two = await add();
      const next = version();
      const [uploaded, withdrawn] = await Promise.all([
        addVersion(process(), meta(), next),
        withdrawVersion(process(), meta(), { stackId, versionId: two, reason: 'x' }),
      ]);
      expect(codeOf(uploaded)).toBe('ok');
      expect(['ok', 'VERSION_LOCKED', 'NOT_CURRENT']).toContain(codeOf(withdrawn));
      await reopenCurrent(process(), meta(), stackId);
      const { versions, currentVersionId } = await stack();
      expect(currentVersionId).toBe(next.versionId);
      const open = [];
      for (const { versionId } of versions) if ((await closed(versionId)) === null) open.push(versionId);
      expect(open).toEqual([next.versionId]);
    }
  });

  it('is not undone for a version that a newer one closed', async () => {
    const { process, stackId, closed, add } = studio();
    const one = await add();
    await add();
    expect(await reopenCurrent(process(), meta(), stackId)).toMatchObject({ ok: true });
    expect(await closed(one)).not.toBeNull();
  });
});

describe('the small parts', () => {
  it('a step keeps actor and correlation, and has an id of its own that is always the same', () => {
    const by = meta({ expectedRevision: 4 });
    const next = step(by, 'close', 'CloseVersion', {});
    expect(next.meta).toMatchObject({ actor: by.actor, correlationId: by.correlationId, causationId: by.commandId });
    expect(next.meta.expectedRevision).toBeUndefined();
    expect(next.meta.commandId).not.toBe(by.commandId);
    expect(step(by, 'close', 'CloseVersion', {})).toEqual(next);
    expect(step(by, 'open', 'CloseVersion', {}).meta.commandId).not.toBe(next.meta.commandId);
  });

  it('outcomes go to the secrets database and back', async () => {
    const rows = new Map<string, { commandHash: string; stream: string; outcome: unknown }>();
    const memory = outcomeMemory({
      rememberOutcome: ({ organisationId, commandId, ...row }: Parameters<CommandOutcomes['rememberOutcome']>[0]) => {
        rows.set(`${organisationId} ${commandId}`, row);
        return Promise.resolve();
      },
      claimId: ({ organisationId, commandId }: Parameters<CommandOutcomes['claimId']>[0]) =>
        Promise.resolve(rows.get(`${organisationId} ${commandId}`)),
    } as unknown as CommandOutcomes);
    const refusal: Refusal = { refused: true, code: 'X', message: 'x' };
    for (const outcome of [
      { commandHash: 'h', stream: 's', refusal },
      { commandHash: 'h', stream: 's', refusal: null },
    ]) {
      await memory.remember('o', 'c', outcome);
      expect(await memory.claim('o', 'c', outcome)).toEqual(outcome);
    }
    expect(await memory.claim('o', 'other', { commandHash: 'h', stream: 's' })).toBeUndefined();
  });

  it('transcode jobs name what to do, and progress its version', () => {
    const job = {
      organisationId: ORGANISATION,
      projectId: EXAMPLE.project,
      stackId: EXAMPLE.stage,
      versionId: EXAMPLE.version,
      source: EXAMPLE.blob,
      eventId: EXAMPLE.decision,
    };
    expect(transcodeJob.parse(job)).toEqual(job);
    expect(transcodeJob.safeParse({ ...job, source: { hash: 'md5:1', size: 1 } }).success).toBe(false);
    expect(progressTopic('v1')).not.toBe(progressTopic('v2'));
  });
});
