export * from './tar.js';
export * from './stream.js';
