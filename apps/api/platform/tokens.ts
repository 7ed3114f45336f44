/** Injection tokens of what is opened once per process and is no class of ours. */
export const SECRETS = Symbol('secrets');
export const UPLOADS = Symbol('uploads');
export const BLOBS = Symbol('blobs');
export const JOBS = Symbol('jobs');
export const CONFIG = Symbol('config');
export const LOGGER = Symbol('logger');
export const EVENT_LOG = Symbol('event log');
