import { z } from 'zod';
import { StartRefused } from './errors.js';
import { LARGEST_RECORD } from './protocol/append-messages.js';

const port = z.coerce.number().int().min(0).max(65_535);

const password = z.string().min(8, 'must have at least 8 characters');

/** Environment variables of the server, by name. */
const schema = z.object({
  EVENTSTORE_DATABASE_URL: z
    .string({ error: 'is required: the URL of the Postgres database that holds the log' })
    .regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL'),
  EVENTSTORE_HOST: z.string().min(1).default('127.0.0.1'),
  EVENTSTORE_PORT: port.default(2113),
  EVENTSTORE_HTTP_PORT: port.default(2114),
  EVENTSTORE_MAX_APPEND_SIZE: z.coerce
    .number()
    .int()
    .min(1)
    .max(LARGEST_RECORD)
    .default(1024 * 1024),
  EVENTSTORE_INSECURE: z.enum(['true', 'false'], 'must be true or false').default('false'),
  EVENTSTORE_ADMIN_PASSWORD: password.optional(),
  EVENTSTORE_OPS_PASSWORD: password.optional(),
  EVENTSTORE_TLS_CERTIFICATE: z.string().min(1).optional(),
  EVENTSTORE_TLS_KEY: z.string().min(1).optional(),
  EVENTSTORE_TLS_FOLDER: z.string().min(1).optional(),
  EVENTSTORE_LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
});

export type Settings = {
  databaseUrl: string;
  host: string;
  /** gRPC; 0 takes any free port. */
  port: number;
  /** Health and statistics; 0 takes any free port. */
  httpPort: number;
  /** Bytes. */
  maxAppendSize: number;
  logLevel: string;
  /** Undefined: everybody may do everything. */
  security: { adminPassword: string; opsPassword?: string } | undefined;
  /** Files of a certificate and its key, or the folder where the server keeps one it made itself. */
  tls: { certificate: string; key: string } | { folder: string } | undefined;
};

/** Refuses with `EVENTSTORE_SETTINGS_INVALID`, naming each variable that is wrong. */
export function parseSettings(env: Record<string, string | undefined>): Settings {
  const result = schema.safeParse(env);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new StartRefused('EVENTSTORE_SETTINGS_INVALID', problems.join('\n'));
  }
  const { data } = result;
  const insecure = data.EVENTSTORE_INSECURE === 'true';
  const { EVENTSTORE_ADMIN_PASSWORD: adminPassword, EVENTSTORE_OPS_PASSWORD: opsPassword } = data;
  const { EVENTSTORE_TLS_CERTIFICATE: certificate, EVENTSTORE_TLS_KEY: key, EVENTSTORE_TLS_FOLDER: folder } = data;
  const problems = [
    insecure && adminPassword && 'EVENTSTORE_INSECURE: and EVENTSTORE_ADMIN_PASSWORD exclude each other',
    !insecure &&
      !adminPassword &&
      'EVENTSTORE_ADMIN_PASSWORD: is required, unless EVENTSTORE_INSECURE=true lets everybody in',
    Boolean(certificate) !== Boolean(key) && 'EVENTSTORE_TLS_CERTIFICATE: and EVENTSTORE_TLS_KEY come together',
    certificate && folder && 'EVENTSTORE_TLS_FOLDER: and EVENTSTORE_TLS_CERTIFICATE exclude each other',
    !isLoopback(data.EVENTSTORE_HOST) &&
      (insecure || !(certificate || folder)) &&
      'EVENTSTORE_HOST: only the loopback interface is served without TLS and passwords',
  ].filter((problem) => typeof problem === 'string');
  if (problems.length > 0) throw new StartRefused('EVENTSTORE_SETTINGS_INVALID', problems.join('\n'));
  return {
    databaseUrl: data.EVENTSTORE_DATABASE_URL,
    host: data.EVENTSTORE_HOST,
    port: data.EVENTSTORE_PORT,
    httpPort: data.EVENTSTORE_HTTP_PORT,
    maxAppendSize: data.EVENTSTORE_MAX_APPEND_SIZE,
    logLevel: data.EVENTSTORE_LOG_LEVEL,
    security: adminPassword ? { adminPassword, ...(opsPassword && { opsPassword }) } : undefined,
    tls: certificate && key ? { certificate, key } : folder ? { folder } : undefined,
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);
}
