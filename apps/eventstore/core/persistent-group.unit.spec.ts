import fc from 'fast-check';
import { type Delivery, PersistentGroup } from './persistent-group.js';
import type { GroupSettings } from './persistent-settings.js';

const SETTINGS: GroupSettings = {
  resolveLinks: false,
  startFrom: 0,
  filter: undefined,
  extraStatistics: false,
  messageTimeout: 1_000,
  maxRetryCount: 2,
  checkpointAfter: 1_000,
  minCheckpointCount: 1,
  maxCheckpointCount: 5,
  maxSubscriberCount: 0,
  liveBufferSize: 50,
  readBatchSize: 5,
  bufferSize: 20,
  strategy: 'RoundRobin',
};

const message = (position: number, id = `id-${position}`) => ({
  id,
  position,
  stream: `s-${position % 3}`,
  metadata: Buffer.alloc(0),
  frame: Buffer.alloc(0),
});

/** A group with what left it, and a clock that is set by hand. */
function world(settings: Partial<GroupSettings> = {}, checkpoint?: number) {
  let now = 0;
  const checkpoints: number[] = [];
  const parked: Delivery[] = [];
  let rooms = 0;
  const port = {
    checkpoint: (position: number) => void checkpoints.push(position),
    park: (delivery: Delivery) => void parked.push(delivery),
    room: () => void rooms++,
    replaySettled: () => undefined,
  };
  const group = new PersistentGroup({ ...SETTINGS, ...settings }, checkpoint, port, () => now);
  const consumer = (slots: number) => {
    const got: Delivery[] = [];
    const held = {
      got,
      freeSlots: slots,
      push: (delivery: Delivery) => {
        held.freeSlots--;
        got.push(delivery);
      },
      settled: () => void held.freeSlots++,
    };
    return held;
  };
  const pass = (ms: number) => {
    now += ms;
    group.tick();
  };
  return { group, checkpoints, parked, consumer, pass, rooms: () => rooms };
}

const positions = (got: Delivery[]) => got.map((delivery) => delivery.position);

it('given room for two, when both are acknowledged, then the next two come', () => {
  const { group, consumer } = world();
  const one = consumer(2);
  group.receive([0, 1, 2, 3].map((n) => message(n)));
  group.connect(one);
  expect(positions(one.got)).toEqual([0, 1]);
  group.acknowledge(['id-0', 'id-1']);
  expect(positions(one.got)).toEqual([0, 1, 2, 3]);
});

it('given what a consumer had not answered, when it leaves, then the next one gets it first', () => {
  const { group, consumer } = world();
  const [first, second] = [consumer(3), consumer(10)];
  group.connect(first);
  group.receive([0, 1, 2, 3].map((n) => message(n)));
  group.acknowledge(['id-1']);
  group.disconnect(first);
  group.connect(second);
  expect(second.got.map(({ position, retryCount }) => [position, retryCount])).toEqual([
    [0, 1],
    [2, 1],
    [3, 1],
  ]);
});

it('given no answer, when the time is over, then it comes again, and is parked after its last try', () => {
  const { group, consumer, pass, parked } = world();
  const one = consumer(5);
  group.connect(one);
  group.receive([message(0)]);
  pass(999);
  expect(one.got).toHaveLength(1);
  pass(1);
  pass(1_000);
  expect(one.got.map((delivery) => delivery.retryCount)).toEqual([0, 1, 2]);
  pass(1_000);
  expect(positions(parked)).toEqual([0]);
  expect(one.freeSlots).toBe(5);
});

it('a parked message holds the checkpoint until it is stored, and comes again when that fails', () => {
  const { group, consumer, pass, checkpoints } = world();
  const one = consumer(5);
  group.connect(one);
  group.receive([message(0), message(1)]);
  group.refuse(['id-0'], 'park', '');
  group.acknowledge(['id-1']);
  pass(1_000);
  expect(checkpoints).toEqual([]);
  group.parkFailed('id-0');
  expect(positions(one.got)).toEqual([0, 1, 0]);
  group.refuse(['id-0'], 'park', '');
  group.parkStored('id-0');
  pass(1_000);
  expect(checkpoints).toEqual([1]);
});

it('checkpoints after so many, or by the clock after fewer', () => {
  const { group, consumer, pass, checkpoints } = world({ minCheckpointCount: 2 });
  group.connect(consumer(100));
  group.receive(Array.from({ length: 12 }, (_, n) => message(n)));
  for (let n = 0; n < 5; n++) group.acknowledge([`id-${n}`]);
  expect(checkpoints).toEqual([4]);
  group.acknowledge(['id-5']);
  pass(1_000);
  expect(checkpoints).toEqual([4]);
  group.acknowledge(['id-6']);
  pass(1_000);
  expect(checkpoints).toEqual([4, 6]);
});

