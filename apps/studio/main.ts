import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isAlive, locateBinaries, stopOrphan } from '#libs/postgres/index.js';
import { ERASURE_LIST, loadSettings, readSecrets, type Settings, setupToken } from '#libs/runtime/index.js';
import { backup, restore } from './backup.js';
import { CONSOLE_USAGE, consoleVerb, isConsoleVerb } from './console.js';
import { demo, type DemoResult, isLogEmpty, loadDemo } from './demo-hook.js';
import { runningLauncher } from './home.js';
import { LEDGER_USAGE, ledgerVerb } from './ledger.js';
import { MEDIA_USAGE, mediaVerb } from './media.js';
import { checkMachine, type Finding, findProgram } from './machine.js';
import { installPackages } from './packages.js';
import { Progress } from './progress.js';
import { SERVICES, type Stack, startStack } from './stack.js';

const USAGE = `picturelock <command>

  start                 check this machine, start everything, show where it is; Ctrl-C stops it
        [--no-demo]     leave an empty log empty
        [--only a,b]    only these of eventstore, projector, api, workers (the rest runs elsewhere)
  stop                  stop the running one
  doctor [--install]    check this machine; with --install add what is missing
         [--tests]      also what the tests need (a browser, Redis, nginx)
         [--quiet]      say only what is wrong
  torture, bench        fault rounds and figures (see test/bench)
  backup <folder>       databases and blobs as of one moment, also while running, with checksums
        [--keys <folder>]  secrets.json and the list of erasures, apart from the data; without them personal data can't be read
        [--no-blobs]    leave the blobs to other means
        [--verify]      restore the copy into a temporary home and read everything there
  restore <folder>      make PICTURELOCK_HOME, new or empty, of a backup
        [--keys <folder>]  where the secrets.json is
        [--erasures <file>]  who was erased since; default: erasures.ndjson beside the keys
  log-url               connection string of the running event store, with the operator's credentials: keep it secret
  setup-token           what the mutation foundOrganisation asks for: it proves that this installation is yours
  version

Of the running one (each takes --json, and --url for another than this home's):
${CONSOLE_USAGE}
${LEDGER_USAGE}

${MEDIA_USAGE}

PICTURELOCK_HOME names the folder that holds everything (default: .picturelock in the project).
`;

/** The command line; resolves to the exit code. `build` brings the page up to date (the rest is built already). */
export async function main(argv: string[], tools: { build(target: 'web'): Promise<boolean> }): Promise<number> {
  const [command = 'help', ...rest] = argv;
  try {
    switch (command) {
      case 'start':
        return await start(loadSettings(process.env), rest, tools);
      case 'stop':
        return await stop(loadSettings(process.env));
      case 'doctor':
        return await doctor(loadSettings(process.env), rest);
      case 'backup':
        return await backupVerb(loadSettings(process.env), rest);
      case 'restore':
        return await restoreVerb(loadSettings(process.env), rest);
      case 'log-url':
        process.stdout.write(`${logUrl(loadSettings(process.env))}\n`);
        return 0;
      case 'setup-token':
        process.stdout.write(`${installationToken(loadSettings(process.env))}\n`);
        return 0;
      case 'ledger':
        return await ledgerVerb(rest, loadSettings(process.env), { screen: process.stdout, signal: interruption() });
      case 'media':
        return await mediaVerb(rest, { screen: process.stdout, complaints: process.stderr, signal: interruption() });
      case 'version':
      case '--version':
        process.stdout.write(`${await version()}\n`);
        return 0;
      case 'help':
      case '--help':
        process.stdout.write(USAGE);
        return 0;
      default:
        if (isConsoleVerb(command))
          return await consoleVerb(command, rest, loadSettings(process.env), {
            screen: process.stdout,
            signal: interruption(),
          });
        process.stderr.write(`There is no command "${command}".\n\n${USAGE}`);
        return 2;
    }
  } catch (error) {
    process.stderr.write(`\n${(error as Error).message}\n`);
    return 1;
  }
}

