import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileSource, readBytes, type ByteSource } from '../bytes.js';
import { unwrap } from '../result.js';
import { findMember, indexTar, memberSource } from './index.js';

const run = promisify(execFile);
const LONG = `${'deep/'.repeat(30)}a name that no header has room for, ${'x'.repeat(120)}.mov`;
let folder: string;
let files: Map<string, Buffer>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-tar-'));
  files = new Map([
    ['clip.mov', randomBytes(100_000)],
    ['empty.txt', Buffer.alloc(0)],
    ['one block.bin', randomBytes(512)],
    ['Müller – Schnitt.mp4', randomBytes(700)],
  ]);
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
  await mkdir(join(folder, 'sub'));
  await writeFile(join(folder, 'sub/last.bin'), 'last');
  files.set('sub/last.bin', Buffer.from('last'));
  await symlink('clip.mov', join(folder, 'link'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function tar(...args: string[]): Promise<string> {
  return (await run('tar', args, { cwd: folder })).stdout;
}

async function contents(archive: ByteSource, name: string): Promise<Buffer> {
  const index = unwrap(await indexTar(archive));
  const member = unwrap(memberSource(archive, unwrap(findMember(index, name))));
  return readBytes(member, 0, member.size);
}

test.each(['pax', 'gnu', 'ustar', 'v7', 'oldgnu'])('what tar writes as %s is found as tar lists it', async (format) => {
  const long = format === 'pax' || format === 'gnu';
  if (long) {
    await mkdir(join(folder, LONG, '..'), { recursive: true });
    await writeFile(join(folder, LONG), 'long');
  }
  const names = [...files.keys(), 'link', ...(long ? [LONG] : [])];
  await tar('-c', `--format=${format}`, '-f', `${format}.tar`, ...names);
  const archive = await fileSource(join(folder, `${format}.tar`));
  const index = unwrap(await indexTar(archive));
  expect(index.ended).toBe(true);
  const listed = (await tar('-t', '--quoting-style=literal', '-f', `${format}.tar`)).trimEnd().split('\n');
  expect(index.members.map(({ name }) => name)).toEqual(listed);
  expect(index.members.find(({ name }) => name === 'link')).toMatchObject({ kind: 'LINK', size: 0 });
  for (const [name, bytes] of files) expect((await contents(archive, name)).equals(bytes)).toBe(true);
  if (long) expect((await contents(archive, LONG)).toString()).toBe('long');
});

test('a name that is there twice is the later one, a folder or a sparse member can’t be read in place', async () => {
  await writeFile(join(folder, 'holes'), 'x');
  await truncate(join(folder, 'holes'), 5 << 20);
  await tar('-c', '--format=pax', '-f', 'more.tar', 'sub', 'sub/last.bin');
  await tar('-r', '--format=pax', '-f', 'more.tar', '--transform=s,clip.mov,sub/last.bin,', 'clip.mov');
  await tar('-r', '--format=pax', '--sparse', '-f', 'more.tar', 'holes');
  await tar('-c', '--format=oldgnu', '--sparse', '-f', 'old.tar', 'holes', 'sub/last.bin');
  const archive = await fileSource(join(folder, 'more.tar'));
  const index = unwrap(await indexTar(archive));
  expect((await contents(archive, 'sub/last.bin')).equals(files.get('clip.mov')!)).toBe(true);
  const read = (name: string) => memberSource(archive, unwrap(findMember(index, name)));
  expect(read('sub/')).toMatchObject({ error: { code: 'MEMBER_NOT_READABLE' } });
  expect(read('holes')).toMatchObject({ error: { code: 'MEMBER_NOT_READABLE' } });
  expect(findMember(index, 'nothing')).toMatchObject({ error: { code: 'MEMBER_NOT_FOUND' } });
  const old = await fileSource(join(folder, 'old.tar'));
  expect(unwrap(await indexTar(old)).members.map(({ kind }) => kind)).toEqual(['SPARSE', 'FILE']);
  expect((await contents(old, 'sub/last.bin')).toString()).toBe('last');
});

/** Makes a header lie, with its checksum right. */
function forge(header: Buffer, change: (header: Buffer) => void): void {
  change(header);
  header.fill(0x20, 148, 156);
  const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/**
 * An archive of 130 GB of which the disk keeps a few kilobytes: tar's own headers, with sizes put into them, around holes. One size
 * is in a pax record, the other in base 256.
 */
async function hugeArchive(): Promise<{ path: string; names: string[] }> {
  const path = join(folder, 'huge.tar');
  await writeFile(join(folder, 'a.mov'), 'a');
  await writeFile(join(folder, 'z.mov'), 'the last member');
  const headers: Buffer[] = [];
  for (const [name, size] of [
    ['a.mov', 68 * 2 ** 30 + 1],
    ['b.mov', 62 * 2 ** 30],
  ] as const) {
    await tar('-c', '--format=gnu', `--transform=s,a.mov,${name},`, '-f', 'one.tar', 'a.mov');
    const header = (await readFile(join(folder, 'one.tar'))).subarray(0, 512);
    const base256 = Buffer.alloc(12);
    base256.writeBigUInt64BE(BigInt(size), 4);
    base256[0] = 0x80;
    forge(header, () => base256.copy(header, 124));
    headers.push(header);
  }
  await tar('-c', '--format=pax', '-f', 'one.tar', 'z.mov');
  const end = await readFile(join(folder, 'one.tar'));
  const handle = await open(path, 'w');
  let at = 0;
  for (const [index, size] of [68 * 2 ** 30 + 1, 62 * 2 ** 30].entries()) {
    await handle.write(headers[index]!, 0, 512, at);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  await handle.write(end, 0, end.length, at);
  await handle.close();
  return { path, names: ['a.mov', 'b.mov', 'z.mov'] };
}

test('a member of an archive of 130 GB is opened by a handful of small reads, and tar lists the same', async () => {
  const { path, names } = await hugeArchive();
  const file = await fileSource(path);
  let [reads, bytes] = [0, 0];
  // As from an object store: everything goes through ranges.
  const counted: ByteSource = {
    size: file.size,
    file: null,
    open: (range) => {
      reads += 1;
      bytes += range!.end - range!.start + 1;
      return file.open(range);
    },
  };
  const index = unwrap(await indexTar(counted));
  expect(index.members.map(({ name }) => name)).toEqual(names);
  expect(index.members[0]!.size).toBe(68 * 2 ** 30 + 1);
  expect((await tar('-t', '-f', path)).trimEnd().split('\n')).toEqual(names);
  expect((await contents(counted, 'z.mov')).toString()).toBe('the last member');
  expect(reads).toBeLessThan(12);
  expect(bytes).toBeLessThan(1 << 20);
});

test('damage has a code and the place, never a wrong member', async () => {
  await tar('-c', '--format=pax', '-f', 'whole.tar', 'clip.mov', 'empty.txt', 'sub/last.bin');
  const whole = await readFile(join(folder, 'whole.tar'));
  const indexed = async (bytes: Buffer) => {
    await writeFile(join(folder, 'damaged.tar'), bytes);
    return indexTar(await fileSource(join(folder, 'damaged.tar')));
  };
  const healthy = unwrap(await indexed(whole));
  const changed = (change: (header: Buffer) => void) => {
    const bytes = Buffer.from(whole);
    forge(bytes, change);
    return bytes;
  };
  const size = (value: string | Buffer) => changed((header) => header.fill(0, 124, 136).set(Buffer.from(value), 124));
  const invalid = {
    ok: false,
    error: { code: 'ARCHIVE_INVALID', message: expect.stringContaining('byte 0') as string },
  };
  expect(await indexed(size('7x'))).toMatchObject(invalid);
  expect(await indexed(size(Buffer.alloc(12, 0xff)))).toMatchObject(invalid);
  expect(await indexed(size(Buffer.concat([Buffer.from([0x80]), Buffer.alloc(11, 0xff)])))).toMatchObject(invalid);
  expect(await indexed(size('77777777777'))).toMatchObject({ ok: false });
  expect(await indexed(changed((header) => header.write('5', 156)))).toMatchObject({ ok: false });
  expect(await indexed(Buffer.from('not an archive at all'.repeat(100)))).toMatchObject(invalid);
  expect(await indexed(Buffer.alloc(0))).toEqual({ ok: true, value: { members: [], ended: false } });
  for (const cut of [100, 600, 50_000, 101_000]) {
    expect(await indexed(whole.subarray(0, cut))).toMatchObject({ ok: false, error: { code: 'ARCHIVE_TRUNCATED' } });
  }
  const last = healthy.members.at(-1)!;
  expect(unwrap(await indexed(whole.subarray(0, last.offset + last.size)))).toEqual({ ...healthy, ended: false });
  // Any flipped byte: the same members, or a code.
  for (let tries = 0; tries < 300; tries += 1) {
    const bytes = Buffer.from(whole);
    const header = tries % 2 ? 0 : healthy.members[2]!.offset - 512;
    bytes[header + ((tries * 7) % 512)]! ^= 1 << (tries % 8);
    const result = await indexed(bytes);
    if (result.ok)
      for (const { offset, size: length } of result.value.members)
        expect(offset + length).toBeLessThanOrEqual(bytes.length);
    else expect(['ARCHIVE_INVALID', 'ARCHIVE_TRUNCATED']).toContain(result.error.code);
  }
});
