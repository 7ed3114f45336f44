/** Queues, live progress and reaction checkpoints. */
export { openJobs } from './open.js';
export { jobIdOf } from './rules.js';
export * from './types.js';
