/** A real nginx of our own on loopback, for specs and benches. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** `locations`: what goes into the server block. Rejects when nginx is not installed or does not start. */
export async function startNginx(locations: string): Promise<{ base: string; stop: () => Promise<void> }> {
  const program = ['/usr/sbin/nginx', '/usr/local/bin/nginx', '/opt/homebrew/bin/nginx'].find(existsSync) ?? 'nginx';
  const folder = await mkdtemp(join(tmpdir(), 'pl-nginx-'));
  await mkdir(join(folder, 'tmp'));
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/tmp;`)
    .join(' ');
  // As root its workers would be another user, who may not read what a spec made.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  await writeFile(
    join(folder, 'nginx.conf'),
    `daemon off; worker_processes 1; ${user} pid ${folder}/nginx.pid; error_log ${folder}/error.log;
events { worker_connections 512; }
http {
  access_log off; sendfile on; tcp_nopush on; ${temporary}
  server { listen 127.0.0.1:${port}; ${locations} }
}`,
  );
  const server = spawn(program, ['-p', folder, '-e', join(folder, 'error.log'), '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const failed = new Promise<never>((_resolve, reject) => {
    server.once('error', () => reject(new Error('nginx is not installed, and this needs it: apt-get install nginx')));
    server.once('exit', (code) => reject(new Error(`nginx ended with ${code}`)));
  });
  failed.catch(() => undefined);
  const base = `http://127.0.0.1:${port}`;
  const answers = async () => {
    for (let tries = 0; tries < 200; tries += 1) {
      const there = await new Promise<boolean>((resolve) => {
        get(base, { agent: false }, (response) => (response.resume(), resolve(true))).on('error', () => resolve(false));
      });
      if (there) return;
      await sleep(50);
    }
    throw new Error('nginx does not answer');
  };
  const stop = async () => {
    if (server.exitCode === null && server.pid !== undefined) {
      const exited = once(server, 'exit');
      server.kill('SIGTERM');
      await exited;
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await Promise.race([answers(), failed]);
  } catch (error) {
    await stop();
    throw error;
  }
  return { base, stop };
}
