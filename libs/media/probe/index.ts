export * from './schema.js';
export * from './probe.js';
export * from './broadcastWave.js';
