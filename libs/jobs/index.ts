/** Queues, live progress and reaction checkpoints. */
export * from './types.js';
