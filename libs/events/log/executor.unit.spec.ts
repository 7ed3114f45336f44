import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { deriveEventId, refuse, type Command, type CommandMeta, type Decider } from '../catalogue/index.js';
import { AppendTooLarge, LogUnavailable } from './errors.js';
import {
  CommandExecutor,
  EXECUTOR_REFUSALS,
  type Accepted,
  type ExecutorOptions,
  type Outcome,
  type Refused,
} from './executor.js';
import { MemoryLog, MemoryOutcomes, MemorySnapshots, type Fault } from './memory-log.fixture.js';
import { snapshotSchema } from './snapshots.js';

const ORGANISATION = '5b0a3c1e-6a2e-4c56-9a53-0d1c5d0f1a01';

/** A ledger: an entry's event carries how many there were before, so that an event folded twice or lost shows. */
type LedgerEvent =
  { type: 'Noted'; data: { entry: string; before: number } } | { type: 'Shut'; data: Record<string, never> };
type LedgerCommand =
  | Command<'Note', { entries: readonly string[] }>
  | Command<'Shut', Record<string, never>>
  | Command<'Look', Record<string, never>>
  | Command<'Need', { entry: string }>
  | Command<'Break', Record<string, never>>;
interface Ledger {
  readonly entries: readonly string[];
  readonly shut: boolean;
}
const ledger: Decider<Ledger, LedgerCommand, LedgerEvent> = {
  category: 'ledger',
  initialState: { entries: [], shut: false },
  decide(command, { entries, shut }) {
    switch (command.type) {
      case 'Note':
        if (shut) return refuse('SHUT', 'The ledger is shut.');
        return command.data.entries.map((entry, i) => ({ type: 'Noted', data: { entry, before: entries.length + i } }));
      case 'Shut':
        return shut ? [] : [{ type: 'Shut', data: {} }];
      case 'Look':
        return [];
      case 'Need':
        return entries.includes(command.data.entry) ? [] : refuse('MISSING', 'No such entry.');
      case 'Break':
        throw new TypeError('a defect');
    }
  },
  evolve(state, event) {
    if (event.type === 'Shut') return { ...state, shut: true };
    if (event.data.before !== state.entries.length) throw new Error('folded twice, or a gap');
    return { ...state, entries: [...state.entries, event.data.entry] };
  },
  snapshot: { version: 1, encode: (state) => state, decode: (json) => json as Ledger },
};

const meta = (more: Partial<CommandMeta> = {}): CommandMeta => ({
  commandId: randomUUID(),
  organisationId: ORGANISATION,
  actor: { userId: null, role: 'SERVICE' },
  at: '2031-05-06T07:08:09.000Z',
  correlationId: 'c',
  causationId: 'c',
  ...more,
});
const note = (entry: string | readonly string[], more?: Partial<CommandMeta>): LedgerCommand => ({
  type: 'Note',
  data: { entries: typeof entry === 'string' ? [entry] : entry },
  meta: meta(more),
});
const bare = (type: 'Shut' | 'Look' | 'Break', more?: Partial<CommandMeta>): LedgerCommand => ({
  type,
  data: {},
  meta: meta(more),
});
const need = (entry: string, more?: Partial<CommandMeta>): LedgerCommand => ({
  type: 'Need',
  data: { entry },
  meta: meta(more),
});

const STREAM = 'ledger-1';

/** A log, a durable memory, and executors on them: each stands for a process. */
function world() {
  const log = new MemoryLog();
  const outcomes = new MemoryOutcomes();
  const audited: string[] = [];
  const process = (options: Partial<ExecutorOptions> = {}) => {
    const executor = new CommandExecutor({
      log,
      outcomes,
      audit: (command, stream, _hash, { code }) => {
        audited.push(`${stream} ${command.meta.commandId} ${code}`);
        return Promise.resolve();
      },
      ...options,
    });
    return {
      executor,
      send: (command: LedgerCommand, id = '1') => executor.execute(ledger, id, command),
    };
  };
  const entries = (stream = STREAM) =>
    log.stream(stream).flatMap(({ type, data }) => (type === 'Noted' ? [(data as { entry: string }).entry] : []));
  /** The next appends meet these faults, one each. */
  const failNext = (...faults: (Fault | undefined)[]) => {
    log.fault = () => faults.shift();
  };
  return { log, outcomes, audited, process, entries, failNext };
}

