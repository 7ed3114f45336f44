import { parse, type OperationDefinitionNode } from 'graphql';
import type { EventLog } from '#libs/events/log/index.js';
import { momentOf } from './as-of.js';
import { checkAsOf, parseAsOf } from './as-of-reads.js';

const coded = (code: string) =>
  expect.objectContaining({ extensions: expect.objectContaining({ code }) as unknown }) as unknown;
const refused = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('X-As-Of', () => {
  it('is a position or a time with its zone', () => {
    expect(parseAsOf('42')).toEqual({ position: '42' });
    expect(parseAsOf('2031-05-06T07:08:09Z')).toEqual({ time: new Date('2031-05-06T07:08:09Z') });
    expect(parseAsOf('2031-05-06T09:08:09+02:00')).toEqual({ time: new Date('2031-05-06T07:08:09Z') });
    for (const header of ['', '-1', '1.5', '0x10', 'yesterday', '2031-05-06', '2031-05-06T07:08:09', '1'.repeat(21)])
      expect([header, refused(() => parseAsOf(header))]).toEqual([header, coded('INVALID_AS_OF')]);
  });

  const check = (query: string) => {
    const document = parse(query);
    return refused(() => checkAsOf(document.definitions[0] as OperationDefinitionNode, document));
  };

  it('goes with queries of what is built, however they are written', () => {
    expect(check('{ project(id: "1") { name } __typename }')).toBeUndefined();
    expect(check('query Q { ...F } fragment F on Query { stage(id: "1") { name } }')).toBeUndefined();
    expect(check('mutation { login(input: {}) { token } }')).toEqual(coded('AS_OF_QUERIES_ONLY'));
    expect(check('subscription { stackChanged(stackId: "1") { position } }')).toEqual(coded('AS_OF_QUERIES_ONLY'));
    for (const query of [
      '{ project(id: "1") { name } sessions { id } }',
      '{ project: sessions { id } }',
      'query Q { ... on Query { auditTrail { totalCount } } }',
      'query Q { ...F } fragment F on Query { ...G } fragment G on Query { position }',
    ])
      expect([query, check(query)]).toEqual([query, coded('AS_OF_NOT_AVAILABLE')]);
  });
});

describe('a moment', () => {
  const events = [10n, 20n, 30n].map((position, i) => ({ position, created: new Date(i * 1000) }));
  const log = {
    head: () => Promise.resolve(30n),
    readAll: async function* ({ after }: { after: bigint | null }) {
      yield* events.filter(({ position }) => after === null || position > after);
    },
  } as unknown as EventLog;

  it('includes what was written up to it', async () => {
    const included = async (asOf: Parameters<typeof momentOf>[0]) => {
      const moment = await momentOf(asOf, log, 5000);
      return events.filter((event) => moment.includes(event)).map(({ position }) => position);
    };
    expect(await included({ position: '20' })).toEqual([10n, 20n]);
    expect(await included({ time: new Date(1000) })).toEqual([10n, 20n]);
    expect(await included({ time: new Date(999) })).toEqual([10n]);
    expect(await included({ time: new Date(5000) })).toEqual([10n, 20n, 30n]);
  });

  it('is one that has been, of this log', async () => {
    const code = (asOf: Parameters<typeof momentOf>[0]) => momentOf(asOf, log, 5000).catch((error: unknown) => error);
    expect(await code({})).toEqual(coded('INVALID_AS_OF'));
    expect(await code({ position: '10', time: new Date(0) })).toEqual(coded('INVALID_AS_OF'));
    expect(await code({ position: '31' })).toEqual(coded('AS_OF_IN_FUTURE'));
    expect(await code({ time: new Date(5001) })).toEqual(coded('AS_OF_IN_FUTURE'));
    for (const position of ['0', '11', '29']) expect(await code({ position })).toEqual(coded('AS_OF_UNKNOWN_POSITION'));
  });
});
