import { setTimeout as sleep } from 'node:timers/promises';
import { runService } from './service.js';

/** A service for the spec that misbehaves as its BEHAVIOUR says. */
await runService('fixture', async ({ config, logger, signal }) => {
  const behaviour = process.env['BEHAVIOUR'];
  if (behaviour === 'fail') throw new Error('no luck with postgres://u:hunter2@db');
  if (behaviour === 'slow-start') await sleep(60_000, undefined, { signal });
  if (behaviour === 'crash') setTimeout(() => void Promise.reject(new Error('nobody caught this')), 50);
  let broken = false;
  process.on('message', () => (broken = true));
  return {
    ready: { port: 7, home: config.home },
    health: async () => {
      if (broken) throw new Error('the database is away');
      return { lag: 0 };
    },
    stop: async () => {
      logger.info('fixture stops');
      if (behaviour === 'hang') await new Promise(() => undefined);
    },
  };
});