function accepted(outcome: Outcome<Ledger>): Accepted<Ledger> {
  if (!outcome.ok) throw new Error(`refused: ${outcome.refusal.code}`);
  return outcome;
}
function refused(outcome: Outcome<Ledger>): Refused {
  if (outcome.ok) throw new Error('accepted');
  return outcome;
}

describe('a command', () => {
  it('becomes events with its identity, cause and time', async () => {
    const { log, process } = world();
    const command = note(['a', 'b'], { causationId: 'why', actor: { userId: ORGANISATION, role: 'CLIENT' } });
    const outcome = accepted(await process().send(command));
    expect(outcome).toMatchObject({ revision: 1, position: 200n, repeated: false });
    expect(outcome.events).toHaveLength(2);
    expect(outcome.state.entries).toEqual(['a', 'b']);
    const { commandId, at } = command.meta;
    expect(log.stream(STREAM).map(({ id, metadata }) => ({ id, metadata }))).toEqual(
      [0, 1].map((index) => ({
        id: deriveEventId(ORGANISATION, STREAM, commandId, index),
        metadata: {
          $correlationId: 'c',
          $causationId: 'why',
          commandId,
          commandHash: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown,
          index,
          count: 2,
          organisationId: ORGANISATION,
          actor: { userId: ORGANISATION, role: 'CLIENT' },
          schemaVersion: 1,
          commandType: 'Note',
          at,
        },
      })),
    );
  });

  it('says where it came from on its first event only', async () => {
    const { log, process } = world();
    await process().send(note(['a', 'b'], { origin: { ip: '203.0.113.9', userAgent: 'never kept' } }));
    expect(log.stream(STREAM).map(({ metadata }) => metadata.origin)).toEqual(['203.0.113.9', undefined]);
    expect(JSON.stringify(log.all.map(({ metadata }) => metadata))).not.toContain('never kept');
  });

  it('that is refused writes no event and is on record', async () => {
    const { log, process, audited } = world();
    const command = need('a');
    expect(refused(await process().send(command)).refusal.code).toBe('MISSING');
    expect(log.all).toEqual([]);
    expect(audited).toEqual([`${STREAM} ${command.meta.commandId} MISSING`]);
  });

  it('that is refused is on record before it is remembered: a crash in between loses no record', async () => {
    const { process, outcomes, audited } = world();
    const command = need('a');
    outcomes.failing = () => true;
    await expect(process().send(command)).rejects.toThrow('the memory is away');
    expect(new Set(audited)).toEqual(new Set([`${STREAM} ${command.meta.commandId} MISSING`]));
    expect(outcomes.map.size).toBe(0);
  });

  it('whose id was used for something else is on record too', async () => {
    const { process, audited } = world();
    const first = process();
    const command = note('a');
    accepted(await first.send(command));
    const other = note('b', { commandId: command.meta.commandId });
    const reused = `${STREAM} ${command.meta.commandId} COMMAND_ID_REUSED`;
    expect(refused(await first.send(other)).refusal.code).toBe('COMMAND_ID_REUSED');
    expect(audited).toEqual([reused]);
    expect(refused(await process().send(other)).refusal.code).toBe('COMMAND_ID_REUSED');
    expect(audited).toEqual([reused, reused]);
  });
});

