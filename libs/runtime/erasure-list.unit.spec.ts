import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ERASURE_LIST, extendErasureList, readErasureList } from './erasure-list.js';

let folder: string;
let file: string;
const master = randomBytes(32);
const erasure = (erasedAt: string) => ({ person: randomUUID(), erasedAt });
const [first, second, third] = ['2026-01-01', '2026-02-01', '2026-03-01'].map((day) =>
  erasure(`${day}T00:00:00.000Z`),
) as [ReturnType<typeof erasure>, ReturnType<typeof erasure>, ReturnType<typeof erasure>];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'picturelock-erasures-'));
  file = join(folder, ERASURE_LIST);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('grows, names nobody twice and loses nothing', () => {
  expect(readErasureList(file, master)).toEqual([]);
  expect(extendErasureList(folder, master, [])).toBe(0);
  expect(existsSync(file)).toBe(true);
  expect(extendErasureList(folder, master, [second, first])).toBe(2);
  const before = readFileSync(file, 'utf8');
  expect(extendErasureList(folder, master, [third, first])).toBe(1);
  expect(extendErasureList(folder, master, [third])).toBe(0);
  expect(readErasureList(file, master)).toEqual([first, second, third]);
  expect(readFileSync(file, 'utf8').startsWith(before)).toBe(true);
  expect(readdirSync(folder)).toEqual([ERASURE_LIST]);
  expect(statSync(file).mode & 0o077).toBe(0);
});

it('is refused when a line was changed, dropped, put in or moved, and with another master key', () => {
  extendErasureList(folder, master, [first, second, third]);
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const [a, b, c] = lines as [string, string, string];
  const forged = [
    [a.replace(first.person, randomUUID()), b, c],
    [a.replace('2026-01-01', '2026-01-02'), b, c],
    [b, c],
    [a, c],
    [b, a, c],
    [a, a, b, c],
    [a, b, `${c.slice(0, -5)}`],
    ['{}', b, c],
    [a, 'nonsense'],
  ];
  for (const list of forged) {
    writeFileSync(file, list.map((text) => `${text}\n`).join(''));
    expect(() => readErasureList(file, master)).toThrow(expect.objectContaining({ code: 'ERASURE_LIST_INVALID' }));
    expect(() => extendErasureList(folder, master, [first])).toThrow(/line/);
    expect(readFileSync(file, 'utf8')).toBe(list.map((text) => `${text}\n`).join(''));
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
  expect(readErasureList(file, master)).toHaveLength(3);
  expect(() => readErasureList(file, randomBytes(32))).toThrow(/another installation/);
});
