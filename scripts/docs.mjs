// Writes docs/events.md and docs/errors.md from the built code. `npm run docs` builds first.
import { mkdirSync, writeFileSync } from 'node:fs';
import { describeErrors } from '../dist/apps/api/platform/error-codes.js';
import { definitions, describeCatalogue } from '../dist/libs/events/catalogue/index.js';

mkdirSync(new URL('../docs/', import.meta.url), { recursive: true });
writeFileSync(new URL('../docs/events.md', import.meta.url), describeCatalogue(definitions));
writeFileSync(new URL('../docs/errors.md', import.meta.url), describeErrors());
