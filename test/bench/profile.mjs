/** Loaded into a service by `--profile`: writes a CPU profile when the process ends (Node refuses --cpu-prof in NODE_OPTIONS). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { basename, dirname, join } from 'node:path';

const folder = new URL(import.meta.url).searchParams.get('folder');
if (folder) {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.start');
  process.on('exit', () =>
    session.post('Profiler.stop', (error, result) => {
      if (error) return;
      mkdirSync(folder, { recursive: true });
      const name = `${basename(dirname(process.argv[1] ?? 'process'))}-${process.pid}.cpuprofile`;
      writeFileSync(join(folder, name), JSON.stringify(result.profile));
    }),
  );
}
