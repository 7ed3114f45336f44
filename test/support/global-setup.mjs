import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * One shared Postgres for the run, started by the first spec that asks (`testDatabase()`); unit runs never start it. Jest's
 * workers ask over a loopback port under a secret path. TEST_DATABASE_URL names a server of your own instead.
 */
export default async function setup() {
  const here = dirname(fileURLToPath(import.meta.url));
  const path = `/${randomBytes(16).toString('hex')}`;
  let starting;

  const startHost = () =>
    new Promise((resolve, reject) => {
      const host = fork(join(here, 'postgres-host.ts'), {
        execArgv: ['--import', join(here, '..', '..', 'scripts', 'typescript.mjs')],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      globalThis.__postgresHost = host;
      host.once('message', ({ url }) => resolve(url));
      host.once('error', reject);
      host.once('exit', (code, signal) => reject(new Error(`the test Postgres ended (${code ?? signal})`)));
    });

  const broker = createServer((request, response) => {
    if (request.url !== path) return response.writeHead(404).end();
    starting ??= startHost();
    starting.then(
      (url) => response.end(url),
      (error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise((resolve) => broker.listen(0, '127.0.0.1', resolve));
  broker.unref();
  globalThis.__postgresBroker = broker;
  process.env.PICTURELOCK_TEST_POSTGRES = `http://127.0.0.1:${broker.address().port}${path}`;
}
