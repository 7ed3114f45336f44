import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { z } from 'zod';
import {
  canonicalJson,
  catalogue,
  categories,
  defineEvent,
  definitions,
  deriveCommandId,
  deriveEventId,
  eventMetadata,
  hashCommand,
  isRefusal,
  personal,
  refuse,
  upcast,
  uuidV5,
  type EventDefinition,
} from './index.js';

const GOLDEN = join(process.cwd(), 'libs/events/catalogue/golden');
const all = definitions as readonly EventDefinition[];

describe.each(all.map((d) => [d.type, d] as const))('%s', (type, definition) => {
  it('has an example that fits its schema exactly', () => {
    expect(definition.schema.strict().parse(definition.example)).toEqual(definition.example);
    expect(JSON.parse(JSON.stringify(definition.example))).toEqual(definition.example);
  });

  it('is named in the past tense, by type and category, with words for people', () => {
    expect(type).toMatch(/^[A-Z][A-Za-z]+(ed|drawn)$/);
    expect(definition.category).toMatch(/^[a-z][A-Za-z]*$/);
    expect(definition.description).toMatch(/\.$/);
    expect(catalogue.get(type)).toBe(definition);
  });

  it('names its organisation and its own stream', () => {
    const idField = { audit: 'organisationId', versionMedia: 'versionId', versionStack: 'stackId' }[
      definition.category
    ];
    const own = idField ?? (definition.category === 'pipelineTemplate' ? 'templateId' : `${definition.category}Id`);
    expect(Object.keys(definition.schema.shape)).toEqual(expect.arrayContaining(['organisationId', own]));
  });

  it('has a person for each personal field, and no personal field that would not be encrypted', () => {
    const shape = definition.schema.shape as Record<string, z.ZodType>;
    for (const [field, person] of Object.entries(definition.personal)) {
      expect(shape[field]).toBeDefined();
      const named = shape[person]!;
      expect(named.safeParse('not an id').success).toBe(false);
      // Without a person the value is dropped, so a field that can't be null needs one.
      if (named.safeParse(null).success) expect(shape[field]!.safeParse(null).success).toBe(true);
    }
    const marks = JSON.stringify(z.toJSONSchema(definition.schema)).match(/"personalOf"/g) ?? [];
    expect(marks).toHaveLength(Object.keys(definition.personal).length);
  });

  it('has every version it ever had on file, and reads them all (run `npm run golden` for a new one)', () => {
    const files = readdirSync(GOLDEN);
    for (let version = 1; version <= definition.version; version++) {
      const name = `${type}.v${version}.json`;
      expect(files).toContain(name);
      const stored = JSON.parse(readFileSync(join(GOLDEN, name), 'utf8')) as Record<string, unknown>;
      const before = structuredClone(stored);
      const current = upcast(type, version, stored);
      // Stored as it was and read as it is: nothing dropped, nothing filled in by accident.
      expect(definition.schema.strict().parse(current)).toEqual(current);
      expect(stored).toEqual(before);
    }
  });
});

describe('the catalogue', () => {
  it('has each type once, and no stored version of a type it does not know', () => {
    expect(catalogue.size).toBe(all.length);
    expect([...categories].sort()).toEqual([...new Set(all.map((d) => d.category))].sort());
    for (const name of readdirSync(GOLDEN)) {
      const [, type, version] = /^(\w+)\.v(\d+)\.json$/.exec(name) ?? [];
      const definition = catalogue.get(type!);
      expect(definition && Number(version) <= definition.version ? 'known' : name).toBe('known');
    }
  });

  it('knows which fields are personal', () => {
    expect(
      Object.fromEntries(all.flatMap((d) => (Object.keys(d.personal).length ? [[d.type, d.personal]] : []))),
    ).toEqual({
      UserRegistered: { email: 'userId', name: 'userId' },
      CommandRefused: { ip: 'userId' },
    });
  });

  it('takes metadata as the executor writes it, and not without its parts', () => {
    const id = '0d9c1f34-8a0b-4f3e-9a44-6f8d2f7e2b02';
    const metadata = {
      $correlationId: 'c',
      $causationId: 'c',
      commandId: id,
      commandHash: 'ab',
      index: 0,
      count: 1,
      organisationId: id,
      actor: { userId: null, role: 'SERVICE' },
      schemaVersion: 1,
      at: '2031-05-06T07:08:09.000Z',
    };
    expect(eventMetadata.parse(metadata)).toEqual(metadata);
    for (const key of Object.keys(metadata))
      expect(eventMetadata.safeParse({ ...metadata, [key]: undefined }).success).toBe(false);
  });
});

