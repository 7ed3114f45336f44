import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../support/build.js';

const run = promisify(execFile);
const launcher = join(ROOT, 'bin', 'picturelock.mjs');

describe('npm run bench', () => {
  it('prints the machine and one well-formed line for each figure', async () => {
    const args = [launcher, 'bench', 'transcode', '--quick', '--only', 'H.264'];
    const { stdout, stderr } = await run(process.execPath, args, { cwd: ROOT });
    const [machine, ...figures] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(machine).toEqual({
      machine: expect.objectContaining({
        cpu: expect.any(String),
        cores: expect.any(Number),
        memoryGiB: expect.any(Number),
        node: process.version,
        quick: true,
      }) as object,
    });
    expect(figures.map(({ figure }) => figure)).toEqual([
      'H.264: ladder, verified',
      'H.264: bare ffmpeg, same outputs',
      'H.264: part of bare ffmpeg',
      'H.264: against separate calls',
    ]);
    for (const figure of figures) {
      expect(Object.keys(figure)).toEqual(['bench', 'figure', 'value', 'unit', 'target', 'ok']);
      expect(figure).toMatchObject({ bench: 'transcode', unit: expect.any(String) as string });
      expect(figure.value).toBeGreaterThan(0);
      expect(stderr).toContain(figure.figure as string);
    }
    // What is asked for is said with what came; how fast this machine is today is no matter of a test.
    const ratio = figures.at(-1)!;
    expect(ratio.target).toBe('>= 1.6');
    expect(ratio.ok).toBe((ratio.value as number) >= 1.6);
    expect(figures[0]).toMatchObject({ target: null, ok: null });
  }, 180_000);

  it('names the benches there are when asked for another', async () => {
    const failure = await run(process.execPath, [launcher, 'bench', 'nothing'], { cwd: ROOT }).catch(
      (error: { code: number; stderr: string; stdout: string }) => error,
    );
    expect(failure).toMatchObject({ code: 2, stdout: '' });
    expect(failure.stderr).toMatch(
      /There is no bench nothing[^]*Benches: annotate, append, considerate, eventstore, extract, live, rebuild, serve, snapshots, subscribers, transcode/,
    );
  });
});
