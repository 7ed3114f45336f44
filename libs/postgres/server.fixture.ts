import { startPostgres } from './server.js';

/** A launcher of its own for the spec: starts a server in argv[2], tells its parent, stops it on SIGTERM. */
try {
  const server = await startPostgres({ dataDir: process.argv[2]!, settings: { shared_buffers: '32MB' } });
  const stop = (): void => void server.stop().then(() => process.exit(0));
  process.on('SIGTERM', stop);
  process.on('disconnect', stop); // also keeps this process alive while the spec runs
  process.send?.({ pid: server.pid, url: server.url('postgres'), clusterDir: server.clusterDir });
} catch (error) {
  const { code, message } = error as { code?: string; message: string };
  process.send?.({ error: `${code}: ${message}` });
  process.exitCode = 1;
  process.disconnect?.();
}