function interruption(): AbortSignal {
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  return abort.signal;
}

async function backupVerb(settings: Settings, args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { keys: { type: 'string' }, 'no-blobs': { type: 'boolean' }, verify: { type: 'boolean' } },
  });
  const [folder] = positionals;
  if (!folder || positionals.length > 1) throw new Error('backup <folder>: name the new folder that shall hold it');
  const progress = new Progress(process.stdout);
  const { head, files } = await backup({
    settings,
    folder,
    blobs: !values['no-blobs'],
    keys: values.keys,
    verify: values.verify ?? false,
    onStep: (text) => progress.step(text),
  });
  progress.done();
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const upTo = head === undefined ? '' : `, the log up to position ${head} or later`;
  progress.line(`backed up to ${folder}: ${files.length} files, ${Math.ceil(size / 1e6)} MB${upTo}`);
  if (!values.keys)
    progress.line('! secrets.json is not in it: keep a copy elsewhere (--keys), personal data is lost without it');
  return 0;
}

async function restoreVerb(settings: Settings, args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { keys: { type: 'string' }, erasures: { type: 'string' } },
  });
  const [folder] = positionals;
  if (!folder || positionals.length > 1) throw new Error('restore <folder>: name the folder of the backup');
  const progress = new Progress(process.stdout);
  const { createdAt } = await restore({
    folder,
    home: settings.home,
    keys: values.keys,
    erasures: values.erasures,
    onStep: (text) => progress.step(text),
  });
  progress.done();
  progress.line(`${settings.home} is as it was at ${createdAt}; start it as usual`);
  if (!existsSync(join(settings.home, ERASURE_LIST)))
    progress.line('! no list of erasures: who was erased since the backup can be read again (--erasures)');
  if (!values.keys) progress.line('! put its secrets.json there before you start, or personal data stays closed');
  return 0;
}

/** @throws Error when nothing runs */
function logUrl({ home }: Settings): string {
  const url = runningLauncher(home)?.eventStore;
  if (!url) throw new Error(`Picturelock does not run on ${home}: start it, its event store has no address otherwise`);
  return url;
}

/** @throws Error when this installation has no master key yet */
function installationToken({ home }: Settings): string {
  const key = process.env['MASTER_KEY'] || readSecrets(home)?.masterKey;
  if (!key) throw new Error(`${home} has no keys yet: start Picturelock once, or set MASTER_KEY`);
  return setupToken(Buffer.from(key, 'base64url'));
}

async function version(): Promise<string> {
  const file = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'package.json');
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
}

const show = ({ what, level, found, advice }: Finding): string =>
  `${{ ok: '✓', warning: '!', error: '✗' }[level]} ${what}: ${found}${advice ? `\n  ${advice}` : ''}`;

/** Checks the machine, installs ffmpeg when it is missing and may. Throws when something essential is not there. */
async function prepareMachine(settings: Settings, progress: Progress): Promise<void> {
  progress.step('checking this machine');
  const look = (): Finding[] =>
    checkMachine({
      home: settings.home,
      ffmpegPath: settings.media.ffmpegPath,
      ffprobePath: settings.media.ffprobePath,
    });
  let findings = look();
  if (findings.some(isMissingFfmpeg)) {
    progress.step('installing ffmpeg');
    await installPackages([{ apt: 'ffmpeg', brew: 'ffmpeg' }], (line) => progress.detail(line));
    findings = look();
  }
  progress.done();
  for (const finding of findings) if (finding.level === 'warning') progress.line(show(finding));
  const errors = findings.filter(({ level }) => level === 'error');
  if (errors.length > 0) throw new Error(errors.map(show).join('\n'));
}

const isMissingFfmpeg = ({ what, level, found }: Finding): boolean =>
  what.startsWith('ff') && level === 'error' && found.startsWith('not found');

