import { existsSync } from 'node:fs';
import { jest } from '@jest/globals';
import { isAlive } from '#libs/postgres/index.js';
import { testDatabase } from './database.js';
import { startService } from './processes.js';
import { startStack } from './stack.js';

jest.setTimeout(120_000);

describe('startService', () => {
  it('starts a service from the build, kills it, brings it back and stops it', async () => {
    const database = await testDatabase();
    const service = await startService('eventstore', {
      EVENTSTORE_DATABASE_URL: database.url,
      EVENTSTORE_PORT: '0',
      EVENTSTORE_HTTP_PORT: '0',
      EVENTSTORE_INSECURE: 'true',
    });
    try {
      expect(service.ready).toMatchObject({ type: 'ready', port: expect.any(Number), httpPort: expect.any(Number) });
      const first = service.pid;
      await service.kill();
      expect(isAlive(first)).toBe(false);
      await service.restart();
      expect(service.pid).not.toBe(first);
      expect(service.log()).toContain('event store is serving');
    } finally {
      await service.stop();
      await database.drop();
    }
    expect(isAlive(service.pid)).toBe(false);
  });

  it('tells why a service can not start', async () => {
    await expect(startService('eventstore', {})).rejects.toThrow('EVENTSTORE_DATABASE_URL');
    await expect(startService('projector', {})).rejects.toThrow('READ_DATABASE_URL is missing');
  });
});

describe('startStack', () => {
  it('runs the whole system on the shared server, survives a killed service and leaves nothing', async () => {
    const stack = await startStack({ database: 'shared' });
    const pids = stack.stack.running.map((name) => stack.pid(name)!);
    try {
      const ready = await fetch(`${stack.apiUrl}/health/ready`);
      expect(ready.status).toBe(200);
      const before = stack.pid('projector');
      await stack.killService('projector');
      expect(isAlive(before!)).toBe(false);
      await stack.restartService('projector');
      expect(stack.pid('projector')).not.toBe(before);
      expect(stack.log('projector')).toContain('ready');
      expect(stack.events).toEqual([expect.stringMatching(/^problem: projector ended by itself \(SIGKILL\)/)]);
      pids.push(stack.pid('projector')!);
    } finally {
      await stack.stop();
    }
    expect(pids.filter(isAlive)).toEqual([]);
    expect(existsSync(stack.home)).toBe(false);
  });
});
