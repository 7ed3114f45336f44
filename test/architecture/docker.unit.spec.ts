import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parse } from 'yaml';
import { loadConfig, variables } from '#libs/runtime/index.js';
import { ROOT } from '../support/build.js';

const DOCKER = join(ROOT, 'docker');
const OURS = ['api', 'projector', 'workers'];

interface Service {
  image?: string;
  build?: { context: string; dockerfile: string };
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  healthcheck?: { test: string[] };
  depends_on?: Record<string, { condition: string }>;
  stop_grace_period?: string;
}
interface Compose {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
}

const text = readFileSync(join(DOCKER, 'compose.yaml'), 'utf8');
const compose = parse(text, { merge: true }) as Compose;
const example = Object.fromEntries(
  readFileSync(join(DOCKER, '.env.example'), 'utf8')
    .split('\n')
    .filter((line) => /^[A-Z]/.test(line))
    .map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
);

/** `${NAME}`, `${NAME:?}`, `${NAME:-default}` as compose fills them in. */
const fill = (value: string, values: Record<string, string>): string =>
  String(value).replace(/\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}/g, (_, name: string, fallback?: string) => {
    return values[name] || fallback || '';
  });

/** Settings that no variable of ours is called. */
const unknown = (environment: Record<string, string>): string[] =>
  Object.keys(environment).filter((name) => !(name in variables.shape));

describe('compose.yaml', () => {
  it.each(OURS)('%s: every setting it passes exists, and together they are a configuration', (name) => {
    const { environment = {} } = compose.services[name]!;
    expect(unknown(environment)).toEqual([]);
    const key = Buffer.alloc(32, 3).toString('base64url');
    const secrets = Object.fromEntries(
      Object.keys(example).map((each) => [each, /_KEY$/.test(each) ? key : 'aVeryLongSecret']),
    );
    const values = { ...secrets, PUBLIC_URL: example['PUBLIC_URL']! };
    const env = Object.fromEntries(Object.entries(environment).map(([k, v]) => [k, fill(v, values)]));
    const config = loadConfig({ ...env, PICTURELOCK_HOME: join(ROOT, 'docker', 'no-such-home') });
    expect(config.redisUrl).toContain('redis:6379');
    expect(config.storageUrl).toMatch(/^s3:/);
    expect(config.shutdownSeconds).toBeLessThan(Number.parseInt(compose.services[name]!.stop_grace_period!, 10));
  });

  it('such a check can fail', () => expect(unknown({ API_PORT: '1', API_PROT: '1' })).toEqual(['API_PROT']));

  it('asks for no secret that .env.example does not list, and lists none that nobody reads', () => {
    const asked = new Set([...text.matchAll(/\$\{(\w+)/g)].map(([, name]) => name!));
    expect([...asked].sort()).toEqual(Object.keys(example).sort());
    // Secrets have no default: compose must stop, not start with an empty password.
    for (const name of asked) {
      if (name !== 'PUBLIC_URL') expect(text).not.toMatch(new RegExp(`\\$\\{${name}(\\}|:-)`));
    }
    for (const [name, value] of Object.entries(example))
      if (name !== 'PUBLIC_URL') expect([name, value]).toEqual([name, '']);
  });

  it('pins every image to a version', () => {
    for (const [name, { image, build }] of Object.entries(compose.services)) {
      if (build) continue;
      expect([name, image]).toEqual([name, expect.stringMatching(/^[\w./-]+:(?!latest)[\w.-]*\d[\w.-]*$/)]);
    }
  });

  it('has real KurrentDB, Postgres, Redis and S3, each with a health check that our services wait for', () => {
    const images = Object.values(compose.services)
      .map(({ image = '' }) => image)
      .join(' ');
    for (const part of ['kurrentdb:', 'postgres:', 'redis:', 'minio:']) expect(images).toContain(part);
    for (const name of OURS) {
      for (const [other, { condition }] of Object.entries(compose.services[name]!.depends_on ?? {})) {
        const target = compose.services[other];
        expect(target).toBeDefined();
        if (condition === 'service_healthy') expect(target!.healthcheck?.test.length).toBeGreaterThan(1);
      }
    }
  });

  it('keeps what must last in named volumes, and opens ports to this machine alone', () => {
    const used = Object.values(compose.services)
      .flatMap(({ volumes = [] }) => volumes)
      .map((volume) => volume.split(':')[0]!)
      .filter((volume) => !volume.startsWith('.'));
    expect([...new Set(used)].sort()).toEqual(Object.keys(compose.volumes).sort());
    for (const { volumes = [] } of Object.values(compose.services)) {
      for (const volume of volumes.filter((each) => each.startsWith('.'))) {
        expect(existsSync(join(DOCKER, volume.split(':')[0]!))).toBe(true);
      }
    }
    for (const { ports = [] } of Object.values(compose.services)) {
      for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
    }
  });

  it('starts programs that a build makes, with durability on', () => {
    for (const name of OURS) {
      const { command, build } = compose.services[name]!;
      expect(command).toEqual(['node', `dist/apps/${name}/main.js`]);
      expect(existsSync(join(DOCKER, build!.context, build!.dockerfile))).toBe(true);
    }
    for (const setting of ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on']) {
      expect(compose.services['postgres']!.command).toContain(setting);
    }
  });

  it('makes the databases that its URLs name', () => {
    const sql = readFileSync(join(DOCKER, 'postgres-init.sql'), 'utf8');
    for (const name of ['read', 'jobs', 'secrets']) expect(sql).toContain(`CREATE DATABASE picturelock_${name};`);
  });
});

interface Instruction {
  name: string;
  args: string;
}

/** Instructions of a Dockerfile, continued lines joined, comments dropped. */
function instructions(source: string): Instruction[] {
  return source
    .split('\n')
    .filter((line) => !line.trim().startsWith('#'))
    .join('\n')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => /^([A-Z]+)\s+(.*)$/.exec(line.trim()))
    .filter((match) => match !== null)
    .map(([, name, args]) => ({ name: name!, args: args!.replace(/\s+/g, ' ') }));
}