async function start(
  settings: Settings,
  args: string[],
  tools: { build(target: 'web'): Promise<boolean> },
): Promise<number> {
  const { values } = parseArgs({ args, options: { only: { type: 'string' }, 'no-demo': { type: 'boolean' } } });
  const only = values.only
    ?.split(',')
    .map((name) => SERVICES.find((service) => service === name) ?? unknownService(name));
  process.title = 'picturelock';
  const progress = new Progress(process.stdout);
  const began = Date.now();
  const interrupt = new AbortController();
  let stack: Stack | undefined;
  let ended: () => void = () => undefined;
  const interrupted = new Promise<void>((resolve) => (ended = resolve));
  let presses = 0;
  const onSignal = (): void => {
    presses++;
    interrupt.abort();
    ended();
    if (presses === 1) return;
    progress.line('stopping at once');
    void (stack?.abort() ?? Promise.resolve()).finally(() => process.exit(130));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);

  await prepareMachine(settings, progress);
  if (!only || only.includes('api')) {
    progress.step('building the web app');
    await tools.build('web');
    progress.done();
  }

  let logWasEmpty = false;
  try {
    stack = await startStack({
      env: process.env,
      signal: interrupt.signal,
      ...(only ? { services: only } : {}),
      onEvent: ({ kind, text }) => {
        if (kind === 'step') progress.step(text);
        else progress.line(kind === 'problem' ? `! ${text}` : `  ${text}`);
      },
      beforeServices: async (urls) => {
        logWasEmpty = await isLogEmpty(urls.eventStore);
      },
    });
    progress.done();
    const made = values['no-demo'] ? undefined : await seed(stack, logWasEmpty, progress, interrupt.signal);
    if (!interrupt.signal.aborted) {
      progress.done();
      progress.line(welcome(stack, made, (Date.now() - began) / 1000));
    }
  } catch (error) {
    progress.done();
    await stack?.stop();
    if (interrupt.signal.aborted) return 0;
    throw error;
  }
  // The stack's processes hold no handle that keeps Node alive while all is quiet.
  const alive = setInterval(() => undefined, 3_600_000);
  await interrupted;
  clearInterval(alive);
  progress.line('');
  await stack.stop();
  progress.done();
  progress.line('stopped');
  return 0;
}

function unknownService(name: string): never {
  throw new Error(`--only: there is no service "${name}"; there are ${[...SERVICES].reverse().join(', ')}`);
}

