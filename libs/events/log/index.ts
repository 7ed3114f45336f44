/** The one door to the event store: append, read, subscribe, and the command executor. */
export * from './audit.js';
export { openOrigin } from './codec.js';
export { applyErasures, BLIND, startWithErasures, type Erasures } from './erasures.js';
export * from './errors.js';
export * from './executor.js';
export { openEventLog, type EventLogOptions } from './kurrent-log.js';
export { LruMap } from './lru.js';
export { snapshotSchema, type SnapshotStore, type StreamSnapshot } from './snapshots.js';
export * from './types.js';
