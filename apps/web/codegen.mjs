/**
 * Writes src/generated/graphql.ts: types and typed documents of every `.graphql` file under src, checked against the schema.
 * `--schema <file>` names another schema than the repository's own.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { codegen } from '@graphql-codegen/core';
import * as typedDocumentNode from '@graphql-codegen/typed-document-node';
import * as operations from '@graphql-codegen/typescript-operations';
import { buildSchema, parse, validate } from 'graphql';

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { schema: { type: 'string', default: join(here, '../../schema.graphql') } } });

const source = join(here, 'src');
const schemaText = await readFile(resolve(values.schema), 'utf8');
const schema = buildSchema(schemaText);
const names = (await readdir(source, { recursive: true })).filter((name) => name.endsWith('.graphql')).sort();
const documents = await Promise.all(
  names.map(async (name) => {
    const location = join(source, name);
    return { location, document: parse(await readFile(location, 'utf8')) };
  }),
);

// Fragments live in files of their own, so only the whole can be validated.
const whole = { kind: 'Document', definitions: documents.flatMap(({ document }) => document.definitions) };
const errors = validate(schema, whole);
if (errors.length > 0) {
  for (const error of errors) console.error(`${error.message} (${error.locations?.map((at) => `line ${at.line}`)})`);
  console.error(`The documents of ${relative(process.cwd(), source)} don't fit ${values.schema}.`);
  process.exit(1);
}

const output = join(source, 'generated/graphql.ts');
const text = await codegen({
  filename: output,
  schema: parse(schemaText),
  schemaAst: schema,
  documents,
  config: {
    scalars: { ID: 'string', DateTime: 'string', Position: 'string', ByteSize: 'string' },
    defaultScalarType: 'unknown',
    strictScalars: false,
    enumsAsTypes: true,
    enumType: 'string-literal',
    useTypeImports: true,
    skipTypename: false,
    dedupeFragments: true,
    documentMode: 'documentNode',
  },
  // The operations bring along the enumerations and inputs they use; the schema's other types are nobody's business here.
  plugins: [{ operations: {} }, { typedDocumentNode: {} }],
  pluginMap: { operations, typedDocumentNode },
});
await mkdir(dirname(output), { recursive: true });
// An unchanged file keeps its time, so that watchers and incremental checks stay quiet.
const before = await readFile(output, 'utf8').catch(() => null);
if (before !== text) await writeFile(output, text);