describe('a repeat', () => {
  it('gets the first result, also after the state moved on', async () => {
    const { process, entries } = world();
    const { send } = process();
    const command = note('a');
    const first = accepted(await send(command));
    await send(note('b'));
    await send(bare('Shut'));
    const again = accepted(await send(command));
    expect(again).toMatchObject({ repeated: true, revision: first.revision, position: first.position, events: [] });
    expect(entries()).toEqual(['a', 'b']);
  });

  it('gets the first result from another process, and after a restart', async () => {
    const { process, entries } = world();
    const [one, other] = [process(), process()];
    await other.send(note('before'));
    const command = note(['a', 'b']);
    const first = accepted(await one.send(command));
    await one.send(bare('Shut'));
    for (const { send } of [other, process()])
      expect(accepted(await send(command))).toMatchObject({
        repeated: true,
        revision: first.revision,
        position: first.position,
      });
    expect(entries()).toEqual(['before', 'a', 'b']);
  });

  it('of a refusal is refused the same way, though it would be accepted now, also after a restart', async () => {
    const { process, audited } = world();
    const one = process();
    const command = need('a');
    const first = refused(await one.send(command));
    await one.send(note('a'));
    for (const { send } of [one, process()])
      expect(await send(command)).toEqual({ ok: false, refusal: first.refusal, repeated: true });
    // Once on record is enough.
    expect(audited).toHaveLength(1);
    expect((await one.send(need('a'))).ok).toBe(true);
  });

  it('of a command that had nothing to do has nothing to do, though it would be refused now', async () => {
    const { log, process } = world();
    const one = process();
    const command = note([]);
    expect(accepted(await one.send(command))).toMatchObject({ repeated: false, revision: -1, events: [] });
    await one.send(bare('Shut'));
    for (const { send } of [one, process()])
      expect(accepted(await send(command))).toMatchObject({ repeated: true, events: [] });
    expect(log.all).toHaveLength(1);
  });

  it('with other input is COMMAND_ID_REUSED, on the stream, on another, and after a restart', async () => {
    const { process, entries } = world();
    const one = process();
    await one.send(note('a'));
    const { commandId } = meta();
    await one.send(note('x', { commandId }));
    const reused = { refusal: { code: 'COMMAND_ID_REUSED', path: ['commandId'], details: { commandId } } };
    expect(refused(await one.send(note('y', { commandId })))).toMatchObject(reused);
    expect(refused(await one.send(note('x', { commandId }), '2'))).toMatchObject(reused);
    expect(refused(await process().send(note('y', { commandId })))).toMatchObject(reused);
    expect(entries()).toEqual(['a', 'x']);
    expect(entries('ledger-2')).toEqual([]);
  });

  it('of a refused or idle command with other input or elsewhere is COMMAND_ID_REUSED after a restart too', async () => {
    const { process } = world();
    for (const command of [need('a'), bare('Look')]) {
      await process().send(command);
      const { commandId } = command.meta;
      expect(refused(await process().send(note('x', { commandId }))).refusal.code).toBe('COMMAND_ID_REUSED');
      expect(refused(await process().send({ ...command }, '2')).refusal.code).toBe('COMMAND_ID_REUSED');
    }
  });

  it('within one batch gets the first one’s result', async () => {
    const { process, entries, audited } = world();
    const { send } = process();
    const [write, refusedOne, idle] = [note('a'), need('b'), bare('Look')];
    // `b` is noted between the refusal and its repeat: decided anew, the repeat would be accepted.
    const outcomes = await Promise.all([
      send(write),
      send(write),
      send(refusedOne),
      send(note('b')),
      send(refusedOne),
      send(idle),
      send(idle),
    ]);
    expect(outcomes.map(({ ok, repeated }) => [ok, repeated])).toEqual([
      [true, false],
      [true, true],
      [false, false],
      [true, false],
      [false, true],
      [true, false],
      [true, true],
    ]);
    expect(entries()).toEqual(['a', 'b']);
    expect(audited).toHaveLength(1);
  });

  it('is not looked for when the id was made for the call', async () => {
    const { process, outcomes } = world();
    const { send } = process();
    await send(note('a', { minted: true }));
    await send(need('b', { minted: true }));
    await send(bare('Look', { minted: true }));
    expect([outcomes.claims, outcomes.map.size]).toEqual([0, 0]);
    await send(bare('Look'));
    expect([outcomes.claims, outcomes.map.size]).toEqual([1, 1]);
  });
});

describe('an id that its caller chose', () => {
  it('serves for nothing else after a restart, accepted or not, and in no other process', async () => {
    const { process, entries, audited } = world();
    const id = '5f0c6a3e-1111-4222-8333-944455566677';
    const first = await process().send(note('a', { commandId: id }));
    for (const { send } of [process(), process()]) {
      expect(await send(note('a', { commandId: id }), '2')).toMatchObject({
        ok: false,
        refusal: { code: 'COMMAND_ID_REUSED', path: ['commandId'] },
      });
      expect(await send(need('a', { commandId: id }), '2')).toMatchObject({ ok: false });
    }
    expect(audited).toHaveLength(4);
    expect([entries('ledger-2'), entries()]).toEqual([[], ['a']]);
    expect(await process().send(note('a', { commandId: id }))).toEqual({ ...first, events: [], repeated: true });
  });

  it('is taken before anything is written: of two processes that use it for two things, one writes', async () => {
    const { process, entries } = world();
    const commandId = '5f0c6a3e-1111-4222-8333-944455566678';
    const outcomes = await Promise.all(
      ['1', '2', '3'].map((stream) => process().send(note('a', { commandId }), stream)),
    );
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1);
    expect(['1', '2', '3'].flatMap((stream) => entries(`ledger-${stream}`))).toEqual(['a']);
  });

  it('is free for its own command after a crash before the append', async () => {
    const { process, failNext, entries, outcomes } = world();
    const commandId = '5f0c6a3e-1111-4222-8333-944455566679';
    failNext('silent');
    await expect(process({ timeoutMs: 50 }).send(note('a', { commandId }))).rejects.toBeInstanceOf(LogUnavailable);
    expect(outcomes.open.size).toBe(1);
    expect(await process().send(note('a', { commandId }))).toMatchObject({ ok: true });
    expect(entries()).toEqual(['a']);
  });
});

