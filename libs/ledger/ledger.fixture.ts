import { openSource, LedgerStore, parseSigner, runLedger } from './index.js';

/** The ledger's loop as a process of its own, to be killed: `ledger.fixture.ts <event store> <database> <signer key>`. */
const [eventStoreUrl, databaseUrl, key] = process.argv.slice(2) as [string, string, string];
const quiet = () => undefined;
const store = await LedgerStore.open(databaseUrl);
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
await runLedger({
  store,
  source: openSource(eventStoreUrl),
  signer: parseSigner(key),
  receivers: [],
  checkpointMs: 0,
  pollMs: 1,
  signal: new AbortController().signal,
  logger: { info: quiet, warn: quiet, error: quiet },
});
