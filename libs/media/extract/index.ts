export * from './plan.js';
export * from './range.js';