describe('a stale command', () => {
  it('is refused with both revisions', async () => {
    const { process, entries } = world();
    const { send } = process();
    await send(note(['a', 'b', 'c']));
    expect(refused(await send(note('d', { expectedRevision: 1 }))).refusal).toMatchObject({
      code: 'CONFLICT',
      path: ['expectedRevision'],
      details: { expectedRevision: 1, currentRevision: 2 },
    });
    expect(accepted(await send(note('d', { expectedRevision: 2 }))).revision).toBe(3);
    expect(entries()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('loses to the one before it in the same batch', async () => {
    const { process, entries } = world();
    const { send } = process();
    const both = await Promise.all([
      send(note('a', { expectedRevision: -1 })),
      send(note('b', { expectedRevision: -1 })),
    ]);
    expect(both.map((o) => o.ok)).toEqual([true, false]);
    expect(entries()).toEqual(['a']);
  });

  it('is not refused because the process has not yet seen what the caller has', async () => {
    const { process, entries } = world();
    const [one, other] = [process(), process()];
    await one.send(note('a'));
    const { revision } = accepted(await other.send(note('b')));
    // `one` has the ledger in memory without `b`.
    expect(accepted(await one.send(note('c', { expectedRevision: revision }))).revision).toBe(2);
    expect(entries()).toEqual(['a', 'b', 'c']);
  });

  it('is refused, or has nothing to do, only on what is true now', async () => {
    const { process } = world();
    const [one, other] = [process(), process()];
    await one.send(note('a'));
    await other.send(note('b'));
    expect((await one.send(need('b'))).ok).toBe(true);
    await other.send(bare('Shut'));
    const { revision } = accepted(await one.send(bare('Shut')));
    expect(revision).toBe(2);
  });
});

describe('commands of one stream', () => {
  it('are decided in order and written in one append', async () => {
    const { log, process, entries } = world();
    const { send } = process();
    const names = Array.from({ length: 50 }, (_, i) => `n${i}`);
    const outcomes = await Promise.all(names.map((name) => send(note(name))));
    expect(log.appends).toEqual([50]);
    expect(entries()).toEqual(names);
    expect(outcomes.map((o) => accepted(o).revision)).toEqual(names.map((_, i) => i));
    expect(new Set(outcomes.map((o) => accepted(o).position))).toEqual(new Set([5000n]));
  });

  it('that come during an append join the next', async () => {
    const { log, process } = world();
    const { send } = process();
    let open = () => undefined as void;
    log.gate = new Promise((resolve) => (open = resolve));
    const first = send(note('a'));
    await sleep(5);
    const more = [send(note('b')), send(note('c'))];
    open();
    await Promise.all([first, ...more]);
    expect(log.appends).toEqual([1, 2]);
  });

  it('see what those before them did', async () => {
    const { process } = world();
    const { send } = process();
    const outcomes = await Promise.all([
      send(need('a')),
      send(note('a')),
      send(need('a')),
      send(bare('Shut')),
      send(note('b')),
    ]);
    expect(outcomes.map((o) => (o.ok ? 'ok' : o.refusal.code))).toEqual(['MISSING', 'ok', 'ok', 'ok', 'SHUT']);
  });

  it('are split when they are too much for one append', async () => {
    const { log, process, entries } = world();
    const { send } = process();
    const long = 'x'.repeat(200_000);
    await Promise.all(Array.from({ length: 12 }, (_, i) => send(note(`${i} ${long}`))));
    expect(log.appends.length).toBeGreaterThan(2);
    expect(Math.max(...log.appends) * long.length).toBeLessThan(1024 * 1024);
    expect(entries().map((e) => parseInt(e))).toEqual(Array.from({ length: 12 }, (_, i) => i));
  });

  it('do not suffer from what is wrong with one of them', async () => {
    const { log, process, entries, outcomes, audited } = world();
    const { send } = process();
    const [big, forgotten] = [note('big'), bare('Look')];
    outcomes.failing = (id) => id === forgotten.meta.commandId;
    log.fault = (_stream, events) => {
      if (events.some(({ data }) => (data as { entry?: string }).entry === 'big'))
        throw new AppendTooLarge('too large');
      return undefined;
    };
    const results = await Promise.allSettled([
      send(note('a')),
      send(bare('Break')),
      send(note('b')),
      send(forgotten),
      send(big),
      send(note('c')),
    ]);
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    expect(results[1]).toMatchObject({ reason: new TypeError('a defect') });
    expect(results[3]).toMatchObject({ reason: new Error('the memory is away') });
    expect(results[4]).toMatchObject({ value: { ok: false, refusal: { code: 'COMMAND_TOO_LARGE' }, repeated: false } });
    expect(entries()).toEqual(['a', 'b', 'c']);
    expect(audited).toEqual([`${STREAM} ${big.meta.commandId} COMMAND_TOO_LARGE`]);
    expect(refused(await send(big))).toMatchObject({ refusal: { code: 'COMMAND_TOO_LARGE' }, repeated: true });
  });

  it('of 50 writers in two processes are each there once', async () => {
    const { log, process, entries } = world();
    const processes = [process(), process()];
    const wanted = new Set<string>();
    await Promise.all(
      Array.from({ length: 50 }, async (_, writer) => {
        for (let i = 0; i < 5; i++) {
          const name = `${writer}.${i}`;
          wanted.add(name);
          const outcome = accepted(await processes[writer % 2]!.send(note(name)));
          expect(log.stream(STREAM)[outcome.revision]!.data).toMatchObject({ entry: name });
        }
      }),
    );
    expect(entries()).toHaveLength(250);
    expect(new Set(entries())).toEqual(wanted);
  });
});

describe('the state of a stream', () => {
  it('is loaded as new as the call, whoever wrote', async () => {
    const { process } = world();
    const [one, other] = [process(), process()];
    await one.send(note('a'));
    await other.send(note('b'));
    expect(await one.executor.load(ledger, '1')).toMatchObject({
      state: { entries: ['a', 'b'] },
      revision: 1,
      position: 200n,
    });
    expect(await one.executor.load(ledger, 'none')).toMatchObject({ revision: -1, position: 0n });
  });

  it('may be looked at as it is in memory', async () => {
    const { log, process } = world();
    const [one, other] = [process(), process()];
    await one.send(note('a'));
    await other.send(note('b'));
    const { reads } = log;
    expect(await one.executor.peek(ledger, '1')).toMatchObject({ entries: ['a'] });
    expect(log.reads).toBe(reads);
    expect(await process().executor.peek(ledger, '1')).toMatchObject({ entries: ['a', 'b'] });
  });

  it('is folded once, however loads and commands are mixed', async () => {
    const { process, entries } = world();
    const [one, other] = [process(), process()];
    const seen: number[] = [];
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        await sleep(Math.random() * 10);
        const { executor, send } = i % 3 === 0 ? other : one;
        if (i % 2 === 0) seen.push((await executor.load(ledger, '1')).state.entries.length);
        else await send(note(`n${i}`));
      }),
    );
    // Folding an event twice throws in this ledger; and the state goes on to be usable.
    expect(seen).toHaveLength(30);
    expect(entries()).toHaveLength(30);
    for (const { executor } of [one, other])
      expect((await executor.load(ledger, '1')).state.entries).toEqual(entries());
  });

  it('is loaded also while a stream is never idle', async () => {
    const { process } = world();
    const { executor, send } = process();
    let stop = false;
    const busy = Array.from({ length: 4 }, async () => {
      while (!stop) await send(note('x'));
    });
    await sleep(5);
    const { state } = await executor.load(ledger, '1');
    stop = true;
    await Promise.all(busy);
    expect(state.entries.length).toBeGreaterThan(0);
  });

  it('is forgotten for streams not used for longest, never while they are busy', async () => {
    const { log, process, entries } = world();
    const { send } = process({ maxStreams: 2 });
    for (const id of ['1', '2', '3']) await send(note('a'), id);
    const before = log.reads;
    await send(note('b'), '3');
    expect(log.reads).toBe(before);
    await send(note('b'), '1');
    expect(log.reads).toBe(before + 1);
    // Twenty busy streams at once with room for two: each keeps its queue.
    await Promise.all(Array.from({ length: 200 }, (_, i) => send(note(`n${i}`), `busy${i % 20}`)));
    for (let i = 0; i < 20; i++)
      expect(entries(`ledger-busy${i}`)).toEqual(Array.from({ length: 10 }, (_, k) => `n${i + k * 20}`));
  });

  it('is not spoiled by a read that ends half-way', async () => {
    const { log, process, entries } = world();
    const [one, other] = [process(), process()];
    await one.send(note('a'));
    await other.send(note(['b', 'c', 'd']));
    const read = log.readStream.bind(log);
    let broken = false;
    log.readStream = async function* (stream, options) {
      for await (const event of read(stream, options)) {
        yield event;
        if (!broken) {
          broken = true;
          throw new LogUnavailable('cut');
        }
      }
    };
    await expect(one.executor.load(ledger, '1')).rejects.toThrow('cut');
    await one.send(note('e'));
    expect((await one.executor.load(ledger, '1')).state.entries).toEqual(entries());
  });
});