/** What is wrong with a Dockerfile of ours. */
function lint(source: string): string[] {
  const all = instructions(source);
  const problems: string[] = [];
  const stages = all.filter(({ name }) => name === 'FROM').map(({ args }) => /^(\S+)(?: AS (\S+))?$/.exec(args));
  if (stages.length < 2) problems.push('one stage: tools of the build end up in the image');
  for (const stage of stages) {
    if (!stage || !/:\d+\.\d+/.test(stage[1]!)) problems.push(`not pinned: ${stage?.[1]}`);
    else if (!/^node:(?:20\.(?:19|[2-9]\d)|2[2-9]\.|[3-9]\d)/.test(stage[1]!))
      problems.push(`Node too old: ${stage[1]}`);
  }
  const last = all.slice(all.map(({ name }) => name).lastIndexOf('FROM'));
  const of = (name: string): Instruction[] => last.filter((instruction) => instruction.name === name);
  const user = of('USER').at(-1)?.args;
  if (!user || /^(root|0)\b/.test(user)) problems.push('runs as root');
  for (const name of ['HEALTHCHECK', 'VOLUME', 'ENTRYPOINT', 'CMD'])
    if (of(name).length !== 1) problems.push(`no ${name}`);
  for (const name of ['ENTRYPOINT', 'CMD']) {
    if (of(name).some(({ args }) => !args.startsWith('['))) problems.push(`${name} in shell form: signals get lost`);
  }
  if (!last.some(({ name, args }) => name === 'RUN' && /apt-get install[^&]* ffmpeg/.test(args)))
    problems.push('no ffmpeg');
  for (const { name, args } of all) {
    if (name === 'RUN' && args.includes('apt-get install')) {
      if (!args.includes('apt-get update')) problems.push('install without update: stale package lists');
      if (!args.includes('--no-install-recommends')) problems.push('install with recommends');
      if (!args.includes('rm -rf /var/lib/apt/lists')) problems.push('package lists stay in the image');
    }
    if (name === 'ADD') problems.push('ADD: use COPY');
    if (name === 'RUN' && /\bnpm install\b/.test(args)) problems.push('npm install: use npm ci');
    if (/^(ENV|ARG)$/.test(name) && /(KEY|PASSWORD|SECRET|TOKEN)/.test(args)) problems.push('a secret in the image');
    const from = /^--from=(\S+)/.exec(args)?.[1];
    if (name === 'COPY' && from && !stages.some((stage) => stage?.[2] === from)) problems.push(`no stage ${from}`);
    if (name === 'COPY' && !from) {
      for (const source of args.split(' ').slice(0, -1)) {
        if (!existsSync(join(ROOT, source))) problems.push(`COPY of ${source}, which is not there`);
      }
    }
  }
  for (const { args } of of('ENV')) {
    for (const [, name] of args.matchAll(/(?:^| )([A-Z_]+)=/g)) {
      if (!(name! in variables.shape)) problems.push(`unknown setting ${name}`);
    }
  }
  return problems;
}

