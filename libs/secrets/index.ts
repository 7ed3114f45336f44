/** Credentials, sessions, person keys and remembered refusals: what must never be an event. */
export * from './types.js';