describe('a log in trouble', () => {
  it.each<[string, (Fault | undefined)[]]>([
    ['an acknowledgement is lost', ['ackLost']],
    ['acknowledgements are lost again and again', ['ackLost', 'ackLost', 'ackLost']],
    ['an append is lost', ['lost', 'lost']],
    ['an append lands late', ['late']],
    ['everything happens', ['lost', 'late', 'ackLost', 'late']],
  ])('writes once when %s', async (_what, faults) => {
    const { log, process, entries, failNext } = world();
    const { send } = process();
    await send(note('before'));
    failNext(...faults);
    const outcomes = await Promise.all([send(note('a')), send(note(['b', 'c'])), send(need('b'))]);
    await log.settled();
    expect(outcomes.map((o) => o.ok)).toEqual([true, true, true]);
    expect(outcomes.slice(0, 2).map((o) => accepted(o).revision)).toEqual([1, 3]);
    expect(entries()).toEqual(['before', 'a', 'b', 'c']);
    expect((await send(note('d'))).ok).toBe(true);
  });

  it('is waited for while it is down', async () => {
    const { log, process, entries } = world();
    const { send } = process();
    await send(note('a'));
    log.down = true;
    const waiting = [send(note('b')), send(note('c'))];
    await sleep(60);
    log.down = false;
    expect((await Promise.all(waiting)).map((o) => o.ok)).toEqual([true, true]);
    expect(entries()).toEqual(['a', 'b', 'c']);
  });

  it('is LogUnavailable after the time allowed, and a retry finds what was written', async () => {
    const { log, process, entries } = world();
    const { send } = process({ timeoutMs: 1_500 });
    const [a, b] = [note('a'), note('b')];
    log.fault = () => {
      log.down = true;
      return 'ackLost';
    };
    const both = await Promise.allSettled([send(a), send(b)]);
    for (const each of both) expect(each).toMatchObject({ status: 'rejected', reason: { code: 'LOG_UNAVAILABLE' } });
    await expect(send(note('c'))).rejects.toBeInstanceOf(LogUnavailable);
    log.down = false;
    log.fault = () => undefined;
    expect(accepted(await send(a))).toMatchObject({ repeated: true, revision: 0 });
    expect(accepted(await send(b))).toMatchObject({ repeated: true, revision: 1 });
    expect(entries()).toEqual(['a', 'b']);
  });

  it('is LogUnavailable in time also when it neither answers nor fails', async () => {
    const { process, entries, failNext } = world();
    const one = process({ timeoutMs: 50 });
    failNext('silent');
    const command = note('a');
    const began = Date.now();
    await expect(one.send(command)).rejects.toBeInstanceOf(LogUnavailable);
    await expect(one.send(note('b'))).rejects.toBeInstanceOf(LogUnavailable);
    // Far from the half minute it has otherwise; how far, is the machine's affair.
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(accepted(await process().send(command))).toMatchObject({ repeated: false });
    expect(entries()).toEqual(['a']);
  });

  it('ends a load with the reason', async () => {
    const { log, process } = world();
    const { executor, send } = process();
    log.down = true;
    const loads = [executor.load(ledger, '1'), executor.load(ledger, '1'), executor.peek(ledger, '1')];
    for (const load of loads) await expect(load).rejects.toBeInstanceOf(LogUnavailable);
    log.down = false;
    expect((await send(note('a'))).ok).toBe(true);
  });

  it('decides again when another process was first, and gives up on a stream that never rests', async () => {
    const { log, process, entries } = world();
    const { send } = process({ timeoutMs: 400 });
    const other = process();
    await send(note('a'));
    let foreign = 0;
    const intrude = (events: number) => {
      log.fault = (stream) => {
        if (foreign >= events) return undefined;
        const before = entries().length;
        log.write(
          stream,
          [
            {
              id: randomUUID(),
              type: 'Noted',
              data: { entry: `foreign${foreign++}`, before },
              metadata: log.all[0]!.metadata,
            },
          ],
          'any',
        );
        return undefined;
      };
    };
    intrude(6);
    expect(accepted(await send(note('b'))).revision).toBe(7);
    expect(entries().at(-1)).toBe('b');
    intrude(Infinity);
    await expect(send(note('c'))).rejects.toBeInstanceOf(LogUnavailable);
    foreign = Infinity;
    expect((await other.send(note('d'))).ok).toBe(true);
    expect(entries().filter((e) => e === 'c')).toHaveLength(0);
  });
});

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

