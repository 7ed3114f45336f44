// Writes schema.graphql from the built api. `npm run schema` builds first.
import { writeFileSync } from 'node:fs';
import { printApiSchema } from '../dist/apps/api/schema.js';

writeFileSync(new URL('../schema.graphql', import.meta.url), await printApiSchema());
