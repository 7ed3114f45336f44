import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { StartRefused } from './errors.js';
import { ensureIdentity, type Identity } from './security/certificate.js';
import { startEventStoreServer } from './server.js';
import { parseSettings, type Settings } from './settings.js';

function identityOf(tls: NonNullable<Settings['tls']>, host: string): Identity {
  try {
    if ('folder' in tls) return ensureIdentity(tls.folder, [...new Set([host, 'localhost', '127.0.0.1', '::1'])]);
    return { certificate: readFileSync(tls.certificate), key: readFileSync(tls.key) };
  } catch (error) {
    throw new StartRefused('EVENTSTORE_SETTINGS_INVALID', `TLS: ${(error as Error).message}`, { cause: error });
  }
}

async function main(): Promise<void> {
  const settings = parseSettings(process.env);
  const logger = pino({ name: 'eventstore', level: settings.logLevel });
  // A launcher that dies while we start would otherwise leave an orphan.
  const abandon = () => process.exit(1);
  process.once('disconnect', abandon);
  const { security, tls, ...rest } = settings;
  const server = await startEventStoreServer({
    ...rest,
    ...(security && { security }),
    ...(tls && { tls: identityOf(tls, settings.host) }),
    logger,
    onShutdown: () => stop('an operator asked for it'),
  });
  process.off('disconnect', abandon);

  const stop = (reason: string) => {
    logger.info({ reason }, 'stopping');
    // Should a connection refuse to end, the process still does.
    setTimeout(() => process.exit(1), 10_000).unref();
    server.close().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ err: error }, 'stopped with an error');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
  if (process.send !== undefined) {
    // The launcher is gone, even by kill -9: leave no orphan.
    process.once('disconnect', () => stop('the launcher is gone'));
    process.send({ type: 'ready', port: server.port, httpPort: server.httpPort });
  }
}

main().catch((error: unknown) => {
  const refused = error instanceof StartRefused;
  const message = refused ? `${error.code}: ${error.message}` : String(error instanceof Error ? error.stack : error);
  process.stderr.write(message + '\n', () => process.exit(refused ? 2 : 1));
});