describe('snapshots of a long stream', () => {
  /** Ten commands of one event, then what a cold process folds. */
  async function given() {
    const { log, process } = world();
    const snapshots = new MemorySnapshots();
    const start = () => process({ snapshots, snapshotEvery: 4 });
    const commands = Array.from({ length: 10 }, (_, i) => note(`${i}`));
    const first = start();
    for (const command of commands) await first.send(command);
    const entries = commands.map((_, i) => `${i}`);
    const reads = (): string[] => log.readFrom.splice(0).map(String);
    reads();
    return { log, snapshots, start, commands, entries, reads };
  }
  const loaded = async ({ executor }: { executor: CommandExecutor }) =>
    (await executor.load(ledger, '1')).state.entries;

  it('are taken by who folded it, and spare the next who starts cold the fold', async () => {
    const { snapshots, start, entries, reads } = await given();
    expect(snapshots.map.size).toBe(0);
    expect(await loaded(start())).toEqual(entries);
    expect(reads()).toEqual(['0']);
    expect(snapshots.map.get(STREAM)).toMatchObject({ revision: 9, schema: snapshotSchema(ledger) });
    expect(await loaded(start())).toEqual(entries);
    // A few events prove it long; then only the snapshot's own last event is read again.
    expect(reads()).toEqual(['0', '9']);
  });

  it('remember commands: a repeat from before is told its result and writes nothing', async () => {
    const { log, start, commands } = await given();
    await loaded(start());
    const cold = start();
    for (const [i, command] of commands.entries())
      expect(accepted(await cold.send(command))).toMatchObject({ repeated: true, revision: i });
    const other = note('other', { commandId: commands[0]!.meta.commandId });
    expect(refused(await start().send(other)).refusal.code).toBe('COMMAND_ID_REUSED');
    expect(log.stream(STREAM)).toHaveLength(10);
  });

  it('are taken on by what came since, and again when that was much', async () => {
    const { snapshots, start, entries } = await given();
    await loaded(start());
    const writer = start();
    for (let i = 10; i < 15; i++) await writer.send(note(`${i}`));
    expect(snapshots.map.get(STREAM)!.revision).toBe(9);
    const all = [...entries, '10', '11', '12', '13', '14'];
    expect(await loaded(start())).toEqual(all);
    expect(snapshots.map.get(STREAM)!.revision).toBe(14);
    expect(await loaded(start())).toEqual(all);
  });

  it('are passed over when they are of another build or another log, can’t be read, or are away', async () => {
    const { snapshots, start, entries } = await given();
    await loaded(start());
    const good = snapshots.map.get(STREAM)!;
    const wrong = { entries: ['never happened'], shut: true };
    for (const bad of [
      { ...good, schema: 'other', state: wrong },
      { ...good, eventId: randomUUID(), state: wrong },
      { ...good, revision: 99, state: wrong },
      { ...good, commands: [['id', 'hash', 0, 'no number']] as never, state: wrong },
    ]) {
      snapshots.map.set(STREAM, bad);
      expect(await loaded(start())).toEqual(entries);
    }
    snapshots.down = true;
    expect(await loaded(start())).toEqual(entries);
  });

  it('have a schema that changes with the version of the state and with how events are folded', () => {
    const schema = snapshotSchema(ledger);
    expect(snapshotSchema({ ...ledger })).toBe(schema);
    const others = [
      { ...ledger, snapshot: { ...ledger.snapshot!, version: 2 } },
      { ...ledger, evolve: (state: Ledger) => state },
      { ...ledger, category: 'other' },
      { ...ledger, initialState: { entries: [], shut: true } },
    ].map(snapshotSchema);
    expect(new Set([schema, ...others]).size).toBe(5);
  });
});

