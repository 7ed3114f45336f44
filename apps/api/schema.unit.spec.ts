import { readFileSync } from 'node:fs';
import { printApiSchema } from './schema.js';

describe('schema.graphql', () => {
  it('is what the resolvers say (run `npm run schema` after a change)', async () => {
    expect(readFileSync('schema.graphql', 'utf8')).toBe(await printApiSchema());
  });
});
