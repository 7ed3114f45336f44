import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { z } from 'zod';
import {
  breakingChanges,
  dataSchema,
  definitions,
  describeAsyncApi,
  schemaName,
  type EventDefinition,
  type JsonSchema,
} from './index.js';

const all = definitions as readonly EventDefinition[];
const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as JsonSchema;
const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as JsonSchema;
const formats = addFormats as unknown as (ajv: unknown) => void;

/** Another implementation of JSON Schema than the one that wrote them. */
function validator(): Ajv2020 {
  const ajv = new Ajv2020({ strict: true, strictTypes: false, allErrors: true });
  formats(ajv);
  ajv.addKeyword('x-personal-of');
  return ajv;
}

describe.each(all.map((definition) => [schemaName(definition), definition] as const))(
  'docs/schemas/%s.json',
  (name, definition) => {
    const written = (): JsonSchema => read(`docs/schemas/${name}.json`);

    it('is what the catalogue says, and keeps what it promised (run `npm run docs` after a change)', () => {
      expect(breakingChanges(written(), plain(dataSchema(definition)))).toEqual([]);
      expect(written()).toEqual(plain(dataSchema(definition)));
    });

    it('fits the example and what was stored first, and not something else', () => {
      const validate = validator().compile(written());
      expect(validate(definition.example) || validate.errors).toBe(true);
      const golden = read(`libs/events/catalogue/golden/${name}.json`);
      expect(validate(golden) || validate.errors).toBe(true);
      // Readers pass over what they don't know; they get what was promised.
      expect(validate({ ...golden, later: 1 })).toBe(true);
      for (const field of Object.keys(golden)) {
        const { [field]: _, ...without } = golden;
        expect(validate(without)).toBe(!(written()['required'] as string[]).includes(field));
      }
    });
  },
);

describe('docs/schemas', () => {
  it('has a file for each version there ever was, and no other', () => {
    const versions = all.flatMap(({ type, version }) =>
      Array.from({ length: version }, (_, i) => `${type}.v${i + 1}.json`),
    );
    expect(readdirSync('docs/schemas').sort()).toEqual(versions.sort());
  });

  it('marks what is personal', () => {
    const { properties } = read('docs/schemas/UserRegistered.v1.json') as { properties: Record<string, JsonSchema> };
    expect(properties['email']!['x-personal-of']).toBe('userId');
  });
});

describe('docs/asyncapi.json', () => {
  const document = read('docs/asyncapi.json');

  it('is what the catalogue says (run `npm run docs` after a change)', () => {
    expect(document).toEqual(plain(describeAsyncApi(all)));
  });

  it('is AsyncAPI 3.0, by the specification’s own schema', () => {
    const require = createRequire(import.meta.url);
    const specification = require('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object;
    const ajv = new Ajv({ strict: false, allErrors: true });
    formats(ajv);
    const validate = ajv.compile(specification);
    expect(validate(document) || validate.errors).toBe(true);
    expect(validate({ ...document, channels: { events: { address: 1 } } })).toBe(false);
  });

  it('has no reference that leads nowhere, and every type on every channel', () => {
    const follow = (ref: string): unknown =>
      ref
        .slice(2)
        .split('/')
        .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], document);
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref!);
    expect(refs.filter((ref) => follow(ref) === undefined)).toEqual([]);
    const { channels } = document as { channels: Record<string, { messages: object }> };
    for (const { messages } of Object.values(channels))
      expect(Object.keys(messages).sort()).toEqual(all.map(({ type }) => type).sort());
  });
});

describe('a change of a schema', () => {
  const base = z.object({
    id: z.uuid(),
    name: z.string().max(10),
    size: z.int().min(0).nullable(),
    kind: z.enum(['A', 'B']),
    tags: z.array(z.string()),
    place: z.object({ x: z.number(), y: z.number() }),
    shape: z.discriminatedUnion('form', [
      z.object({ form: z.literal('DOT'), at: z.number() }),
      z.object({ form: z.literal('BOX'), width: z.number() }),
    ]),
    note: z.string().optional(),
  });
  const schemaOf = (schema: z.ZodType) => plain(z.toJSONSchema(schema));
  const changes = (after: z.ZodType) => breakingChanges(schemaOf(base), schemaOf(after));

  it.each<[string, z.ZodType]>([
    ['nothing', base],
    ['an optional field more', base.extend({ more: z.string().optional() })],
    ['a wider limit', base.extend({ name: z.string().max(20), size: z.int().min(-5).nullable() })],
    ['no limit', base.extend({ name: z.string() })],
    ['a value more', base.extend({ kind: z.enum(['A', 'B', 'C']) })],
    ['words', base.extend({ name: z.string().max(10).describe('What people call it.') })],
    [
      'an optional field more inside',
      base.extend({ place: z.object({ x: z.number(), y: z.number(), z: z.number().optional() }) }),
    ],
    [
      'a form more',
      base.extend({
        shape: z.discriminatedUnion('form', [...base.shape.shape.options, z.object({ form: z.literal('PIN') })]),
      }),
    ],
  ])('may be %s', (_, after) => {
    expect(changes(after)).toEqual([]);
  });

  it.each<[string, z.ZodType, string]>([
    ['a field less', base.omit({ name: true }), 'name was removed'],
    ['a new name', base.omit({ name: true }).extend({ title: z.string().optional() }), 'name was removed'],
    ['another type', base.extend({ name: z.number() }), 'name has another type'],
    ['another format', base.extend({ id: z.string() }), 'id has another format'],
    ['a required field more', base.extend({ more: z.string() }), 'more is required now'],
    ['a field that must be there now', base.required({ note: true }), 'note is required now'],
    ['a field that may be absent', base.extend({ name: z.string().max(10).optional() }), 'name may be absent now'],
    ['null where there was none', base.extend({ name: z.string().max(10).nullable() }), 'name has another type'],
    ['no null where there was', base.extend({ size: z.int().min(0) }), 'size has another type'],
    ['a tighter limit', base.extend({ name: z.string().max(9) }), 'name has a tighter maxLength'],
    ['a limit', base.extend({ note: z.string().min(1).optional() }), 'note has a tighter minLength'],
    ['a value less', base.extend({ kind: z.enum(['A']) }), 'kind'],
    ['a closed set', base.extend({ note: z.enum(['x']).optional() }), 'note became a closed set'],
    ['other items', base.extend({ tags: z.array(z.number()) }), 'tags[] has another type'],
    ['no list', base.extend({ tags: z.string() }), 'tags has another type'],
    ['a field less inside', base.extend({ place: z.object({ x: z.number() }) }), 'place.y was removed'],
    ['a form less', base.extend({ shape: z.discriminatedUnion('form', [base.shape.shape.options[0]]) }), 'shape'],
    [
      'a form’s field less',
      base.extend({
        shape: z.discriminatedUnion('form', [z.object({ form: z.literal('DOT') }), base.shape.shape.options[1]]),
      }),
      'shape|0.at was removed',
    ],
  ])('may not be %s', (_, after, said) => {
    expect(changes(after).join('\n')).toContain(said);
  });
});
