import {
  dropFolder,
  ensureLedgerKey,
  LedgerStore,
  openSource,
  parseWitness,
  runLedger,
  webhook,
  witness,
  type Receiver,
} from '#libs/ledger/index.js';
import { Outbound, type Config, type Logger } from '#libs/runtime/index.js';

/** Records every event of the log in the ledger, signs checkpoints and sends them away, until `stop`. */
export async function startLedger(config: Config, logger: Logger): Promise<{ stop(): Promise<void> }> {
  const { ledger, home } = config;
  const signer = ensureLedgerKey({ home, key: ledger.key, keyFile: ledger.keyFile });
  const store = await LedgerStore.open(config.databases.secrets, (err) =>
    logger.warn({ err }, 'ledger: connection trouble'),
  );
  const source = openSource(config.eventStoreUrl);
  const outbound = new Outbound({ allow: config.outbound.allow });
  const post = outbound.post.bind(outbound);
  const receivers: Receiver[] = [
    ...(ledger.dropFolder ? [dropFolder(ledger.dropFolder)] : []),
    ...(ledger.webhookUrl ? [webhook(ledger.webhookUrl, post)] : []),
    ...ledger.witnesses.map(parseWitness).map(({ key, url }) => witness(key, url, store, post)),
  ];
  const abort = new AbortController();
  const running = runLedger({
    store,
    source,
    signer,
    receivers,
    checkpointMs: ledger.checkpointSeconds * 1000,
    signal: abort.signal,
    logger,
  });
  return {
    async stop() {
      abort.abort();
      await running;
      await source.close();
      await store.close();
    },
  };
}
