import { createReadStream } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { verifyLines, type Report } from '#libs/ledger/verify.js';
import type { Settings } from '#libs/runtime/index.js';
import { runningApi, operatorOf, type ConsoleIo } from './console.js';
import { table } from './tables.js';

export const LEDGER_USAGE = `  ledger status         size of the ledger, newest checkpoint, the log's verifier key, who has got checkpoints
  ledger checkpoint     sign the log as it is now and print the signed note         [--out file]
  ledger export         events with everything needed to verify them offline        --out file [--from leaf]
  ledger prove <event>  the proof for one event, without the rest of the log        [--out file]
  ledger verify <file>  check a bundle or a proof; needs nothing but the file       [--key vkey]
                        [--checkpoint older.txt]… [--witness vkey]… ; exit code 1 when something is wrong`;

interface StatusAnswer {
  readonly size: number;
  readonly position: string;
  readonly head: string;
  readonly key: string | null;
  readonly checkpoint: { readonly size: number; readonly signedAt: string; readonly note: string } | null;
  readonly receivers: readonly {
    readonly name: string;
    readonly size: number;
    readonly sentAt: string | null;
    readonly failures: number;
    readonly lastError: string | null;
  }[];
}

/** `picturelock ledger …`; resolves to the exit code. @throws Error when nothing runs, or the api refuses */
export async function ledgerVerb(args: string[], settings: Settings, io: ConsoleIo): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      url: { type: 'string' },
      out: { type: 'string' },
      from: { type: 'string' },
      key: { type: 'string' },
      checkpoint: { type: 'string', multiple: true },
      witness: { type: 'string', multiple: true },
    },
  });
  const [verb = 'status', subject] = positionals;
  const ask = async (path: string, method = 'GET'): Promise<Response> => {
    const response = await fetch(new URL(path, values.url ?? runningApi(settings)), {
      method,
      headers: { authorization: `Bearer ${operatorOf(settings)}` },
      signal: io.signal,
    });
    if (response.ok) return response;
    const { code, message } = (await response.json().catch(() => ({}))) as { code?: string; message?: string };
    throw new Error(`${code ?? response.status}: ${message ?? 'the api refuses'}`);
  };
  const give = async (text: string): Promise<number> => {
    if (values.out) await writeFile(values.out, text);
    else io.screen.write(text);
    return 0;
  };
  switch (verb) {
    case 'status': {
      const answer = (await (await ask('/ledger')).json()) as StatusAnswer;
      io.screen.write(`${values.json ? JSON.stringify(answer) : showStatus(answer)}\n`);
      return 0;
    }
    case 'checkpoint':
      return give(await (await ask('/ledger/checkpoint', 'POST')).text());
    case 'prove':
      if (!subject) throw new Error('ledger prove: which event? Give its id.');
      return give(await (await ask(`/ledger/proofs/${encodeURIComponent(subject)}`)).text());
    case 'export': {
      if (!values.out) throw new Error('ledger export: --out names the file to write');
      const response = await ask(`/ledger/export${values.from ? `?from=${encodeURIComponent(values.from)}` : ''}`);
      const file = await open(values.out, 'w');
      try {
        for await (const chunk of response.body!) await file.write(chunk as Uint8Array);
        await file.sync();
      } finally {
        await file.close();
      }
      return 0;
    }
    case 'verify': {
      if (!subject) throw new Error('ledger verify: which file?');
      const checkpoints = await Promise.all((values.checkpoint ?? []).map((path) => readFile(path, 'utf8')));
      const report = await verifyLines(linesOf(createReadStream(subject, 'utf8')), {
        key: values.key,
        witnesses: values.witness ?? [],
        checkpoints,
      });
      io.screen.write(`${values.json ? JSON.stringify(report) : showReport(report)}\n`);
      return report.ok ? 0 : 1;
    }
    default:
      throw new Error(`There is no command "ledger ${verb}".\n\n${LEDGER_USAGE}`);
  }
}

/** Lines as \n ends them: Node's own reader also ends them where JSON has a line separator in a text. */
async function* linesOf(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
  yield rest;
}

function showStatus({ size, position, head, key, checkpoint, receivers }: StatusAnswer): string {
  return [
    `${size} events are recorded, up to position ${position} of ${head}.`,
    checkpoint
      ? `The newest checkpoint covers ${checkpoint.size}, signed ${checkpoint.signedAt}.`
      : 'No checkpoint is signed yet.',
    `Verifier key: ${key ?? 'none yet'}`,
    ...(receivers.length > 0
      ? [
          '',
          table(
            ['receiver', 'has got', 'at', 'failures', 'last error'],
            receivers.map((r) => [r.name, r.size, r.sentAt ?? 'never', r.failures, r.lastError ?? '']),
          ),
        ]
      : [
          'Checkpoints stay on this machine: LEDGER_DROP_FOLDER, LEDGER_WEBHOOK_URL or LEDGER_WITNESSES send them away.',
        ]),
  ].join('\n');
}

function showReport(report: Report): string {
  const { ok, what, origin, size, verified, removedByPolicy, removedFrom, findings } = report;
  return [
    `${ok ? '✓' : '✗'} ${what} of ${origin || 'an unknown log'}, a tree of ${size}: ${verified} events are what was recorded`,
    ...(removedByPolicy > 0 ? [`  ${removedByPolicy} events are removed by policy; their hashes are there:`] : []),
    ...removedFrom.map(
      ({ policy: { stream, last: _, ...rule }, events }) => `    ${stream}: ${events} (${JSON.stringify(rule)})`,
    ),
    ...report.olderCheckpoints.map((older) => `  the checkpoint of ${older} is a beginning of this tree`),
    ...report.witnessed.map(({ name, time }) => `  ${name} saw it at ${time.toISOString()}`),
    ...(report.keyFromBundle
      ? ['! the key came with the file: compare it with the one you were given, or pass it as --key']
      : []),
    ...findings.map(
      ({ kind, index, message }) => `✗ ${kind}${index === undefined ? '' : ` at leaf ${index}`}: ${message}`,
    ),
  ].join('\n');
}
