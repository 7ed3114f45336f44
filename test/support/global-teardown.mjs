import { once } from 'node:events';

export default async function teardown() {
  globalThis.__postgresBroker?.close();
  const host = globalThis.__postgresHost;
  if (host && host.exitCode === null && host.signalCode === null) {
    const exited = once(host, 'exit');
    if (host.connected) host.disconnect();
    await exited;
  }
}
