import { openEventLog } from '#libs/events/log/index.js';
import { startProjector } from './projector.js';

/** A projector as a process of its own, to be killed: `projector.fixture.ts <event store URL> <database URL>`. */
const [eventStoreUrl, databaseUrl] = process.argv.slice(2) as [string, string];
const plain = (_: string, text: string): Promise<string> => Promise.resolve(text);
const log = openEventLog({ url: eventStoreUrl, cipher: { encrypt: plain, decrypt: plain } });
const projector = startProjector({ log, url: databaseUrl });
process.on('disconnect', () => process.exit(0));
await projector.leads();
process.send?.('leads');
