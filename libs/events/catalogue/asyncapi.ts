import type { EventDefinition } from './define.js';
import { cloudEventSchema, dataSchema, schemaName } from './json-schema.js';

const query = (description: string, schema: object = { type: 'string' }) => ({ ...schema, description });

/** The feeds as AsyncAPI 3.0: `docs/asyncapi.json`, and what the api serves at `/asyncapi.json`. */
export function describeAsyncApi(definitions: readonly EventDefinition[]): object {
  const types = [...definitions].sort((a, b) => (a.type < b.type ? -1 : 1));
  const messages = Object.fromEntries(types.map(({ type }) => [type, { $ref: `#/components/messages/${type}` }]));
  const filters = {
    category: query('Stream categories, separated by commas.'),
    type: query('Event types, separated by commas.'),
    project: query('Only of this project.', { type: 'string', format: 'uuid' }),
    after: query('Only after this position.', { type: 'string', pattern: '^\\d+$' }),
  };
  const operation = (channel: string, summary: string, properties: object) => ({
    action: 'send',
    channel: { $ref: `#/channels/${channel}` },
    summary,
    security: [{ $ref: '#/components/securitySchemes/session' }],
    bindings: { http: { method: 'GET', query: { type: 'object', properties }, bindingVersion: '0.3.0' } },
  });
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Picturelock event feeds',
      version: '1.0.0',
      description:
        'What happens in a studio, as CloudEvents 1.0. Written by `npm run docs` from `libs/events/catalogue`: change it there.',
    },
    defaultContentType: 'application/json',
    channels: {
      events: {
        address: '/events',
        title: 'Live',
        description:
          'Server-Sent Events, one CloudEvent each; `id` is the position, and `Last-Event-ID` resumes after it. Nothing is missed and nothing doubled.',
        messages,
      },
      export: {
        address: '/events/export',
        title: 'A range',
        description: 'A range of the log as NDJSON, one CloudEvent a line.',
        messages,
      },
    },
    operations: {
      follow: operation('events', 'Follow events as they happen', filters),
      export: operation('export', 'Take a range of events', {
        ...filters,
        until: query('Up to and with this position; default: the end of the log when it is asked.', {
          type: 'string',
          pattern: '^\\d+$',
        }),
      }),
    },
    components: {
      securitySchemes: { session: { type: 'http', scheme: 'bearer' } },
      messages: Object.fromEntries(
        types.map((definition) => [
          definition.type,
          {
            name: `picturelock.${definition.type}`,
            title: definition.type,
            summary: definition.description,
            contentType: 'application/cloudevents+json',
            tags: [{ name: definition.context }, { name: definition.category }],
            payload: { $ref: `#/components/schemas/${definition.type}Event` },
          },
        ]),
      ),
      schemas: Object.fromEntries(
        types.flatMap((definition) => {
          const { $schema: _, ...data } = dataSchema(definition);
          return [
            [`${definition.type}Event`, cloudEventSchema(definition, `#/components/schemas/${schemaName(definition)}`)],
            [schemaName(definition), data],
          ];
        }),
      ),
    },
  };
}
