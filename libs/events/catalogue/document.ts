import { z } from 'zod';
import type { Context, EventDefinition } from './define.js';

interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

const CONTEXTS: readonly Context[] = ['identity', 'production', 'review', 'platform'];

const limits = (low: number | undefined, high: number | undefined): string => {
  // The largest integer of the language is no limit of ours.
  const [min, max] = [low, high].map((n) =>
    n === undefined || Math.abs(n) >= Number.MAX_SAFE_INTEGER ? undefined : n,
  );
  if (min === undefined && max === undefined) return '';
  if (max === undefined) return ` ≥ ${min}`;
  return min === undefined ? ` ≤ ${max}` : ` ${min}–${max}`;
};

/** A type in the words of the table: `uuid`, `string 1–200`, `[{ num: integer > 0 }]`. */
function typeOf(schema: JsonSchema): string {
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return options.map(typeOf).join(' or ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(' or ');
  switch (schema.type) {
    case 'string':
      if (schema.format) return schema.format;
      return schema.pattern ? `string /${schema.pattern}/` : `string${limits(schema.minLength, schema.maxLength)}`;
    case 'integer':
    case 'number':
      if (schema.exclusiveMinimum !== undefined)
        return `${schema.type} > ${schema.exclusiveMinimum}${limits(undefined, schema.maximum)}`;
      return schema.type + limits(schema.minimum, schema.maximum);
    case 'array':
      return `[${typeOf(schema.items ?? {})}]${limits(schema.minItems, schema.maxItems)}`;
    case 'object': {
      const fields = Object.entries(schema.properties ?? {});
      if (fields.length === 0) return 'object';
      return `{ ${fields.map(([name, field]) => `${name}: ${typeOf(field)}`).join(', ')} }`;
    }
    default:
      return schema.type ?? 'any';
  }
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function describe(definition: EventDefinition): string[] {
  const { type, version, category, description, schema, example, personal } = definition;
  const { properties = {} } = z.toJSONSchema(schema) as JsonSchema;
  return [
    `### ${type}`,
    '',
    description,
    '',
    `Version ${version}, stream \`${category}-…\`.`,
    '',
    '| field | type | personal |',
    '| --- | --- | --- |',
    ...Object.entries(properties).map(
      ([name, field]) =>
        `| \`${name}\` | ${cell(`\`${typeOf(field)}\``)} | ${personal[name] ? `of \`${personal[name]}\`` : ''} |`,
    ),
    '',
    '```json',
    JSON.stringify(example, null, 2),
    '```',
    '',
  ];
}

/** `docs/events.md`: every event type with its stream, fields and an example. */
export function describeCatalogue(definitions: readonly EventDefinition[]): string {
  const lines = [
    '# Event catalogue',
    '',
    'Written by `npm run docs` from `libs/events/catalogue`: change it there. Every event also carries metadata: correlation,',
    'cause, command id and hash, its place among the events of its command, organisation, actor, schema version and time.',
    'Personal fields are encrypted under the key of the person they are of, and read as `[redacted]` once it is destroyed.',
    '',
  ];
  for (const context of CONTEXTS) {
    const own = definitions.filter((d) => d.context === context);
    if (own.length > 0) lines.push(`## ${context}`, '', ...own.flatMap(describe));
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
