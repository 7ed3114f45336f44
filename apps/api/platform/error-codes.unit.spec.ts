import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MEDIA_ERROR_CODES } from '#libs/media/index.js';
import { CREDENTIAL_ERRORS, describeErrors, ERROR_TABLES } from './error-codes.js';

const sources = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !/\.(spec|fixture)\.ts$|error-codes\.ts$/.test(name))
    .map((name) => readFileSync(join(folder, name), 'utf8'));

/** Codes a source refuses with: `refuse('X'…`, `code: 'X'`, and `(response, 403, 'X'` of the HTTP edge. */
const codesIn = (source: string): string[] =>
  [...source.matchAll(/(?:(?:refuse|over|bodyError)\(\s*|\bcode: |\b[1-5]\d\d,\s*)'([A-Z]+(?:_[A-Z]+)*)'/g)].map(
    ([, code]) => code!,
  );

const documented = new Set<string>(ERROR_TABLES.flatMap(({ codes }) => Object.keys(codes)));

describe('docs/errors.md', () => {
  it('is what the tables say (run `npm run docs` after a change)', () => {
    expect(readFileSync('docs/errors.md', 'utf8')).toBe(describeErrors());
  });

  it('has every code the api, its libraries and the workers use', () => {
    const used = ['apps/api', 'libs/application', 'libs/events/log', 'libs/read-models', 'libs/secrets'].flatMap(
      (folder) => sources(folder).flatMap(codesIn),
    );
    expect(used.length).toBeGreaterThan(30);
    expect([...new Set(used)].filter((code) => !documented.has(code))).toEqual([]);
    for (const code of MEDIA_ERROR_CODES) expect(documented).toContain(code);
  });

  it('lists for credentials exactly what they refuse with', () => {
    expect(Object.keys(CREDENTIAL_ERRORS).sort()).toEqual(
      [...new Set(sources('libs/secrets').flatMap(codesIn))].sort(),
    );
  });

  it('finds codes where they are written', () => {
    expect(
      codesIn("refuse('A_B', 'x'); refuse(\n  'C', 'y'); { code: 'D_E' }; refuse(response, 403, 'F_G', 'z')"),
    ).toEqual(['A_B', 'C', 'D_E', 'F_G']);
  });
});
