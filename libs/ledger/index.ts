/** Tamper evidence over `$all`: a Merkle tree of every event, signed checkpoints, proofs. See docs/ledger.md. */
export { exportBundle, NotProvable, proveEvent, type ExportOptions } from './bundle.js';
export { ensureLedgerKey } from './key.js';
export { isLeaf, leafBytes, type LedgerEvent } from './leaf.js';
export {
  formatNote,
  generateSigner,
  NoteError,
  openCheckpoint,
  parseSigner,
  parseVerifier,
  type Signer,
} from './note.js';
export { checkAnchor, freshCheckpoint, LedgerBehind, LedgerForked, recordToHead, signCheckpoint } from './record.js';
export { dropFolder, parseWitness, webhook, witness, type Post, type Receiver } from './receivers.js';
export { runLedger, type RunOptions } from './run.js';
export { openSource, SourceUnavailable, type LedgerSource, type StreamPolicy } from './source.js';
export { LedgerStore, type LedgerState, type ReceiverState, type StoredCheckpoint } from './store.js';
export { verifyLines, type Finding, type Report, type VerifyOptions } from './verify.js';
