// Keeps how each version of each event was first stored: libs/events/catalogue/golden/<Type>.v<version>.json. Writes what
// is missing and never touches what is there: those are promises to logs written long ago. `npm run golden` builds first.
import { mkdirSync, writeFileSync } from 'node:fs';
import { definitions } from '../dist/libs/events/catalogue/index.js';

const folder = new URL('../libs/events/catalogue/golden/', import.meta.url);
mkdirSync(folder, { recursive: true });
for (const { type, version, example } of definitions) {
  const name = `${type}.v${version}.json`;
  try {
    writeFileSync(new URL(name, folder), `${JSON.stringify(example, null, 2)}\n`, { flag: 'wx' });
    console.log(`wrote ${name}`);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
}