describe('upcasting', () => {
  const made = defineEvent({
    type: 'ReelRenamed',
    version: 3,
    context: 'production',
    category: 'reel',
    description: 'Made up.',
    schema: z.object({
      reelId: z.string(),
      from: z.string().nullable(),
      to: z.string(),
      by: personal('userId'),
      userId: z.string(),
    }),
    example: { reelId: 'r', from: 'a', to: 'b', by: 'Ada', userId: 'u' },
    upcasters: {
      1: ({ name, ...rest }) => ({ ...rest, to: name, from: null }),
      2: (data) => ({ ...data, userId: data['userId'] ?? 'nobody', by: data['by'] ?? '' }),
    },
  });
  const known = catalogue as Map<string, EventDefinition>;
  beforeAll(() => void known.set(made.type, made as unknown as EventDefinition));
  afterAll(() => void known.delete(made.type));

  it('goes in small steps from any version to the current one', () => {
    const v1 = Object.freeze({ reelId: 'r', name: 'b' });
    const v2 = Object.freeze({ reelId: 'r', from: 'a', to: 'b' });
    expect(upcast(made.type, 1, v1)).toEqual({ reelId: 'r', from: null, to: 'b', userId: 'nobody', by: '' });
    expect(upcast(made.type, 2, v2)).toEqual({ reelId: 'r', from: 'a', to: 'b', userId: 'nobody', by: '' });
    expect(upcast(made.type, 3, made.example)).toBe(made.example);
  });

  it('refuses what it can’t know', () => {
    expect(() => upcast(made.type, 4, {})).toThrow('ReelRenamed version 4 was written by a newer Picturelock');
    expect(() => upcast('NeverHeardOf', 1, {})).toThrow('no event type NeverHeardOf');
    known.set('Gap', { ...(made as unknown as EventDefinition), type: 'Gap', upcasters: { 2: (d) => d } });
    expect(() => upcast('Gap', 1, {})).toThrow('Gap has no upcaster from version 1');
    known.delete('Gap');
  });

  it('knows a personal field also when it may be null', () => {
    expect(made.personal).toEqual({ by: 'userId' });
  });
});

describe('ids', () => {
  const DNS = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';

  it('are version 5 of RFC 9562', () => {
    // Appendix A.4, and the vectors of Python's uuid module.
    expect(uuidV5(DNS, 'www.example.com')).toBe('2ed6657d-e927-568b-95e1-2665a8aea6a2');
    expect(uuidV5(DNS, 'python.org')).toBe('886313e1-3b8a-5372-9b90-0c9aee199e5d');
  });

  it('are UUIDs of version and variant for any name', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.string({ unit: 'binary' }), (namespace, name) => {
        expect(uuidV5(namespace, name)).toMatch(
          /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
        );
      }),
    );
  });

  it('are derived the same for ever: stored events have them', () => {
    const [organisation, command] = ['5b0a3c1e-6a2e-4c56-9a53-0d1c5d0f1a01', '0d9c1f34-8a0b-4f3e-9a44-6f8d2f7e2b02'];
    expect(deriveEventId(organisation, 'version-1', command, 0)).toBe('f264a91b-7116-5f8a-880d-f7b5860572d8');
    expect(deriveCommandId(command, 'withdraw')).toBe('b4f57a61-e644-5304-942e-8afbba85bc77');
    const others = [
      deriveEventId(organisation, 'version-1', command, 1),
      deriveEventId(organisation, 'version-2', command, 0),
      deriveEventId(command, 'version-1', command, 0),
      deriveEventId(organisation, 'version-1', organisation, 0),
      deriveCommandId(command, 'close'),
      deriveCommandId(organisation, 'withdraw'),
    ];
    expect(new Set(others).size).toBe(others.length);
  });
});

describe('canonical JSON', () => {
  const json = fc.jsonValue({ maxDepth: 4 });
  const shuffled = (value: unknown, r: () => number): unknown => {
    if (Array.isArray(value)) return value.map((v) => shuffled(v, r));
    if (value === null || typeof value !== 'object') return value;
    const entries = Object.entries(value).map(([k, v]) => [k, shuffled(v, r)] as const);
    return Object.fromEntries([...entries, ['\u0000left out', undefined] as const].sort(() => r() - 0.5));
  };

  it('says the same value', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('does not depend on the order of keys or on fields that are undefined', () => {
    fc.assert(
      fc.property(json, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), (value, randoms) => {
        const other = shuffled(value, () => randoms.next().value as number);
        expect(canonicalJson(other)).toBe(canonicalJson(value));
        expect(hashCommand('T', other)).toBe(hashCommand('T', value));
      }),
    );
  });

  it('differs when the value differs', () => {
    fc.assert(
      fc.property(json, json, (a, b) => {
        expect(canonicalJson(a) === canonicalJson(b)).toBe(JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)));
      }),
    );
    expect(hashCommand('A', {})).not.toBe(hashCommand('B', {}));
  });

  it('sorts keys by code unit and writes no spaces', () => {
    expect(canonicalJson({ b: [1, undefined, null], a: { ö: 1, z: 'ä' }, ä: undefined })).toBe(
      '{"a":{"z":"ä","ö":1},"b":[1,null,null]}',
    );
  });

  function sorted(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== 'object') return value;
    // Pairs, so that keys like "__proto__" and "1" keep their place.
    return {
      pairs: Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([k, v]) => [k, sorted(v)]),
    };
  }
});

describe('a refusal', () => {
  it('is told from events', () => {
    expect(isRefusal(refuse('NO', 'No.'))).toBe(true);
    for (const other of [[], null, undefined, {}, { refused: false }, 'refused']) expect(isRefusal(other)).toBe(false);
  });
});