it('filtered events move the checkpoint without a consumer, but not past what waits', () => {
  const { group, checkpoints, consumer } = world();
  group.skipped(7, 8);
  expect(checkpoints).toEqual([7]);
  group.receive([message(8)]);
  group.skipped(30, 22);
  expect(checkpoints).toEqual([7]);
  group.connect(consumer(1));
  group.acknowledge(['id-8']);
  expect(checkpoints).toEqual([7, 30]);
});

it('tells when there is room again', () => {
  const { group, consumer, rooms } = world();
  group.receive(Array.from({ length: 16 }, (_, n) => message(n)));
  expect(group.hasRoom).toBe(false);
  group.connect(consumer(4));
  expect(group.hasRoom).toBe(true);
  expect(rooms()).toBe(1);
});

it('of two messages with one id the second waits for the first', () => {
  const { group, consumer } = world();
  const one = consumer(5);
  group.connect(one);
  group.receive([message(0, 'same'), message(1, 'same'), message(2)]);
  expect(positions(one.got)).toEqual([0, 2]);
  group.acknowledge(['same']);
  expect(positions(one.got)).toEqual([0, 2, 1]);
});

describe('whatever happens', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('receive' as const), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ do: fc.constant('skip' as const), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ do: fc.constant('connect' as const), slots: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ do: fc.constant('disconnect' as const), which: fc.nat() }),
    fc.record({
      do: fc.constant('answer' as const),
      which: fc.nat(),
      how: fc.constantFrom('ack' as const, 'retry' as const, 'park' as const, 'skip' as const),
    }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 1_500 }) }),
    fc.record({ do: fc.constant('stored' as const), ok: fc.boolean() }),
  );

  it.each(['RoundRobin', 'DispatchToSingle', 'Pinned', 'PinnedByCorrelation'])(
    'no checkpoint (%s) passes a message that is not done, and each reaches a consumer in the end',
    (strategy) => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
          const { group, checkpoints, parked, consumer, pass } = world({ strategy });
          const consumers = new Set<ReturnType<typeof consumer>>();
          const done = new Set<number>();
          const matching: number[] = [];
          let next = 0;
          let storedParks = 0;
          const pick = <T>(all: T[], which: number) => all[which % Math.max(1, all.length)];
          const settleParked = (ok: boolean) => {
            while (storedParks < parked.length) {
              const delivery = parked[storedParks++]!;
              if (ok) done.add(delivery.position);
              if (ok) group.parkStored(delivery.id);
              else group.parkFailed(delivery.id);
            }
          };
          const check = () => {
            for (const position of matching)
              if (!done.has(position)) {
                expect(checkpoints.at(-1) ?? -1).toBeLessThan(position);
                break;
              }
            expect(checkpoints).toEqual([...checkpoints].sort((a, b) => a - b));
            for (const one of consumers) expect(one.freeSlots).toBeGreaterThanOrEqual(0);
          };
          for (const action of steps) {
            switch (action.do) {
              case 'receive':
                if (!group.hasRoom) break;
                group.receive(
                  Array.from({ length: action.count }, () => {
                    matching.push(next);
                    return message(next++);
                  }),
                );
                break;
              case 'skip':
                next += action.count;
                group.skipped(next - 1, action.count);
                break;
              case 'connect': {
                const one = consumer(action.slots);
                consumers.add(one);
                group.connect(one);
                break;
              }
              case 'disconnect': {
                const one = pick([...consumers], action.which);
                if (one === undefined) break;
                consumers.delete(one);
                group.disconnect(one);
                break;
              }
              case 'answer': {
                const delivery = pick(
                  [...consumers].flatMap((one) => one.got),
                  action.which,
                );
                if (delivery === undefined) break;
                // Acknowledging is idempotent; only what is out counts, and that a message was seen makes it done.
                if (action.how === 'ack' || action.how === 'skip') done.add(delivery.position);
                if (action.how === 'ack') group.acknowledge([delivery.id]);
                else group.refuse([delivery.id], action.how, '');
                break;
              }
              case 'pass':
                pass(action.ms);
                break;
              case 'stored':
                settleParked(action.ok);
                break;
            }
            check();
          }
          // In the end somebody takes everything.
          const last = consumer(1_000);
          for (const one of consumers) group.disconnect(one);
          group.connect(last);
          settleParked(false);
          for (let round = 0; round < 5; round++) {
            for (const delivery of [...last.got]) {
              done.add(delivery.position);
              group.acknowledge([delivery.id]);
            }
            settleParked(true);
          }
          expect([...done].sort((a, b) => a - b)).toEqual(matching);
          if (next >= 5) {
            group.skipped(next + 4, 5);
            expect(checkpoints.at(-1)).toBe(next + 4);
          }
        }),
        { numRuns: 300 },
      );
    },
  );
});