describe('Dockerfile', () => {
  const dockerfile = readFileSync(join(DOCKER, 'Dockerfile'), 'utf8');
  it('is clean', () => expect(lint(dockerfile)).toEqual([]));

  it.each([
    ['USER node', 'USER root', 'runs as root'],
    ['HEALTHCHECK', '# HEALTHCHECK', 'no HEALTHCHECK'],
    ['PICTURELOCK_HOME=', 'PICTURELOK_HOME=', 'unknown setting PICTURELOK_HOME'],
    ['CMD ["node", "dist/apps/api/main.js"]', 'CMD node dist/apps/api/main.js', 'CMD in shell form: signals get lost'],
    ['--from=packages', '--from=package', 'no stage package'],
    ['node:20.19.4', 'node:18.19.4', 'Node too old: node:18.19.4-bookworm-slim'],
    ['npm ci', 'npm install', 'npm install: use npm ci'],
    ['docker/healthcheck.mjs ./', 'docker/healthchek.mjs ./', 'COPY of docker/healthchek.mjs, which is not there'],
  ])('the check sees %s → %s', (good, bad, problem) => {
    expect(dockerfile).toContain(good);
    expect(lint(dockerfile.replace(good, bad))).toContain(problem);
  });

  it('runs the same user that owns the volume', () =>
    expect(dockerfile).toMatch(/chown node:node \/var\/lib\/picturelock/));
});

describe('healthcheck.mjs', () => {
  it.each([
    ['API_PORT', 200, 0],
    ['HEALTH_PORT', 200, 0],
    ['API_PORT', 503, 1],
  ])('by %s, answer %d: exit code %d', async (variable, status, code) => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url!);
      response.writeHead(status).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const port = String((server.address() as AddressInfo).port);
      const exit = await run({ [variable]: port });
      expect(exit).toBe(code);
      expect(asked).toEqual(['/health/ready']);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('nobody there: exit code 1', async () => expect(await run({ API_PORT: '1' })).toBe(1));

  async function run(env: Record<string, string>): Promise<number | null> {
    const { spawn } = await import('node:child_process');
    const child = spawn(process.execPath, [join(DOCKER, 'healthcheck.mjs')], { env, stdio: 'ignore' });
    return new Promise((resolve) => child.once('exit', resolve));
  }
});

it('.ci/run is valid shell, without a terminal', () => {
  const script = join(ROOT, '.ci', 'run');
  expect(spawnSync('bash', ['-n', script]).status).toBe(0);
  expect(readFileSync(script, 'utf8')).toContain('npm test');
});
