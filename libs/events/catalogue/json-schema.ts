import { z } from 'zod';
import type { EventDefinition } from './define.js';

export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** File and name of the schema of an event type's version. */
export const schemaName = ({ type, version }: Pick<EventDefinition, 'type' | 'version'>): string =>
  `${type}.v${version}`;

/**
 * The data of an event type as JSON Schema 2020-12. Objects are open: readers pass over what they don't know (docs/feeds.md).
 * `x-personal-of` names the field with the person whose key encrypts a field.
 */
export function dataSchema(definition: EventDefinition): JsonSchema {
  const { $schema, ...schema } = z.toJSONSchema(definition.schema, {
    target: 'draft-2020-12',
    override: ({ jsonSchema }) => {
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      const { personalOf } = jsonSchema;
      if (personalOf === undefined) return;
      delete jsonSchema['personalOf'];
      jsonSchema['x-personal-of'] = personalOf;
    },
  });
  return {
    $schema,
    title: definition.type,
    description: definition.description,
    ...schema,
    examples: [definition.example],
  };
}

const text = { type: 'string' } as const;
const uuid = { type: 'string', format: 'uuid' } as const;

/** A message of the feed: CloudEvents 1.0 with our extension attributes, and the data of one event type. */
export function cloudEventSchema(definition: EventDefinition, dataRef: string): JsonSchema {
  return {
    type: 'object',
    required: [
      'specversion',
      'id',
      'source',
      'type',
      'subject',
      'time',
      'datacontenttype',
      'dataschema',
      'position',
      'streamrevision',
      'organisationid',
      'correlationid',
      'causationid',
      'commandid',
      'actorrole',
      'data',
    ],
    properties: {
      specversion: { const: '1.0' },
      id: { ...uuid, description: 'Id of the event; with `source` it is unique. The same for each delivery.' },
      source: { ...text, format: 'uri-reference', description: '`/organisations/<id>`' },
      type: { const: `picturelock.${definition.type}` },
      subject: { ...text, description: 'Stream of the event.' },
      time: { ...text, format: 'date-time', description: 'When the log took it.' },
      datacontenttype: { const: 'application/json' },
      dataschema: { ...text, format: 'uri', description: 'JSON Schema of `data`.' },
      position: { ...text, pattern: '^\\d+$', description: 'Commit position in the log: what `after` takes.' },
      streamrevision: { type: 'integer', minimum: 0, description: 'Revision in its stream, from 0.' },
      organisationid: uuid,
      projectid: { ...uuid, description: 'Project it belongs to; absent for what belongs to none.' },
      correlationid: text,
      causationid: text,
      commandid: { ...uuid, description: 'Command that was decided.' },
      actorid: { ...uuid, description: 'Who gave the command; absent for the system.' },
      actorrole: text,
      data: { $ref: dataRef },
    },
  };
}
