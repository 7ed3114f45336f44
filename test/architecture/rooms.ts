import type { IForbiddenRuleType } from 'dependency-cruiser';

/** What one room may reach: our own rooms, packages of npm, and what of Node. */
export interface Room {
  name: string;
  /** Source paths, from the root. */
  path: string;
  /** Other rooms, as path patterns. Its own files are always allowed. */
  rooms: string[];
  /** Packages; 'any' for those at the edges. */
  packages: 'any' | string[];
  /** Modules of Node; 'none' keeps a room pure. */
  node: 'any' | 'none' | string[];
}

const lib = (name: string): string => `^libs/${name}/`;
const LIBS = '^libs/';

/** The table of ARCHITECTURE.md, written as data. */
export const ROOMS: readonly Room[] = [
  // Commands as api and workers both send them: domain and log joined, no edge of any kind.
  {
    name: 'libs/application',
    path: lib('application'),
    rooms: [lib('domain'), lib('events'), lib('secrets'), '^libs/media/(timecode|result)\\.ts$'],
    packages: ['zod'],
    node: ['crypto', 'timers/promises'],
  },
  { name: 'libs/events/catalogue', path: lib('events/catalogue'), rooms: [], packages: ['zod'], node: ['crypto'] },
  {
    name: 'libs/events/log',
    path: lib('events/log'),
    rooms: [lib('events/catalogue')],
    packages: ['@grpc/grpc-js', '@kurrent/kurrentdb-client', 'zod'],
    node: 'any',
  },
  {
    name: 'libs/domain',
    path: lib('domain'),
    // Timecode arithmetic is pure, and so is the result type it answers with.
    rooms: [lib('events/catalogue'), '^libs/media/(timecode|result)\\.ts$'],
    packages: ['zod'],
    node: 'none',
  },
  { name: 'libs/media', path: lib('media'), rooms: [], packages: 'any', node: 'any' },
  { name: 'libs/postgres', path: lib('postgres'), rooms: [], packages: ['pg'], node: 'any' },
  { name: 'libs/runtime', path: lib('runtime'), rooms: [], packages: ['pino', 'prom-client', 'zod'], node: 'any' },
  {
    name: 'libs/secrets',
    path: lib('secrets'),
    // Refusals have one shape, and the catalogue owns it.
    rooms: [lib('postgres'), lib('events/catalogue')],
    packages: 'any',
    node: 'any',
  },
  {
    name: 'libs/read-models',
    path: lib('read-models'),
    // Entities name the catalogue's closed sets; making a schema needs a connection. Neither the log nor the domain.
    rooms: [lib('events/catalogue'), lib('postgres')],
    packages: ['typeorm', 'reflect-metadata', 'pg'],
    node: ['crypto'],
  },
  {
    name: 'libs/ledger',
    path: lib('ledger'),
    // It hashes what any server gives, known to the catalogue or not: past our own door to the log.
    rooms: [lib('postgres')],
    packages: ['@kurrent/kurrentdb-client', 'zod'],
    node: 'any',
  },
  // A cache for the executor; what it keeps is the log's.
  {
    name: 'libs/snapshots',
    path: lib('snapshots'),
    rooms: [lib('events/log'), lib('postgres')],
    packages: [],
    node: ['util', 'zlib'],
  },
  { name: 'libs/jobs', path: lib('jobs'), rooms: [lib('postgres')], packages: 'any', node: 'any' },
  { name: 'apps/eventstore', path: '^apps/eventstore/', rooms: [], packages: 'any', node: 'any' },
  { name: 'apps/api', path: '^apps/api/', rooms: [LIBS], packages: 'any', node: 'any' },
  {
    name: 'apps/projector',
    path: '^apps/projector/',
    rooms: [
      lib('events'),
      lib('read-models'),
      lib('postgres'),
      lib('secrets'),
      lib('runtime'),
      '^libs/media/timecode\\.ts$',
    ],
    packages: 'any',
    node: 'any',
  },
  { name: 'apps/workers', path: '^apps/workers/', rooms: [LIBS], packages: 'any', node: 'any' },
  // The launcher starts the others as processes; it reads settings and runs Postgres. Verifying a ledger needs nobody.
  {
    name: 'apps/studio',
    path: '^apps/studio/',
    rooms: [lib('runtime'), lib('postgres'), lib('media'), lib('ledger')],
    packages: 'any',
    node: 'any',
  },
  { name: 'apps/web', path: '^apps/web/', rooms: [], packages: 'any', node: 'none' },
];

/** Specs and their fixtures may reach further (the test database); tools of a build aren't part of a room. */
export const NOT_PRODUCT =
  '\\.(spec|fixture)\\.tsx?$|(^|/)testing/|/testmedia\\.ts$|^apps/web/(vite\\.config\\.ts|codegen\\.mjs|dist/)|^apps/studio/demo';

const escape = (text: string): string => text.replace(/[/.\-@]/g, '\\$&');

/** Rules for dependency-cruiser, one per room and kind of thing it reaches. */
export function forbidden(): IForbiddenRuleType[] {
  const rules = ROOMS.flatMap(({ name, path, rooms, packages, node }): IForbiddenRuleType[] => [
    {
      name: `${name}: rooms`,
      severity: 'error',
      from: { path, pathNot: NOT_PRODUCT },
      to: { path: '^(libs|apps|test|scripts|bin)/', pathNot: [path, ...rooms] },
    },
    ...(packages === 'any'
      ? []
      : [
          {
            name: `${name}: packages`,
            severity: 'error' as const,
            from: { path, pathNot: NOT_PRODUCT },
            to: {
              path: '(^|/)node_modules/',
              pathNot: packages.map((p) => `(^|/)node_modules/(@types/)?${escape(p)}/`),
            },
          },
        ]),
    ...(node === 'any'
      ? []
      : [
          {
            name: `${name}: node`,
            severity: 'error' as const,
            from: { path, pathNot: NOT_PRODUCT },
            to: {
              dependencyTypes: ['core' as const],
              ...(node === 'none' ? {} : { pathNot: node.map((module) => `^(node:)?${module}$`) }),
            },
          },
        ]),
  ]);
  return [
    ...rules,
    {
      name: 'what is imported exists',
      severity: 'error',
      from: { pathNot: `${NOT_PRODUCT}|^apps/web/` },
      to: { couldNotResolve: true },
    },
  ];
}