async function seed(
  stack: Stack,
  logWasEmpty: boolean,
  progress: Progress,
  signal: AbortSignal,
): Promise<DemoResult | undefined> {
  if (!stack.urls.api) return undefined;
  const workDir = mkdtempSync(join(tmpdir(), 'picturelock-demo-'));
  try {
    return await demo(
      {
        apiUrl: stack.urls.api,
        urls: stack.urls,
        settings: { ...stack.settings, home: stack.home.path },
        env: stack.env,
        workDir,
        report: ({ text, done, total }) => progress.detail(text, done, total),
        signal,
      },
      logWasEmpty,
      await loadDemo(),
    );
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

function welcome(stack: Stack, made: DemoResult | undefined, seconds: number): string {
  const { urls, home } = stack;
  const lines = [
    '',
    `Picturelock is ready (${seconds.toFixed(1)} s).`,
    '',
    ...(urls.public
      ? [`  Studio       ${urls.public}${made?.path ?? '/'}`, `  GraphQL      ${urls.public}/graphql`]
      : []),
    `  Event store  ${urls.eventStore.replace(/\/\/[^@/]*@/, '//')}`,
    `  Home         ${home.path}`,
    '',
  ];
  if (made && made.logins.length > 0) {
    const wide = (pick: (login: DemoResult['logins'][number]) => string): number =>
      Math.max(...made.logins.map((login) => pick(login).length));
    lines.push('  Logins of the demo studio');
    for (const login of made.logins) {
      lines.push(
        `    ${login.role.padEnd(wide((l) => l.role))}  ${login.email.padEnd(wide((l) => l.email))}  ${login.password}`,
      );
    }
    lines.push('');
  }
  lines.push('Ctrl-C stops everything.');
  return lines.join('\n');
}

async function stop(settings: Settings): Promise<number> {
  const running = runningLauncher(settings.home);
  if (running) {
    process.kill(running.pid, 'SIGTERM');
    for (const until = Date.now() + 90_000; Date.now() < until; await sleep(100)) {
      if (!isAlive(running.pid)) {
        process.stdout.write('stopped\n');
        return 0;
      }
    }
    process.stderr.write(`process ${running.pid} did not stop within 90 s\n`);
    return 1;
  }
  const orphan = await stopOrphan(join(settings.home, 'postgres'));
  process.stdout.write(orphan ? 'stopped the database that a killed launcher had left\n' : 'nothing is running\n');
  return 0;
}

const TEST_PROGRAMS = [
  { what: 'Chromium', any: ['chromium', 'chromium-browser', 'google-chrome'], apt: 'chromium', brew: 'chromium' },
  { what: 'Redis', any: ['redis-server'], apt: 'redis-server', brew: 'redis' },
  { what: 'nginx', any: ['nginx', '/usr/sbin/nginx'], apt: 'nginx', brew: 'nginx' },
] as const;

async function doctor(settings: Settings, args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { install: { type: 'boolean' }, quiet: { type: 'boolean' }, tests: { type: 'boolean' } },
  });
  const look = (): Finding[] => [
    ...checkMachine({
      home: settings.home,
      ffmpegPath: settings.media.ffmpegPath,
      ffprobePath: settings.media.ffprobePath,
    }),
    checkPostgres(settings),
    ...(values.tests ? TEST_PROGRAMS.map(checkTestProgram) : []),
  ];
  let findings = look();
  if (values.install) {
    const missing = [
      ...(findings.some(isMissingFfmpeg) ? [{ apt: 'ffmpeg', brew: 'ffmpeg' }] : []),
      ...(values.tests ? TEST_PROGRAMS.filter((program) => checkTestProgram(program).level !== 'ok') : []),
    ];
    if (missing.length > 0) {
      const progress = new Progress(process.stderr);
      progress.step(`installing ${missing.map(({ apt }) => apt).join(', ')}`);
      try {
        await installPackages(missing, (line) => process.stderr.isTTY && progress.detail(line));
      } catch (error) {
        process.stderr.write(`\n${(error as Error).message}\n`);
      }
      progress.done();
      findings = look();
    }
  }
  const said = values.quiet ? findings.filter(({ level }) => level !== 'ok') : findings;
  for (const finding of said) process.stdout.write(`${show(finding)}\n`);
  const running = runningLauncher(settings.home);
  if (!values.quiet) {
    const state = running ? `running as process ${running.pid}${running.url ? `, ${running.url}` : ''}` : 'not running';
    process.stdout.write(`  Home: ${settings.home}${existsSync(settings.home) ? '' : ' (not made yet)'}, ${state}\n`);
  }
  return findings.some(({ level }) => level === 'error') ? 1 : 0;
}

function checkPostgres(settings: Settings): Finding {
  const { log, read, jobs, secrets } = settings.databases;
  if ((log ?? settings.eventStoreUrl) && read && jobs && secrets) {
    return { what: 'Postgres', level: 'ok', found: 'by URL' };
  }
  try {
    // Where an unprivileged account can't run it, `start` makes a copy: that is not the doctor's to do.
    const { major } = locateBinaries({ relocationRoot: tmpdir() });
    return { what: 'Postgres', level: 'ok', found: `${major}, embedded` };
  } catch (error) {
    return { what: 'Postgres', level: 'error', found: 'not usable', advice: (error as Error).message };
  }
}

function checkTestProgram({ what, any, apt }: (typeof TEST_PROGRAMS)[number]): Finding {
  const path = any.map((name) => findProgram(name)).find((found) => found !== undefined);
  return path
    ? { what, level: 'ok', found: path }
    : { what, level: 'error', found: 'not found', advice: `The tests need it: install ${apt}.` };
}
