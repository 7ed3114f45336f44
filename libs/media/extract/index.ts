export * from './plan.js';
export * from './range.js';
export * from './stills.js';
export type { SmartObstacle } from './smart.js';
