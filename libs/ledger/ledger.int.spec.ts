import { fork, type ChildProcess } from 'node:child_process';
import { createHash, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, chmodSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jest } from '@jest/globals';
import { binaryEvent, jsonEvent, type KurrentDBClient } from '@kurrent/kurrentdb-client';
import pg from 'pg';
import { startTestStore, until, type TestStore } from '#apps/eventstore/eventstore.fixture.js';
import { startEventStoreServer, type EventStoreServer } from '#apps/eventstore/server.js';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import {
  checkAnchor,
  dropFolder,
  ensureLedgerKey,
  exportBundle,
  freshCheckpoint,
  generateSigner,
  LedgerStore,
  openCheckpoint,
  openSource,
  parseSigner,
  parseVerifier,
  proveEvent,
  recordToHead,
  runLedger,
  signCheckpoint,
  verifyLines,
  webhook,
  witness,
  type ExportOptions,
  type LedgerSource,
  type Post,
  type Receiver,
  type Report,
  type StoredCheckpoint,
} from './index.js';
import { hashEvent } from './leaf.js';
import { MemoryTree, rootHash, verifyConsistency } from './merkle.js';
import { parseCheckpoint, parseNote, signatureLine } from './note.js';

jest.setTimeout(180_000);

const signer = parseSigner(generateSigner('studio.example/ledger'));
const key = signer.verifier.text;
/** Of the process that is killed, and of a key file. */
const signerText = generateSigner('studio.example/killed');

let log: TestStore;
let client: KurrentDBClient;
let url: string;
let database: TestDatabase;
let store: LedgerStore;
let source: LedgerSource;
/** Servers started after the first on the same database. */
let reopened: EventStoreServer | undefined;

beforeEach(async () => {
  log = await startTestStore();
  client = log.client;
  url = `kurrentdb://127.0.0.1:${log.server.port}?tls=false`;
  database = await testDatabase();
  store = await LedgerStore.open(database.url);
  source = openSource(url);
});
afterEach(async () => {
  await source.close();
  await store.close();
  await database.drop();
  await reopened?.close();
  reopened = undefined;
  await log.close();
});

const comment = (n: number) =>
  jsonEvent({ type: 'CommentAdded', data: { text: `comment ${n}`, ö: n / 3 }, metadata: { by: 'spec' } });

async function write(count: number, stream = 'version-1'): Promise<void> {
  await client.appendToStream(
    stream,
    Array.from({ length: count }, (_, n) => comment(n)),
  );
}

async function linesOf(options: ExportOptions): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of exportBundle(options)) lines.push(line.trimEnd());
  return lines;
}

async function exported(from = 0): Promise<string[]> {
  await recordToHead(store, source);
  return linesOf({ store, source, key, checkpoint: await signCheckpoint(store, signer), from });
}

const findings = (report: Report) => report.findings.map(({ kind, index }) => [kind, index]);
const verified = async (checkpoints: string[] = []) => verifyLines(await exported(), { key, checkpoints });

/** Straight into the event store's tables, as somebody with the database's password would; the server reads them anew. */
async function tamper(sql: string, values: unknown[] = []): Promise<number> {
  await (reopened ?? log.server).close();
  const direct = new pg.Client({ connectionString: log.database.url });
  await direct.connect();
  try {
    return (await direct.query(sql, values)).rowCount ?? 0;
  } finally {
    await direct.end();
    reopened = await startEventStoreServer({ databaseUrl: log.database.url, port: log.server.port });
  }
}

