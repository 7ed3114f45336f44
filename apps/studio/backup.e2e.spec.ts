import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { jsonEvent, KurrentDBClient } from '@kurrent/kurrentdb-client';
import { loadSettings } from '#libs/runtime/index.js';
import { startStack, temporaryHome, type TestStack } from '../../test/support/stack.js';
import { backup, type Manifest, restore } from './backup.js';

jest.setTimeout(180_000);

const place = temporaryHome();
const home = join(place, 'home');
const folder = join(place, 'backup');
const keys = join(place, 'keys');
const settings = loadSettings({ PICTURELOCK_HOME: home });
let manifest: Manifest;
/** Acknowledged before the backup began, and all that were by its end. */
let before: string[];
let during: string[];

const start = (where: string) => startStack({ home: where, services: ['eventstore'] });

async function idsIn(stack: TestStack): Promise<string[]> {
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  const ids: string[] = [];
  for await (const { event } of client.readAll()) if (event && !event.streamId.startsWith('$')) ids.push(event.id);
  await client.dispose();
  return ids;
}

beforeAll(async () => {
  mkdirSync(home, { mode: 0o711 });
  mkdirSync(join(home, 'blobs', 'ab'), { recursive: true });
  writeFileSync(join(home, 'blobs', 'ab', 'abcdef'), randomBytes(100_000));
  const stack = await start(home);
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  const acknowledged: string[] = [];
  let over = false;
  const writers = Array.from({ length: 4 }, async (_, n) => {
    while (!over) {
      const batch = Array.from({ length: 5 }, () => jsonEvent({ type: 'TakeShot', data: { text: 'x'.repeat(500) } }));
      await client.appendToStream(`take-${n}`, batch);
      acknowledged.push(...batch.map(({ id }) => id));
    }
  });
  while (acknowledged.length < 200) await new Promise((resolve) => setTimeout(resolve, 10));
  before = [...acknowledged];
  manifest = await backup({ settings, folder, blobs: true, keys, verify: true });
  during = [...acknowledged];
  over = true;
  await Promise.all(writers);
  await client.dispose();
  await stack.stop({ keepHome: true });
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

it('is taken while the store is written to, and holds what was acknowledged before it began', async () => {
  expect(manifest.head).toBeGreaterThan(before.length);
  expect(during.length).toBeGreaterThan(before.length);
  const other = join(place, 'restored');
  await restore({ folder, home: other, keys });
  const stack = await start(other);
  const restored = await idsIn(stack);
  expect(restored).toEqual(expect.arrayContaining(before));
  // One moment: a prefix of the log, nothing twice and nothing left out.
  await stack.stop({ keepHome: true });
  const original = await start(home);
  const all = await idsIn(original);
  await original.stop({ keepHome: true });
  expect(all.slice(0, restored.length)).toEqual(restored);
  expect(readFileSync(join(other, 'blobs', 'ab', 'abcdef'))).toEqual(readFileSync(join(home, 'blobs', 'ab', 'abcdef')));
  expect(readFileSync(join(other, 'secrets.json'))).toEqual(readFileSync(join(home, 'secrets.json')));
});

it('leaves nothing behind in the server, and keys apart from the data', () => {
  expect(existsSync(`${folder}.verify`)).toBe(false);
  expect(existsSync(join(folder, 'secrets.json'))).toBe(false);
  expect(statSync(join(keys, 'secrets.json')).mode & 0o077).toBe(0);
  expect(statSync(folder).mode & 0o077).toBe(0);
});

it('of a stopped home is the same', async () => {
  const cold = join(place, 'cold');
  const { head } = await backup({ settings, folder: cold, blobs: false, keys: undefined, verify: false });
  const other = join(place, 'of-cold');
  await restore({ folder: cold, home: other, keys });
  const stack = await start(other);
  expect((await idsIn(stack)).length).toBeLessThanOrEqual(head!);
  expect(existsSync(join(other, 'blobs'))).toBe(false);
  await stack.stop({ keepHome: true });
});

describe('refuses', () => {
  const code = (promise: Promise<unknown>) => promise.catch((error: { code: string }) => error.code);
  const fresh = () => join(place, randomBytes(4).toString('hex'));
  const take = (into: string, of = settings) =>
    backup({ settings: of, folder: into, blobs: true, keys: undefined, verify: false });

  it('to overwrite', async () => {
    expect(await code(take(folder))).toBe('BACKUP_FOLDER_NOT_EMPTY');
    expect(await code(restore({ folder, home, keys }))).toBe('RESTORE_HOME_NOT_EMPTY');
  });

  it('a home without a database of its own', async () => {
    expect(await code(take(fresh(), loadSettings({ PICTURELOCK_HOME: fresh() })))).toBe('BACKUP_NOTHING_EMBEDDED');
  });

  it('a backup that is damaged, unfinished or newer', async () => {
    const file = join(folder, manifest.files.find(({ size }) => size > 8_192)!.path);
    const whole = readFileSync(file);
    const bent = Buffer.from(whole);
    bent[5_000]! ^= 1;
    writeFileSync(file, bent);
    expect(await code(restore({ folder, home: fresh(), keys }))).toBe('BACKUP_DAMAGED');
    writeFileSync(file, whole);
    const text = readFileSync(join(folder, 'manifest.json'), 'utf8');
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, format: 99 }));
    expect(await code(restore({ folder, home: fresh(), keys }))).toBe('BACKUP_NEWER');
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, homeVersion: 99 }));
    expect(await code(restore({ folder, home: fresh(), keys }))).toBe('BACKUP_NEWER');
    rmSync(join(folder, 'manifest.json'));
    expect(await code(restore({ folder, home: fresh(), keys }))).toBe('BACKUP_INCOMPLETE');
    writeFileSync(join(folder, 'manifest.json'), text);
  });
});
