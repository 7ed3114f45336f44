/**
 * Lets Node run our TypeScript sources without a build: `node --import ./scripts/typescript.mjs file.ts`.
 * For tests, benches and developers' scripts; the product runs from dist/.
 */
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