describe.each([
  ['without snapshots', false],
  ['with snapshots', true],
])('any history over any faults, %s', (_title, withSnapshots) => {
  const fault = fc.constantFrom<Fault | undefined>('ackLost', 'lost', 'late', undefined, undefined, undefined);
  const kind = fc.constantFrom('one', 'one', 'many', 'look', 'need', 'stale');
  const step = fc.record({
    kind,
    process: fc.nat(1),
    times: fc.integer({ min: 1, max: 3 }),
    /** Milliseconds between the sends: together in a batch, or apart. */
    wait: fc.constantFrom(0, 0, 0, 1, 3),
  });

  it('equals the model: what was accepted is there once, in order, and every repeat is told the same', async () => {
    let [repeats, faults] = [0, 0];
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 25 }),
        fc.array(fault, { maxLength: 6 }),
        async (steps, plan) => {
          const { log, process, outcomes } = world();
          const options = withSnapshots ? { snapshots: new MemorySnapshots(), snapshotEvery: 2 } : {};
          const processes = [process(options), process(options)];
          const pending = [...plan];
          log.fault = () => {
            const next = pending.shift();
            if (next) faults++;
            return next;
          };
          const results: { command: LedgerCommand; outcome: Outcome<Ledger> }[] = [];
          const sends: Promise<void>[] = [];
          for (const [i, { kind, process: p, times, wait }] of steps.entries()) {
            const command =
              kind === 'one'
                ? note(`${i}`)
                : kind === 'many'
                  ? note([`${i}a`, `${i}b`, `${i}c`])
                  : kind === 'look'
                    ? bare('Look')
                    : kind === 'need'
                      ? need(`${Math.max(0, i - 3)}`)
                      : note(`${i}`, { expectedRevision: i - 2 });
            const send = async (to: number) => {
              const outcome = await processes[to]!.send(command);
              results.push({ command, outcome });
            };
            // Repeats while the first is under way, and from another process once it is answered.
            sends.push(
              Promise.all(Array.from({ length: times }, () => send(p))).then(() =>
                times > 1 ? send(1 - p) : undefined,
              ),
            );
            if (wait) await sleep(wait);
          }
          await Promise.all(sends);
          await log.settled();

          const stream = log.stream(STREAM);
          // Folds without a gap or a doubled event.
          const state = stream.reduce((s, e) => ledger.evolve(s, e as unknown as LedgerEvent), ledger.initialState);
          const byCommand = groupBy(stream, (e) => e.metadata.commandId);
          for (const events of byCommand.values()) {
            const { count } = events[0]!.metadata;
            expect(events.map((e) => e.metadata.index)).toEqual(Array.from({ length: count }, (_, n) => n));
            expect(events.at(-1)!.revision - events[0]!.revision).toBe(count - 1);
          }
          const answers = groupBy(results, (r) => r.command.meta.commandId);
          for (const [commandId, told] of answers) {
            const events = byCommand.get(commandId);
            byCommand.delete(commandId);
            const firsts = told.filter(({ outcome }) => !outcome.repeated);
            repeats += told.length - firsts.length;
            for (const { command, outcome } of told) {
              if (events) {
                expect(outcome.ok && outcome.revision).toBe(events.at(-1)!.revision);
                expect(outcome.ok && outcome.position >= events.at(-1)!.position).toBe(true);
                if (command.type === 'Note')
                  expect(events.map((e) => (e.data as { entry: string }).entry)).toEqual(command.data.entries);
              } else {
                const remembered = outcomes.map.get(`${ORGANISATION} ${commandId}`);
                expect(outcome.ok ? null : outcome.refusal).toEqual(remembered!.refusal);
              }
            }
            // Found again after a lost answer, also the first is a repeat.
            if (!events) expect(firsts).toHaveLength(1);
            else expect(firsts.length).toBeLessThanOrEqual(1);
          }
          // Nothing in the log that nobody was told of.
          expect([...byCommand.keys()]).toEqual([]);
          for (const { executor } of [...processes, process()])
            expect((await executor.load(ledger, '1')).state).toEqual(state);
        },
      ),
      { numRuns: 60 },
    );
    expect(Math.min(repeats, faults)).toBeGreaterThan(10);
  }, 60_000);
});

it('has a line for people for each of its own refusals', () => {
  expect(Object.keys(EXECUTOR_REFUSALS)).toEqual(['CONFLICT', 'COMMAND_ID_REUSED', 'COMMAND_TOO_LARGE']);
});
