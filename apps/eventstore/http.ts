import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { EventLog } from './storage/event-log.js';

function memory(): Record<string, number> {
  const { rss, heapUsed, heapTotal, arrayBuffers } = process.memoryUsage();
  return { memoryBytes: rss, heapUsedBytes: heapUsed, heapBytes: heapTotal, bufferBytes: arrayBuffers };
}

/** Health and statistics: `/health/live`, `/health/ready`, `/stats`. */
export async function startHttp(
  log: EventLog,
  host: string,
  port: number,
  more: () => Record<string, unknown>,
): Promise<{ server: Server; port: number }> {
  const startedAt = Date.now();
  const server = createServer((request, response) => {
    const reply = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    switch (request.url) {
      case '/health/live':
        reply(200, { status: 'live' });
        return;
      case '/health/ready':
        void log.alive().then((alive) => reply(alive ? 200 : 503, { status: alive ? 'ready' : 'no database' }));
        return;
      case '/stats':
        reply(200, {
          head: log.head,
          ...log.writer.stats,
          subscriptions: log.subscriptions,
          tailEvents: log.tail.size,
          tailBytes: log.tail.byteSize,
          ...memory(),
          ...more(),
          uptimeSeconds: Math.round((Date.now() - startedAt) / 1_000),
        });
        return;
      default:
        reply(404, { error: 'not found' });
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return { server, port: (server.address() as AddressInfo).port };
}
