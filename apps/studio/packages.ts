import { spawn, spawnSync } from 'node:child_process';
import { findProgram } from './machine.js';

/** How this machine installs programs, or why it can't. */
export type Installer =
  { kind: 'apt' | 'brew'; run: readonly string[] } | { kind: 'none'; why: string; byHand: string };

/** Chooses by what is there: apt-get as root or with a sudo that asks nothing, or Homebrew. */
export function chooseInstaller(machine: {
  isRoot: boolean;
  has: (program: string) => boolean;
  sudoWithoutPassword: () => boolean;
}): Installer {
  if (machine.has('apt-get')) {
    if (machine.isRoot) return { kind: 'apt', run: [] };
    if (machine.has('sudo') && machine.sudoWithoutPassword()) return { kind: 'apt', run: ['sudo', '-n'] };
    return { kind: 'none', why: 'installing needs administrator rights', byHand: 'sudo apt-get install -y' };
  }
  if (machine.has('brew')) {
    return machine.isRoot
      ? { kind: 'none', why: 'Homebrew refuses to run as root', byHand: 'brew install' }
      : { kind: 'brew', run: [] };
  }
  return { kind: 'none', why: 'neither apt-get nor brew is here', byHand: "your system's package manager: install" };
}

/** Runs a program, without a terminal to ask at; resolves to its exit code and output. */
async function run(command: readonly string[], log: (line: string) => void): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', HOMEBREW_NO_ENV_HINTS: '1', RUNLEVEL: '1' },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-8_192);
        const last = chunk.toString().trim().split('\n').pop();
        if (last) log(last.slice(0, 100));
      });
    }
    child.once('error', (error) => resolve({ code: 127, output: error.message }));
    child.once('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/**
 * Installs packages with the system's package manager. Throws with what to type by hand when it can't.
 *
 * @param names the packages' names: `{ apt: 'ffmpeg', brew: 'ffmpeg' }`
 */
export async function installPackages(
  names: readonly { apt: string; brew: string }[],
  log: (line: string) => void,
): Promise<void> {
  const installer = chooseInstaller({
    isRoot: process.getuid?.() === 0,
    has: (program) => findProgram(program) !== undefined,
    sudoWithoutPassword: () => spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0,
  });
  const packages = names.map((name) => name[installer.kind === 'brew' ? 'brew' : 'apt']);
  if (installer.kind === 'none') {
    throw new Error(
      `${packages.join(' and ')} can't be installed by itself: ${installer.why}. By hand: ${installer.byHand} ${packages.join(' ')}`,
    );
  }
  if (installer.kind === 'apt') {
    // A fresh machine or image has no package lists; a failed update (one dead source) may still leave enough.
    await run([...installer.run, 'apt-get', 'update', '-q'], log);
  }
  const command =
    installer.kind === 'apt'
      ? [...installer.run, 'apt-get', 'install', '-y', '-q', '--no-install-recommends', ...packages]
      : ['brew', 'install', ...packages];
  const { code, output } = await run(command, log);
  if (code !== 0)
    throw new Error(`\`${command.join(' ')}\` failed:\n${output.trim().split('\n').slice(-12).join('\n')}`);
}