describe('the ledger over an event store', () => {
  it('records every event once, in any steps, and nothing of the server’s own', async () => {
    expect(await recordToHead(store, source)).toEqual({ size: 0, position: expect.any(BigInt) as bigint });
    await write(3);
    await client.appendToStream('blob-1', [
      binaryEvent({ type: 'Bytes', data: Buffer.from([0, 255, 13, 10]), metadata: Buffer.from([1, 2]) }),
    ]);
    await client.setStreamMetadata('version-1', { maxCount: 100 });
    await recordToHead(store, source);
    await write(300, 'version-2');
    const { size } = await recordToHead(store, source);
    expect(size).toBe(304);
    expect(await recordToHead(store, source)).toMatchObject({ size });
    // The same tree, made at one go from what the protocol gives.
    const tree = new MemoryTree();
    const types = new Set<string>();
    for await (const { event } of source.read(0n)) {
      types.add(event.type);
      await tree.add([hashEvent(event)]);
    }
    expect(types).toEqual(new Set(['CommentAdded', 'Bytes']));
    expect(await store.root(size)).toEqual(await rootHash(tree, 304));
    const report = await verified();
    expect(report).toMatchObject({ ok: true, size: 304, verified: 304, keyFromBundle: false });
    expect((await exported(300)).filter((line) => line.startsWith('{"event"'))).toHaveLength(4);
  });

  it('finds what was changed in the database, and names it', async () => {
    await write(20);
    await recordToHead(store, source);
    const kept = await signCheckpoint(store, signer);
    await write(5);
    const changed = await tamper(
      `UPDATE eventstore.events SET frame = overlay(frame PLACING $1::bytea FROM position($2::bytea IN frame))
       WHERE revision = 7 AND position($2::bytea IN frame) > 0`,
      [Buffer.from('comment 8'), Buffer.from('comment 7')],
    );
    expect(changed).toBe(1);
    const report = await verified([kept.note]);
    expect(findings(report)[0]).toEqual(['altered', 7]);
    expect(report.findings[0]!.event).toMatchObject({ stream: 'version-1', revision: 7, type: 'CommentAdded' });
    expect(report.olderCheckpoints).toContain(20);
    await tamper(`DELETE FROM eventstore.events WHERE stream = 'version-1' AND revision = 3`);
    expect(findings(await verified()).slice(0, 2)).toEqual([
      ['missing', 3],
      ['altered', 7],
    ]);
  });

  it('notices that the log was rolled back or is another', async () => {
    await write(4);
    await recordToHead(store, source);
    const other = await startTestStore();
    const another = openSource(`kurrentdb://127.0.0.1:${other.server.port}?tls=false`);
    try {
      await expect(recordToHead(store, another)).rejects.toMatchObject({ code: 'LEDGER_FORKED' });
      await other.client.appendToStream('version-1', [comment(1), comment(2), comment(3), comment(4), comment(5)]);
      await expect(checkAnchor(store, another)).rejects.toMatchObject({ code: 'LEDGER_FORKED' });
      await checkAnchor(store, source);
    } finally {
      await another.close();
      await other.close();
    }
  });

  it('keeps the hash of what policy removes, and says so', async () => {
    await write(6, 'audit-1');
    await write(2, 'version-1');
    await write(3, 'project-1');
    await recordToHead(store, source);
    await client.setStreamMetadata('audit-1', { maxCount: 2 });
    await client.deleteStream('project-1');
    // What a scavenge removes.
    await tamper(`DELETE FROM eventstore.events WHERE stream = 'audit-1' AND revision < 4 OR stream = 'project-1'`);
    const report = await verified();
    expect(report).toMatchObject({ ok: true, size: 11, findings: [] });
    expect(report.verified + report.removedByPolicy).toBe(11);
    expect(report.removedFrom.map(({ policy, events }) => [policy.stream, events])).toEqual([
      ['audit-1', 4],
      ['project-1', 3],
    ]);
  });

  it('proves one event to somebody who has nothing else', async () => {
    await write(700);
    const id = randomUUID();
    await client.appendToStream('version-7', [
      jsonEvent({ id, type: 'DecisionRecorded', data: { verdict: 'APPROVED' }, metadata: {} }),
    ]);
    await write(40);
    await recordToHead(store, source);
    const options = { store, source, key, checkpoint: await signCheckpoint(store, signer) };
    const proof = await proveEvent(options, id);
    expect(proof.length).toBeLessThan(5000);
    const report = await verifyLines(proof.split('\n'), { key });
    expect(report).toMatchObject({ ok: true, what: 'proof', verified: 1, size: 741 });
    const forged = proof.replace('APPROVED', 'REJECTED');
    expect(forged).not.toBe(proof);
    expect(findings(await verifyLines(forged.split('\n'), { key }))).toEqual([['altered', 700]]);
    await expect(proveEvent(options, randomUUID())).rejects.toMatchObject({ code: 'NOT_PROVABLE' });
  });

  it('is one tree when several processes record at once', async () => {
    const others = await Promise.all(Array.from({ length: 4 }, () => LedgerStore.open(database.url)));
    let writing = true;
    const recording = others.map(async (other) => {
      while (writing) await recordToHead(other, source);
    });
    for (let i = 0; i < 15; i++) await write(50, `version-${i}`);
    writing = false;
    await Promise.all(recording);
    for (const other of others) await other.close();
    expect(await verified()).toMatchObject({ ok: true, size: 750, verified: 750 });
  });

  it('survives being killed at any moment', async () => {
    const begin = async (): Promise<ChildProcess> => {
      const child = fork(
        fileURLToPath(new URL('./ledger.fixture.ts', import.meta.url)),
        [url, database.url, signerText],
        {
          execArgv: ['--no-warnings', '--import', new URL('../../scripts/typescript.mjs', import.meta.url).href],
          env: { PATH: process.env.PATH },
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        },
      );
      await once(child, 'message');
      return child;
    };
    let written = 0;
    let going = true;
    const writer = (async () => {
      while (going) {
        await write(20, `version-${written % 7}`);
        written += 20;
        // Enough to be killed in the midst of, and not more than can be looked through.
        await sleep(25);
      }
    })();
    const killing = parseSigner(signerText);
    try {
      for (let round = 0; round < 4; round++) {
        const child = await begin();
        const before = (await store.state()).size;
        // Killed in the midst of its work, a different distance into it each time.
        const grown = async () => (await store.state()).size > before + round * 13;
        const signed = async () => ((await store.latestCheckpoint())?.size ?? 0) > before;
        await until(round % 2 ? signed : grown, 'the ledger grows', 30_000).finally(() => child.kill('SIGKILL'));
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
    } finally {
      going = false;
      await writer;
    }
    await recordToHead(store, source);
    const checkpoint = await signCheckpoint(store, killing);
    const lines = await linesOf({ store, source, key: killing.verifier.text, checkpoint });
    const report = await verifyLines(lines, { key: killing.verifier.text });
    expect(report).toMatchObject({ ok: true, size: written, verified: written });
    // Every checkpoint signed on the way is a beginning of the tree.
    expect(report.olderCheckpoints.length).toBeGreaterThan(0);
  });
});

/** A witness's key (c2sp.org/tlog-cosignature), made here so that what signs is not what verifies. */
function cosignerOf(name: string): { vkey: string; sign(text: string): string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const bytes = Buffer.concat([
    Buffer.of(4),
    Buffer.from((publicKey.export({ format: 'jwk' }) as { x: string }).x, 'base64url'),
  ]);
  const keyId = createHash('sha256').update(`${name}\n`).update(bytes).digest().subarray(0, 4);
  return {
    vkey: `${name}+${keyId.toString('hex')}+${bytes.toString('base64')}`,
    sign: (text) => {
      const seconds = Math.floor(Date.now() / 1000);
      const time = Buffer.alloc(8);
      time.writeBigUInt64BE(BigInt(seconds));
      const signature = sign(null, Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`), privateKey);
      return signatureLine({ name, keyId, signature: Buffer.concat([time, signature]) });
    },
  };
}

describe('sending checkpoints away', () => {
  let server: Server;
  let address: string;
  let answer: (path: string, body: string) => { status: number; type?: string; body: string };
  const post: Post = async (to, body, headers) => {
    const response = await fetch(to, { method: 'POST', body, headers });
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
  };

  beforeEach(async () => {
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const { status, type = 'text/plain', body: text } = answer(request.url!, body);
        response.writeHead(status, { 'content-type': type }).end(text);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  const run = async (receivers: Receiver[], done: () => boolean | Promise<boolean>): Promise<void> => {
    const abort = new AbortController();
    const quiet = () => undefined;
    const running = runLedger({
      store,
      source,
      signer,
      receivers,
      checkpointMs: 0,
      pollMs: 10,
      signal: abort.signal,
      logger: { info: quiet, warn: quiet, error: quiet },
    });
    await until(done, 'the ledger sends', 60_000);
    abort.abort();
    await running;
  };

  it('to a folder that keeps them, to an address, again when it failed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'picturelock-drop-'));
    const got: string[] = [];
    let refusals = 2;
    answer = (_, body) => {
      if (refusals-- > 0) return { status: 503, body: 'later' };
      got.push(body);
      return { status: 204, body: '' };
    };
    try {
      const receivers = [dropFolder(folder), webhook(`${address}/hook`, post)];
      await write(5);
      await run(receivers, () => got.length > 0);
      await write(5);
      await run(receivers, () => readdirSync(folder).length > 1 && got.some((note) => note.includes('\n10\n')));
      const files = readdirSync(folder).sort();
      expect(files).toEqual(['checkpoint-000000000005.txt', 'checkpoint-000000000010.txt']);
      for (const file of files) {
        const note = readFileSync(join(folder, file), 'utf8');
        expect(openCheckpoint(note, signer.verifier).size).toBe(Number(file.slice(11, 23)));
        expect(await verified([note])).toMatchObject({ ok: true });
      }
      expect(got.map((note) => openCheckpoint(note, signer.verifier).size).at(-1)).toBe(10);
      expect(await store.receivers()).toMatchObject([
        { name: `folder ${folder}`, size: 10, failures: 0 },
        { name: `webhook ${address}/hook`, size: 10, failures: 0 },
      ]);
      // Another history of the same size is not written over what is there.
      const forged = await store.latestCheckpoint();
      await expect(
        receivers[0]!.deliver({ ...forged!, note: forged!.note.replace('\n10\n', '\n10\nx\n') }, 0),
      ).rejects.toThrow('rewritten');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('to whoever asks for one now, signed by one key', async () => {
    await write(2);
    let asked: Promise<StoredCheckpoint> | undefined;
    let got: StoredCheckpoint | undefined;
    const ask = async () => {
      asked ??= freshCheckpoint(store, source);
      got = await asked;
      return true;
    };
    await run([], ask);
    expect(got?.size).toBe(2);
    expect(await store.verifier()).toBe(key);
    await expect(store.claim(parseSigner(signerText).verifier.text)).rejects.toThrow('restore the first one');
    await write(1);
    await expect(freshCheckpoint(store, source, 300)).rejects.toMatchObject({ code: 'LEDGER_BEHIND' });
  });

  it('to a witness, who signs what only grew and refuses what does not', async () => {
    const cosigner = cosignerOf('witness.example/w1');
    let seen: { size: number; root: Buffer } = { size: 0, root: Buffer.alloc(0) };
    const requests: number[] = [];
    // c2sp.org/tlog-witness, as a witness that remembers one log.
    answer = (path, body) => {
      expect(path).toBe('/prefix/add-checkpoint');
      const [head, note] = [body.slice(0, body.indexOf('\n\n')), body.slice(body.indexOf('\n\n') + 2)];
      const [old = '', ...proof] = head.split('\n');
      const { size, root } = openCheckpoint(note, signer.verifier);
      requests.push(Number(old.slice(4)));
      if (Number(old.slice(4)) !== seen.size) return { status: 409, type: 'text/x.tlog.size', body: `${seen.size}\n` };
      const hashes = proof.map((hash) => Buffer.from(hash, 'base64'));
      if (seen.size > 0 && !verifyConsistency(seen.size, size, hashes, seen.root, root))
        return { status: 422, body: '' };
      seen = { size, root };
      return { status: 200, body: cosigner.sign(parseNote(note).text) };
    };
    const receiver = witness(parseVerifier(cosigner.vkey), `${address}/prefix/`, store, post);
    await write(3);
    await run([receiver], async () => (await store.receivers())[0]?.size === 3);
    await write(600);
    await run([receiver], async () => (await store.receivers())[0]?.size === 603);
    expect(requests).toEqual([0, 3]);
    const { note } = (await store.latestCheckpoint())!;
    expect(openCheckpoint(note, signer.verifier, [parseVerifier(cosigner.vkey)]).witnessed).toMatchObject([
      { name: 'witness.example/w1' },
    ]);
    const lines = await exported();
    expect(await verifyLines(lines, { key, witnesses: [cosigner.vkey] })).toMatchObject({ ok: true });
    const stranger = cosignerOf('witness.example/w2').vkey;
    expect((await verifyLines(lines, { key, witnesses: [stranger] })).findings).toMatchObject([{ kind: 'checkpoint' }]);

    // The ledger has forgotten what it sent: the witness says what it knows.
    await write(1);
    await recordToHead(store, source);
    const next = await signCheckpoint(store, signer);
    expect(parseCheckpoint(parseNote(next.note).text).size).toBe(604);
    expect(await receiver.deliver(next, 0)).toContain('witness.example/w1');
    expect(requests).toEqual([0, 3, 0, 603]);
    // History of its own: the witness does not sign.
    seen = { size: 603, root: Buffer.alloc(32, 1) };
    await expect(receiver.deliver(next, 603)).rejects.toThrow('answered 422');
    answer = () => ({ status: 200, body: cosignerOf('witness.example/w1').sign('another text\n') });
    await expect(receiver.deliver(next, 603)).rejects.toThrow('no signature of its key');
  });
});

describe('the key', () => {
  it('is made once, for its owner alone', () => {
    const home = mkdtempSync(join(tmpdir(), 'picturelock-key-'));
    try {
      const made = ensureLedgerKey({ home });
      expect(made.name).toMatch(/^picturelock\/[0-9a-f]{12}$/);
      expect(readdirSync(home)).toEqual(['ledger.key']);
      expect(statSync(join(home, 'ledger.key')).mode & 0o777).toBe(0o600);
      expect(ensureLedgerKey({ home }).verifier.text).toBe(made.verifier.text);
      expect(ensureLedgerKey({ home, key: signerText }).name).toBe('studio.example/killed');
      chmodSync(join(home, 'ledger.key'), 0o644);
      expect(() => ensureLedgerKey({ home })).toThrow('chmod 600');
      expect(() => ensureLedgerKey({ home, keyFile: join(home, 'nowhere') })).toThrow('does not exist');
      writeFileSync(join(home, 'mine'), signerText, { mode: 0o600 });
      expect(ensureLedgerKey({ home, keyFile: join(home, 'mine') }).name).toBe('studio.example/killed');
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
