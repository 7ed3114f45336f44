import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { demo, type DemoContext } from './demo-hook.js';
import { checkDisk, checkFfmpeg, checkMemory, checkNode, findProgram, parseFfmpegVersion } from './machine.js';
import { chooseInstaller } from './packages.js';
import { Progress, type Screen } from './progress.js';
import { backoff, tail } from './supervised.js';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'picturelock-parts-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the machine', () => {
  it.each([
    ['20.19.0', 'ok'],
    ['24.1.0', 'ok'],
    ['20.18.9', 'error'],
    ['18.20.0', 'error'],
  ])('Node %s: %s', (version, level) => expect(checkNode(version).level).toBe(level));

  it.each([
    [50, 'ok'],
    [5, 'warning'],
    [0.5, 'error'],
  ])('%d GB of disk: %s', (gb, level) => expect(checkDisk(gb * 1024 ** 3, '/x').level).toBe(level));

  it('little memory is a warning', () => {
    expect(checkMemory(1024 ** 3, 1).level).toBe('warning');
    expect(checkMemory(8 * 1024 ** 3, 1).level).toBe('ok');
  });

  it.each([
    ['ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000', [5, 1]],
    ['ffmpeg version n6.0 Copyright', [6, 0]],
    ['ffprobe version 8 Copyright', [8, 0]],
    ['ffmpeg version N-111-gabc Copyright', 'git'],
    ['something else', undefined],
  ])('reads "%s"', (text, version) => expect(parseFfmpegVersion(text)).toEqual(version));

  it('refuses an ffmpeg that is too old or missing, and says what to do', () => {
    const file = join(folder, 'ffmpeg');
    writeFileSync(file, '#!/bin/sh\necho "ffmpeg version 4.2.7 Copyright"\n');
    expect(findProgram('ffmpeg', folder)).toBeUndefined(); // not executable
    chmodSync(file, 0o755);
    expect(findProgram('ffmpeg', `/nowhere:${folder}`)).toBe(file);
    expect(checkFfmpeg('ffmpeg', file)).toMatchObject({ level: 'error', found: expect.stringContaining('4.2') });
    expect(checkFfmpeg('ffprobe', 'no-such')).toMatchObject({ advice: expect.stringContaining('FFPROBE_PATH') });
  });
});

describe('installing', () => {
  const machine = (programs: string[], isRoot: boolean, sudo = false) => ({
    isRoot,
    has: (program: string) => programs.includes(program),
    sudoWithoutPassword: () => sudo,
  });
  it.each([
    ['root with apt-get', machine(['apt-get'], true), { kind: 'apt', run: [] }],
    ['a user with a free sudo', machine(['apt-get', 'sudo'], false, true), { kind: 'apt', run: ['sudo', '-n'] }],
    [
      'a user whose sudo asks',
      machine(['apt-get', 'sudo'], false),
      { kind: 'none', byHand: 'sudo apt-get install -y' },
    ],
    ['a user without sudo', machine(['apt-get'], false), { kind: 'none' }],
    ['brew', machine(['brew'], false), { kind: 'brew' }],
    ['brew as root', machine(['brew'], true), { kind: 'none' }],
    ['nothing', machine([], true), { kind: 'none' }],
  ])('%s', (_, given, wanted) => expect(chooseInstaller(given)).toMatchObject(wanted));
});

describe('supervision', () => {
  it('waits longer each time, up to a limit', () =>
    expect([1, 2, 3, 20].map(backoff)).toEqual([250, 500, 1_000, 15_000]));

  it('spells out the last lines of a log', () => {
    const file = join(folder, 'x.log');
    const before = '{"level":"info","msg":"of the run before"}\n';
    writeFileSync(file, `${before}{"level":"fatal","msg":"no","err":{"stack":"Error: why"}}\nplain\n`);
    expect(tail(file, before.length)).toBe('[fatal] no\nError: why\nplain');
    expect(tail(join(folder, 'none'), 0)).toBe('');
  });
});

describe('progress', () => {
  function screen(isTTY: boolean): Screen & { text: string } {
    return {
      isTTY,
      columns: 60,
      text: '',
      write(part: string) {
        this.text += part;
      },
    };
  }

  it('is plain lines for a file, each once, tenths only', () => {
    const out = screen(false);
    const progress = new Progress(out);
    progress.step('rendering');
    for (let done = 0; done <= 100; done++) progress.detail('frames', done, 100);
    progress.done();
    expect(out.text).not.toContain('\u001b');
    expect(out.text.split('\n').filter(Boolean)).toHaveLength(12);
  });

  it('is one moving line on a terminal, that stays with its time', () => {
    const out = screen(true);
    let now = 0;
    const progress = new Progress(out, false, () => now);
    progress.step('rendering');
    progress.detail('frames', 1, 2);
    now = 2_500;
    progress.line('a note');
    progress.done();
    expect(out.text).toContain('50 %');
    expect(out.text).toContain('a note\n');
    expect(out.text).toMatch(/✓ rendering \(2\.5 s\)\n$/);
  });
});

describe('the demo', () => {
  const context = (home: string) =>
    ({ settings: { home } }) as unknown as Omit<DemoContext, 'resume' | 'memory' | 'remember'>;
  const result = { path: '/', logins: [{ name: 'Ada', email: 'a@b.example', password: 'x', role: 'producer' }] };

  it('is seeded into an empty log alone, once, and its logins are kept', async () => {
    let runs = 0;
    const module = {
      seedDemo: async () => {
        runs++;
        return result;
      },
    };
    expect(await demo(context(folder), false, module)).toBeUndefined();
    expect(await demo(context(folder), true, undefined)).toBeUndefined();
    expect(await demo(context(folder), true, module)).toEqual(result);
    expect(await demo(context(folder), false, module)).toEqual(result);
    expect(runs).toBe(1);
  });

  it('goes on where it was interrupted, with what it remembered', async () => {
    const seen: unknown[] = [];
    const broken = {
      seedDemo: async ({ remember }: DemoContext) => {
        remember({ password: 'chosen' });
        throw new Error('interrupted');
      },
    };
    await expect(demo(context(folder), true, broken)).rejects.toThrow('interrupted');
    const whole = {
      seedDemo: async ({ resume, memory }: DemoContext) => {
        seen.push(resume, memory);
        return result;
      },
    };
    expect(await demo(context(folder), false, whole)).toEqual(result);
    expect(seen).toEqual([true, { password: 'chosen' }]);
  });
});
