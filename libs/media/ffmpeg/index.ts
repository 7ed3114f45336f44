export * from './run.js';
export * from './capabilities.js';
export * from './encoders.js';
