/** What spans several aggregates: steps that are each idempotent, so that whoever finds one unfinished can go on. */
export * from './commands.js';
export * from './version-upload.js';
export * from './version-withdrawal.js';
export * from './transcoding.js';
export * from './comparing.js';
export * from './outcomes.js';
