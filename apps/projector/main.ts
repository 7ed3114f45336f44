import { openEventLog, startWithErasures } from '#libs/events/log/index.js';
import { runService } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { startAsOfBuilder } from './as-of.js';
import { registerMetrics } from './metrics.js';
import { startProjector } from './projector.js';

await runService('projector', async ({ config, logger, metrics }) => {
  const secrets = await openSecrets({
    databaseUrl: config.databases.secrets,
    masterKey: config.keys.master,
    onError: (err) => logger.warn({ err }, 'secrets'),
  });
  await startWithErasures({ url: config.eventStoreUrl, secrets, logger });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys, logger });
  const projector = startProjector({ log, url: config.databases.read, logger });
  const asOf = startAsOfBuilder({ log, url: config.databases.read, logger });
  registerMetrics([metrics], projector, log);
  return {
    health: () => {
      const projections = projector.status();
      const failed = projections.find(({ state }) => state === 'failed');
      if (failed) return Promise.reject(new Error(`${failed.name} has stopped: ${failed.failure?.message}`));
      return Promise.resolve({
        projections: projections.map(({ name, version, state, position }) => ({
          name,
          version,
          state,
          position: position === null ? null : String(position),
        })),
      });
    },
    stop: async () => {
      await asOf.stop();
      await projector.stop();
      await log.close();
      await secrets.close();
    },
  };
});
