/** Credentials, sessions, person keys and remembered refusals: what must never be an event. */
export { openSecrets } from './open.js';
export * from './types.js';
