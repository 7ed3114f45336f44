/** What `npm run bench` and `npm run torture` start: the TypeScript sources without a build of their own. */
import '../../scripts/typescript.mjs';

const [command, ...args] = process.argv.slice(2);
const { main } = await import(command === 'torture' ? '../faults/torture.ts' : './bench.ts');
process.exit(await main(args));
