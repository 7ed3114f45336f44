import { z } from 'zod';
import { StartRefused } from './errors.js';

const port = z.coerce.number().int().min(0).max(65_535);

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
    .max(16 * 1024 * 1024)
    .default(1024 * 1024),
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
};

/** Refuses with `EVENTSTORE_SETTINGS_INVALID`, naming each variable that is wrong. */
export function parseSettings(env: Record<string, string | undefined>): Settings {
  const result = schema.safeParse(env);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new StartRefused('EVENTSTORE_SETTINGS_INVALID', problems.join('\n'));
  }
  const { data } = result;
  return {
    databaseUrl: data.EVENTSTORE_DATABASE_URL,
    host: data.EVENTSTORE_HOST,
    port: data.EVENTSTORE_PORT,
    httpPort: data.EVENTSTORE_HTTP_PORT,
    maxAppendSize: data.EVENTSTORE_MAX_APPEND_SIZE,
    logLevel: data.EVENTSTORE_LOG_LEVEL,
  };
}
