import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { jest } from '@jest/globals';
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import { ROOT } from '../support/build.js';
import { forbidden, ROOMS } from './rooms.js';

jest.setTimeout(180_000);

interface Violation {
  rule: string;
  from: string;
  to: string;
}

async function violations(root: string): Promise<{ found: Violation[]; modules: string[] }> {
  const { output } = await cruise(
    ['libs', 'apps'],
    {
      baseDir: root,
      ruleSet: { forbidden: forbidden() },
      validate: true,
      tsPreCompilationDeps: true,
      preserveSymlinks: true,
      doNotFollow: { path: 'node_modules' },
      exclude: { path: '\\.spec\\.tsx?$|^apps/web/(dist|src/generated)/' },
    },
    {
      conditionNames: ['source', 'import', 'node', 'default'],
      extensions: ['.ts', '.tsx', '.js', '.mjs', '.json'],
      exportsFields: ['exports'],
    },
  );
  const { summary, modules } = output as ICruiseResult;
  return {
    found: summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to })),
    modules: modules.map(({ source }) => source),
  };
}

describe('the rooms of the house', () => {
  it('every folder is a room with a rule', () => {
    const folders = (place: string): string[] =>
      readdirSync(join(ROOT, place), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => `${place}/${name}`);
    const there = [...folders('libs'), ...folders('libs/events'), ...folders('apps')];
    const known = ROOMS.map(({ name }) => name);
    expect(there.filter((name) => name !== 'libs/events' && !known.includes(name))).toEqual([]);
  });

  it('keep to themselves', async () => {
    const { found, modules } = await violations(ROOT);
    // An empty list must mean that the files were read, not that none were found.
    for (const { name, path } of ROOMS.filter((room) => existsSync(join(ROOT, room.name, 'index.ts')))) {
      expect({ name, files: modules.filter((source) => new RegExp(path).test(source)).length > 0 }).toEqual({
        name,
        files: true,
      });
    }
    expect(found).toEqual([]);
  });
});

describe('the rules', () => {
  /** File, what it imports, the rule that must object. */
  const planted: [string, string, string][] = [
    ['libs/events/catalogue/a.ts', '#libs/media/index.js', 'libs/events/catalogue: rooms'],
    ['libs/events/catalogue/b.ts', 'pg', 'libs/events/catalogue: packages'],
    ['libs/events/catalogue/c.ts', 'node:fs', 'libs/events/catalogue: node'],
    ['libs/events/log/a.ts', '#libs/domain/index.js', 'libs/events/log: rooms'],
    ['libs/events/log/b.ts', 'pg', 'libs/events/log: packages'],
    ['libs/domain/a.ts', '#libs/events/log/index.js', 'libs/domain: rooms'],
    ['libs/domain/b.ts', '../media/index.js', 'libs/domain: rooms'],
    ['libs/domain/c.ts', 'node:crypto', 'libs/domain: node'],
    ['libs/domain/d.ts', 'rxjs', 'libs/domain: packages'],
    ['libs/media/a.ts', '#libs/events/catalogue/index.js', 'libs/media: rooms'],
    ['libs/postgres/a.ts', '#libs/runtime/index.js', 'libs/postgres: rooms'],
    ['libs/postgres/b.ts', 'zod', 'libs/postgres: packages'],
    ['libs/runtime/a.ts', '#libs/postgres/index.js', 'libs/runtime: rooms'],
    ['libs/secrets/a.ts', '#libs/runtime/index.js', 'libs/secrets: rooms'],
    ['libs/read-models/a.ts', '#libs/domain/index.js', 'libs/read-models: rooms'],
    ['libs/read-models/b.ts', 'express', 'libs/read-models: packages'],
    ['libs/jobs/a.ts', '#libs/events/catalogue/index.js', 'libs/jobs: rooms'],
    ['libs/ledger/a.ts', '#libs/events/log/index.js', 'libs/ledger: rooms'],
    ['libs/ledger/b.ts', 'pg', 'libs/ledger: packages'],
    ['libs/application/a.ts', '#libs/jobs/index.js', 'libs/application: rooms'],
    ['libs/media/b.ts', '#apps/api/index.js', 'libs/media: rooms'],
    ['apps/eventstore/a.ts', '#libs/postgres/index.js', 'apps/eventstore: rooms'],
    ['apps/api/a.ts', '#apps/workers/index.js', 'apps/api: rooms'],
    ['apps/projector/a.ts', '#libs/domain/index.js', 'apps/projector: rooms'],
    ['apps/workers/a.ts', '../projector/index.js', 'apps/workers: rooms'],
    ['apps/studio/a.ts', '#apps/api/index.js', 'apps/studio: rooms'],
    ['apps/studio/b.ts', '#libs/events/log/index.js', 'apps/studio: rooms'],
    ['apps/web/a.ts', '#libs/media/index.js', 'apps/web: rooms'],
    ['apps/api/b.ts', './nowhere.js', 'what is imported exists'],
    ['apps/workers/b.ts', '../../test/support/database.js', 'apps/workers: rooms'],
  ];
  const allowed: [string, string][] = [
    ['libs/domain/ok.ts', '#libs/media/timecode.js'],
    ['libs/domain/ok2.ts', '#libs/events/catalogue/index.js'],
    ['libs/events/catalogue/ok.ts', 'zod'],
    ['libs/events/catalogue/ok2.ts', 'node:crypto'],
    ['libs/postgres/ok.ts', 'pg'],
    ['libs/jobs/ok.ts', '#libs/postgres/index.js'],
    ['apps/api/ok.ts', '#libs/domain/index.js'],
  ];

  it('find every planted violation, and nothing else', async () => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), 'picturelock-rooms-')));
    const put = (file: string, text: string): void => {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), text);
    };
    try {
      for (const { name } of ROOMS) put(`${name}/index.ts`, 'export const here = true;\n');
      put('libs/media/timecode.ts', 'export const here = true;\n');
      put('test/support/database.ts', 'export const here = true;\n');
      for (const [file, target] of [...planted, ...allowed])
        put(file, `import * as x from '${target}';\nexport { x };\n`);
      copyFileSync(join(ROOT, 'package.json'), join(root, 'package.json'));
      symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
      const { found } = await violations(root);
      const seen = [...new Set(found.map(({ rule, from }) => `${from} | ${rule}`))].sort();
      const wanted = [...planted.map(([file, , rule]) => `${file} | ${rule}`)].sort();
      expect(seen).toEqual(wanted);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});
