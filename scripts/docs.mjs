// Writes docs/events.md, docs/errors.md, docs/asyncapi.json and docs/schemas from the built code. `npm run docs` builds first.
// A schema that is there is a promise to readers and to stored events: it is written over only by one that keeps it.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describeErrors } from '../dist/apps/api/platform/error-codes.js';
import {
  breakingChanges,
  dataSchema,
  definitions,
  describeAsyncApi,
  describeCatalogue,
  schemaName,
} from '../dist/libs/events/catalogue/index.js';

mkdirSync(new URL('../docs/', import.meta.url), { recursive: true });
writeFileSync(new URL('../docs/events.md', import.meta.url), describeCatalogue(definitions));
writeFileSync(new URL('../docs/errors.md', import.meta.url), describeErrors());

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
const schemas = new URL('../docs/schemas/', import.meta.url);
mkdirSync(schemas, { recursive: true });
const broken = [];
for (const definition of definitions) {
  const file = new URL(`${schemaName(definition)}.json`, schemas);
  const schema = dataSchema(definition);
  const changes = existsSync(file) ? breakingChanges(JSON.parse(readFileSync(file, 'utf8')), schema) : [];
  if (changes.length === 0) writeFileSync(file, json(schema));
  else broken.push(`${schemaName(definition)}: ${changes.join('; ')}`);
}
writeFileSync(new URL('../docs/asyncapi.json', import.meta.url), json(describeAsyncApi(definitions)));
if (broken.length > 0) {
  console.error(`These need a new version and an upcaster (docs/feeds.md):\n  ${broken.join('\n  ')}`);
  process.exitCode = 1;
}
