/** Injection tokens of what is opened once per process and is no class of ours. */
export const SECRETS = Symbol('secrets');
export const UPLOADS = Symbol('uploads');
export const JOBS = Symbol('jobs');
export const LOG = Symbol('log');
export const CONFIG = Symbol('config');
