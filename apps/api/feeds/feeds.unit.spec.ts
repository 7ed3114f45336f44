import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { categories, definitions, type EventDefinition, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { toCloudEvent } from './cloud-event.js';
import { RULES, withPersonalFields } from './visibility.js';

const ORGANISATION = '5b0a3c1e-6a2e-4c56-9a53-0d1c5d0f1a01';
const USER = '0d9c1f34-8a0b-4f3e-9a44-6f8d2f7e2b02';

const recorded = (definition: EventDefinition, data: unknown = definition.example): RecordedEvent => ({
  id: '6d3f5a17-02c1-4d8d-b1cd-3e7f9aa3a30a',
  stream: `${definition.category}-${ORGANISATION}`,
  revision: 4,
  position: 12_345_678_901_234_567n,
  created: new Date('2031-05-06T07:08:09.010Z'),
  type: definition.type,
  data,
  metadata: {
    $correlationId: 'c',
    $causationId: 'd',
    commandId: ORGANISATION,
    commandHash: 'ab',
    index: 0,
    count: 1,
    organisationId: ORGANISATION,
    actor: { userId: null, role: 'SERVICE' },
    schemaVersion: 1,
    at: '2031-05-06T07:08:09.000Z',
  },
});
const all = definitions as readonly EventDefinition[];

describe('who may see an event', () => {
  it('is said for every category', () => {
    expect([...RULES.keys()].sort()).toEqual([...categories].sort());
  });

  it('goes by project wherever an event names one', () => {
    for (const { type, category, schema } of all)
      expect([type, RULES.get(category)!.project]).toEqual([type, 'projectId' in schema.shape]);
  });
});

describe('a CloudEvent', () => {
  const document = JSON.parse(readFileSync('docs/asyncapi.json', 'utf8')) as {
    components: { schemas: Record<string, object> };
  };
  const ajv = new Ajv2020({ strict: true, strictTypes: false, allErrors: true });
  (addFormats as unknown as (to: Ajv2020) => void)(ajv);
  ajv.addKeyword('x-personal-of');
  ajv.addKeyword('components');
  ajv.addSchema(
    { $id: 'https://studio.example/asyncapi', components: document.components } as never,
    undefined,
    false,
    false,
  );

  it.each(all.map((definition) => [definition.type, definition] as const))(
    'of %s is as docs/asyncapi.json says',
    (type, definition) => {
      const message = JSON.parse(
        JSON.stringify(toCloudEvent(recorded(definition), 'https://studio.example')),
      ) as object;
      const validate = ajv.getSchema(`https://studio.example/asyncapi#/components/schemas/${type}Event`)!;
      expect(validate(message) || validate.errors).toBe(true);
      expect(validate({ ...message, specversion: '0.3' })).toBe(false);
      // CloudEvents 1.0 §3.1: names of attributes are lower-case letters and digits.
      for (const name of Object.keys(message)) expect(name).toMatch(/^[a-z0-9]+$/);
      expect(message).toMatchObject({
        dataschema: `https://studio.example/schemas/${type}.v${definition.version}.json`,
        position: '12345678901234567',
      });
    },
  );
});

describe('personal fields', () => {
  const registered = all.find(({ type }) => type === 'UserRegistered')!;
  const sealed = { ...registered.example, name: '[redacted]', email: '[redacted]' };
  const open = (data: unknown) => () => Promise.resolve(recorded(registered, data));
  const seen = async (userId: string, role: 'ARTIST' | 'PRODUCER', clear: unknown = registered.example) => {
    const event = await withPersonalFields(recorded(registered, sealed), { userId, role }, open(clear));
    const { name, email } = event.data as { name: string; email: string };
    return [name, email];
  };

  it('are shown as GraphQL shows them', async () => {
    expect(await seen(USER, 'ARTIST')).toEqual(['Ada Quill', 'ada@northlight.example']);
    expect(await seen(ORGANISATION, 'PRODUCER')).toEqual(['Ada Quill', 'ada@northlight.example']);
    expect(await seen(ORGANISATION, 'ARTIST')).toEqual(['Ada Quill', '[redacted]']);
  });

  it('are gone for everybody once they are erased', async () => {
    expect(await seen(USER, 'ARTIST', sealed)).toEqual(['[redacted]', '[redacted]']);
    const gone = await withPersonalFields(recorded(registered, sealed), { userId: USER, role: 'PRODUCER' }, () =>
      Promise.resolve(undefined),
    );
    expect(gone.data).toEqual(sealed);
  });
});
