import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '#libs/postgres/index.js';

/**
 * The Postgres server of one jest run, in a process of its own tied to jest by IPC: however jest ends, even by kill -9,
 * the server stops and its folder goes.
 */
const dataDir = mkdtempSync(join(tmpdir(), 'picturelock-test-'));
chmodSync(dataDir, 0o711); // root's Postgres runs as another user, who must be able to pass
process.on('exit', () => rmSync(dataDir, { recursive: true, force: true }));
// Ctrl-C goes to the whole group; jest decides when we end.
process.on('SIGINT', () => undefined);

let gone = false;
const disconnected = new Promise<void>((resolve) => {
  process.once('disconnect', () => {
    gone = true;
    resolve();
  });
});
const server = await startPostgres({ dataDir, settings: { max_wal_size: '512MB', shared_buffers: '64MB' } });
if (!gone) process.send?.({ type: 'ready', url: server.url('postgres') });
await disconnected;
await server.stop();
process.exit(0);
