import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { ROOT } from '../support/build.js';
import { startStack, type TestStack } from '../support/stack.js';
import { eventually, found, hire, type Person } from './support.js';

jest.setTimeout(300_000);

let stack: TestStack;
let admin: Person;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'picturelock-auditor-'));
  stack = await startStack({ env: { LEDGER_DROP_FOLDER: join(folder, 'drop'), LEDGER_CHECKPOINT_SECONDS: '1' } });
  ({ admin } = await found(stack, 'Northlight'));
});
afterAll(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The command line as people type it. */
async function picturelock(...args: string[]): Promise<{ code: number | null; out: string }> {
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'picturelock.mjs'), ...args], {
    env: { PATH: process.env.PATH, PICTURELOCK_HOME: stack.home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (out += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, out };
}

describe('an auditor', () => {
  it('gets checkpoints where the host can’t rewrite them, a bundle, and a proof for one event', async () => {
    const asked = await picturelock('ledger', 'checkpoint', '--url', stack.apiUrl);
    expect(asked).toMatchObject({ code: 0 });
    expect(asked.out).toMatch(/^picturelock\/[0-9a-f]{12}\n\d+\n\S{44}\n\n— picturelock\/\S+ \S+\n$/);
    const kept = join(folder, 'kept.txt');
    writeFileSync(kept, asked.out);

    const { position } = await admin.does('createProject', { name: 'Harbour', code: 'HAR' });
    const bundle = join(folder, 'bundle.ndjson');
    const exported = await picturelock('ledger', 'export', '--out', bundle, '--url', stack.apiUrl);
    expect(exported).toEqual({ code: 0, out: '' });
    const lines = readFileSync(bundle, 'utf8').split('\n');
    const decided = lines.find((line) => line.includes('"type":"ProjectCreated"'))!;
    expect(decided).toContain('Harbour');
    expect(BigInt(position)).toBeGreaterThan(0n);
    // Names and addresses leave the house as they stand in the log: encrypted.
    expect(lines.join('\n')).not.toContain(admin.email);

    const status = await picturelock('ledger', 'status', '--json', '--url', stack.apiUrl);
    const { key, size } = JSON.parse(status.out) as { key: string; size: number };
    const good = await picturelock('ledger', 'verify', bundle, '--key', key, '--checkpoint', kept);
    expect(good.code).toBe(0);
    expect(good.out).toContain('is a beginning of this tree');
    expect(readdirSync(join(folder, 'drop')).length).toBeGreaterThan(0);

    writeFileSync(
      bundle,
      lines.map((line) => (line === decided ? line.replace('Harbour', 'Harvest') : line)).join('\n'),
    );
    const bad = await picturelock('ledger', 'verify', bundle, '--key', key, '--json');
    expect(bad.code).toBe(1);
    const { id, stream } = (JSON.parse(decided) as { event: { id: string; stream: string } }).event;
    expect(JSON.parse(bad.out)).toMatchObject({
      findings: [{ kind: 'altered', event: { id, stream, type: 'ProjectCreated' } }],
    });

    const proof = join(folder, 'proof.json');
    expect(await picturelock('ledger', 'prove', id, '--out', proof, '--url', stack.apiUrl)).toEqual({
      code: 0,
      out: '',
    });
    expect(await picturelock('ledger', 'verify', proof, '--key', key)).toMatchObject({ code: 0 });
    expect(size).toBeGreaterThan(1);
    expect(await picturelock('ledger', 'prove', 'nothing', '--url', stack.apiUrl)).toMatchObject({ code: 1 });
  });

  it('asks over HTTP what is theirs to ask', async () => {
    const get = (who: Person | undefined, path: string, method = 'GET') =>
      fetch(new URL(path, stack.apiUrl), { method, headers: who?.headers ?? {} });
    expect((await get(undefined, '/ledger')).status).toBe(401);
    expect((await get(admin, '/ledger')).status).toBe(403);
    expect((await get(admin, '/ledger/export')).status).toBe(403);
    expect((await get(admin, '/ledger/checkpoint', 'POST')).status).toBe(200);
    expect((await get(admin, '/ledger/checkpoint')).status).toBe(405);
    const bundle = readFileSync(join(folder, 'bundle.ndjson'), 'utf8');
    const [, id] = /"type":"ProjectCreated","id":"([^"]+)"/.exec(bundle)!;
    expect((await get(admin, `/ledger/proofs/${id}`)).status).toBe(200);
    expect((await get(admin, '/ledger/proofs/8f6f1b0a-54f1-4c0f-8a5d-1d7f4a9c3c03')).status).toBe(404);
    const artist = await hire(admin, 'Kim', 'ARTIST');
    expect((await get(artist, `/ledger/proofs/${id}`)).status).toBe(403);
  });

  it('verifies a log in which a person was erased, whose words no feed shows any more', async () => {
    const artist = await hire(admin, 'Zebedee', 'ARTIST');
    const shown = async () => {
      const response = await fetch(new URL('/events/export?after=0&type=UserRegistered', stack.apiUrl), admin);
      return response.text();
    };
    expect(await shown()).toContain(artist.email);
    const before = join(folder, 'before.txt');
    await picturelock('ledger', 'checkpoint', '--out', before, '--url', stack.apiUrl);
    await admin.does('erasePerson', { userId: artist.id });
    const after = await eventually(shown, (text) => !text.includes(artist.email));
    expect(after).not.toContain('Zebedee');
    expect(after).toContain('"name":"[redacted]"');
    const bundle = join(folder, 'erased.ndjson');
    await picturelock('ledger', 'export', '--out', bundle, '--url', stack.apiUrl);
    const verified = await picturelock('ledger', 'verify', bundle, '--checkpoint', before, '--json');
    expect(JSON.parse(verified.out)).toMatchObject({ ok: true, removedByPolicy: 0, findings: [] });
  });
});
