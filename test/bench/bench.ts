import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type Bench, type BenchContext, type Figure, met, row, targetText } from './kit.js';

const here = dirname(fileURLToPath(import.meta.url));
const SUFFIX = '.bench.ts';

/** One bench for each file of this folder: `<name>.bench.ts`, whose default export measures. */
export const benchNames = (): string[] =>
  readdirSync(here)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .sort();

/** A module that has the process it is loaded into write a profile. */
function profiler(folder: string): string {
  const module = new URL('./profile.mjs', import.meta.url);
  module.searchParams.set('folder', folder);
  return module.href;
}

const HELP = `npm run bench [-- name… --quick]

One JSON object per line for each figure on standard output, a table on standard error. --quick is for looking whether the
benches work: its figures say nothing. BENCH_SECONDS sets how long each rate is measured. --only '50 clients' measures only
what matches; --out <folder> keeps plots there; --profile <folder> has the services write CPU profiles. BENCH_EMMETT names a folder in which
@event-driven-io/emmett-postgresql is installed: append then measures it too.
Benches: ${benchNames().join(', ')}`;

/** Runs the named benches, or all. Resolves to the exit code: 0 also when a target is missed, which its line says. */
export async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      out: { type: 'string' },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const known = benchNames();
  const unknown = positionals.filter((name) => !known.includes(name));
  const seconds = Number(process.env.BENCH_SECONDS ?? (values.quick ? 1 : 10));
  if (values.help || unknown.length > 0 || !(seconds > 0)) {
    if (unknown.length > 0) process.stderr.write(`There is no bench ${unknown.join(', ')}.\n`);
    if (!(seconds > 0)) process.stderr.write('BENCH_SECONDS is a number of seconds.\n');
    process.stderr.write(`${HELP}\n`);
    return values.help ? 0 : 2;
  }

  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  const print = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
  print({
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      platform: `${process.platform} ${process.arch}`,
      node: process.version,
      load: loadavg().map((load) => Math.round(load * 10) / 10),
      quick: values.quick,
      seconds,
    },
  });
  let failed = false;
  for (const name of positionals.length > 0 ? [...new Set(positionals)] : known) {
    const { default: bench } = (await import(pathToFileURL(join(here, name + SUFFIX)).href)) as { default: Bench };
    const load = loadavg()[0]!;
    process.stderr.write(`\n${name} (load ${load.toFixed(1)} before)\n`);
    const context: BenchContext = {
      quick: values.quick,
      seconds,
      signal: abort.signal,
      env: values.profile ? { NODE_OPTIONS: `--import=${profiler(resolve(values.profile))}` } : {},
      wants: (figure) => new RegExp(values.only).test(figure),
      note: (text) => process.stderr.write(`  … ${text}\n`),
      report: (figure: Figure) => {
        print({
          bench: name,
          figure: figure.figure,
          value: round(figure.value),
          unit: figure.unit,
          target: targetText(figure),
          ok: met(figure),
        });
        process.stderr.write(`  ${row(figure)}\n`);
      },
      artefact: (file, content, data) => {
        const path = values.out === undefined ? null : resolve(values.out, file);
        if (path) {
          mkdirSync(dirname(path), { recursive: true });
          writeFileSync(path, content);
          process.stderr.write(`  ${path}\n`);
        }
        print({ bench: name, artefact: path, ...data });
      },
    };
    try {
      await bench(context);
      abort.signal.throwIfAborted();
    } catch (error) {
      failed = true;
      if (abort.signal.aborted) process.stderr.write('  interrupted\n');
      else process.stderr.write(`  ${name} failed: ${error instanceof Error ? error.stack : String(error)}\n`);
    }
    if (abort.signal.aborted) return 130;
  }
  return failed ? 1 : 0;
}

const round = (value: number): number => Number(value.toPrecision(4));
