export * from './measure.js';
export * from './signatures.js';
export * from './align.js';
export * from './compare.js';
export * from './ranges.js';
export * from './renditions.js';
