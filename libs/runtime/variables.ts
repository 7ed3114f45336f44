import { availableParallelism } from 'node:os';
import { z } from 'zod';

const MB = 1024 ** 2;
const TB = 1024 ** 4;

const whole = (from: number, to: number = Number.MAX_SAFE_INTEGER) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(from, `must be at least ${from}`).max(to, `must be at most ${to}`));

const url = (...schemes: string[]) =>
  z
    .string()
    .refine(
      (text) => URL.canParse(text) && schemes.includes(new URL(text).protocol.slice(0, -1)),
      `must be a URL that begins with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`,
    );

const postgres = url('postgres', 'postgresql');

const onOff = z
  .enum(['on', 'off', 'true', 'false', '1', '0'], 'must be on or off')
  .transform((text) => ['on', 'true', '1'].includes(text));

const key = z
  .string()
  .transform((text) => text.trim())
  .refine(
    (text) => /^[\w-]+$/.test(text) && Buffer.from(text, 'base64url').length === 32,
    'must be 32 bytes as base64url',
  );

/** Proxies in front of the api whose X-Forwarded-For is believed, in Express's terms. */
const trustProxy = z.string().transform((text): boolean | number | string[] => {
  if (/^\d+$/.test(text)) return Number(text);
  if (['true', 'on'].includes(text)) return true;
  if (['false', 'off'].includes(text)) return false;
  return text.split(',').map((part) => part.trim());
});

const origins = z
  .string()
  .transform((text) => text.split(',').map((part) => part.trim().replace(/\/$/, '')))
  .refine(
    (list) => list.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin),
    'must be origins such as https://review.example.com, separated by commas',
  );

/** Which web server in front sends files: none, nginx by an internal location, or one that knows X-Sendfile. */
const mediaOffload = z
  .string()
  .regex(
    /^(off|x-sendfile|x-accel-redirect:\/[\w./-]*)$/,
    'must be off, x-sendfile, or x-accel-redirect: and the path of an internal location',
  )
  .transform((text): { kind: 'X_SENDFILE' } | { kind: 'X_ACCEL_REDIRECT'; prefix: string } | null => {
    if (text === 'off') return null;
    if (text === 'x-sendfile') return { kind: 'X_SENDFILE' };
    return { kind: 'X_ACCEL_REDIRECT', prefix: text.slice('x-accel-redirect:'.length) };
  });

/**
 * Every environment variable that a Picturelock process reads, as text in, typed value out. The one list: compose files and
 * documentation are checked against it. An empty variable counts as unset.
 */
export const variables = z.object({
  NODE_ENV: z
    .enum(['production', 'development', 'test'], 'must be production, development or test')
    .default('production')
    .describe('`production`, `development` or `test`'),
  PICTURELOCK_HOME: z
    .string()
    .default('.picturelock')
    .describe('Folder of everything that is kept on this machine: databases, blobs, generated secrets'),

  DATABASE_URL: postgres
    .optional()
    .describe('Postgres 15+ for all four databases; its path is the prefix of their names (default `picturelock`)'),
  LOG_DATABASE_URL: postgres.optional().describe('Database of the embedded event store, instead of DATABASE_URL'),
  READ_DATABASE_URL: postgres.optional().describe('Database of the read models, instead of DATABASE_URL'),
  JOBS_DATABASE_URL: postgres.optional().describe('Database of the queues, instead of DATABASE_URL'),
  SECRETS_DATABASE_URL: postgres
    .optional()
    .describe('Database of credentials, sessions and person keys, instead of DATABASE_URL'),
  EVENTSTORE_URL: url('kurrentdb', 'kurrentdb+discover', 'kurrent', 'kurrent+discover', 'esdb', 'esdb+discover')
    .optional()
    .describe('Connection string of a KurrentDB or EventStoreDB; unset: the embedded event store'),
  REDIS_URL: url('redis', 'rediss').optional().describe('Redis for the queues; unset: queues in Postgres'),
  STORAGE_URL: url('file', 's3')
    .optional()
    .describe('Blobs: `file:///folder` or `s3://bucket/prefix?endpoint=…&region=…`; unset: `blobs` in the home'),
  AWS_ACCESS_KEY_ID: z.string().optional().describe('Access key of an s3:// STORAGE_URL'),
  AWS_SECRET_ACCESS_KEY: z.string().optional().describe('Secret key of an s3:// STORAGE_URL'),

  API_HOST: z.string().default('127.0.0.1').describe('Address the api listens on'),
  API_PORT: whole(0, 65_535).default(4000).describe('Port of the api; 0: any free one'),
  PUBLIC_URL: url('http', 'https')
    .transform((text) => text.replace(/\/+$/, ''))
    .optional()
    .describe('How browsers reach the api, for links; unset: http://host:port'),
  TRUST_PROXY: trustProxy
    .default(false)
    .describe('Proxies whose X-Forwarded-For is believed: number of hops, or addresses separated by commas'),
  CORS_ORIGINS: origins.default([]).describe('Other origins whose pages may call the api, separated by commas'),
  HEALTH_HOST: z.string().default('127.0.0.1').describe('Address of the health endpoint of projector and workers'),
  HEALTH_PORT: whole(0, 65_535).default(0).describe('Its port; 0: any free one'),
  METRICS: onOff.default(true).describe('Prometheus metrics at /metrics: `on` or `off`'),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'must be a pino level, for instance info')
    .default('info')
    .describe('`fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`'),
  SHUTDOWN_SECONDS: whole(1, 3_600).default(20).describe('Time for work under way when a process is told to stop'),

  MASTER_KEY: key.optional().describe('32 bytes, base64url: wraps every person’s key; unset: generated in the home'),
  MASTER_KEY_FILE: z.string().optional().describe('File that holds MASTER_KEY'),
  MEDIA_SIGNING_KEY: key.optional().describe('32 bytes, base64url: signs media URLs; unset: generated in the home'),
  MEDIA_SIGNING_KEY_FILE: z.string().optional().describe('File that holds MEDIA_SIGNING_KEY'),

  ERASURE_LIST_FOLDER: z
    .string()
    .optional()
    .describe('Folder, apart from the databases, whose `erasures.ndjson` lists who was erased; a restore applies it'),

  FEED_HEARTBEAT_SECONDS: whole(1, 300)
    .default(15)
    .describe('A sign of life on a silent feed; a client that takes nothing for four times as long is cut off'),
  LEDGER_KEY: z
    .string()
    .optional()
    .describe('Signer key of the ledger, `PRIVATE+KEY+name+hash+key`; unset: `ledger.key` in the home of the workers'),
  LEDGER_KEY_FILE: z.string().optional().describe('File that holds LEDGER_KEY, open to its owner alone'),
  LEDGER_CHECKPOINT_SECONDS: whole(1, 86_400)
    .default(60)
    .describe('While events come, a checkpoint of the ledger is signed this often'),
  LEDGER_DROP_FOLDER: z
    .string()
    .optional()
    .describe('Folder that gets a file for each checkpoint: one that the host can’t rewrite'),
  LEDGER_WEBHOOK_URL: url('http', 'https').optional().describe('Address that gets each checkpoint by POST'),
  LEDGER_WITNESSES: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .refine(
      (list) => list.every((part) => /^\S+\s+https?:\/\/\S+$/.test(part)),
      'must be `vkey url`, separated by commas',
    )
    .default([])
    .describe('Witnesses (c2sp.org/tlog-witness) that cosign checkpoints: `vkey url`, separated by commas'),
  OUTBOUND_ALLOW: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .default([])
    .describe('Hosts with private addresses that outgoing requests may reach, separated by commas'),

  UPLOAD_MAX_IMAGE_BYTES: whole(1)
    .default(50 * MB)
    .describe('Largest image (bytes)'),
  UPLOAD_MAX_VIDEO_BYTES: whole(1).default(TB).describe('Largest video or sound (bytes)'),
  UPLOAD_QUOTA_BYTES: whole(1)
    .default(2 * TB)
    .describe('All unfinished uploads of one organisation together (bytes)'),
  UPLOAD_EXPIRY_HOURS: whole(1, 24 * 365)
    .default(24)
    .describe('An unfinished upload is removed after this long'),
  SESSION_IDLE_MINUTES: whole(1).default(60).describe('A session not used for this long is over'),
  SESSION_ABSOLUTE_HOURS: whole(1).default(12).describe('A session is over this long after login'),
  AS_OF_BUILDS: whole(1, 100).default(3).describe('Moments that one organisation may have built at a time (X-As-Of)'),
  AS_OF_BYTES: whole(1)
    .default(4 * 1024 * MB)
    .describe('Room on disk for all of them together (bytes); no new one is built past it'),
  AS_OF_TTL_SECONDS: whole(1, 86_400).default(900).describe('A moment that nobody reads is removed after this long'),
  AUDIT_RETENTION_DAYS: whole(1, 36_500)
    .optional()
    .describe('Older entries of the audit trail are no longer shown or exported; unset: all are. The log keeps them'),
  MEDIA_URL_TTL_SECONDS: whole(10, 7 * 86_400)
    .default(3_600)
    .describe('Life of a signed media URL'),
  MEDIA_OFFLOAD: mediaOffload
    .default(null)
    .describe(
      'Lets the web server in front send blobs that are files: `x-accel-redirect:/blobs` (nginx), `x-sendfile`, or `off`',
    ),

  EDITORIAL_PROXY: z
    .string()
    .regex(
      /^(proresProxy|dnxhrLb|h264Intra):(source|2160|1080|720|540)(:(source|review))?$/,
      'must be a codec (proresProxy, dnxhrLb, h264Intra), a colon and lines (source, 2160, 1080, 720, 540)',
    )
    .transform((text) => {
      const [codec, resolution, colour = 'source'] = text.split(':') as [
        'proresProxy' | 'dnxhrLb' | 'h264Intra',
        'source' | '2160' | '1080' | '720' | '540',
        string?,
      ];
      return { codec, resolution, colour: colour === 'review' ? ('REVIEW' as const) : ('SOURCE' as const) };
    })
    .optional()
    .describe(
      'Makes an editorial proxy of every upload too, `codec:lines`: proresProxy, dnxhrLb or h264Intra at source, 2160, 1080, 720 or 540 lines; with `:review` in the colours of review. Unset: none',
    ),
  REVIEW_LUTS: z
    .string()
    .transform((text) => text.split(',').map((part) => part.trim()))
    .refine(
      (parts) => parts.every((part) => /^[a-z0-9-]+=\/.+$/.test(part)),
      'must be `transfer=/path/file.cube`, separated by commas',
    )
    .transform((parts) =>
      parts.map((part) => ({ transfer: part.slice(0, part.indexOf('=')), path: part.slice(part.indexOf('=') + 1) })),
    )
    .default([])
    .describe(
      'Looks for review by the transfer characteristic of the source, `transfer=/path/file.cube` separated by commas; `unknown` for sources that tell none (camera log mostly)',
    ),
  FFMPEG_HARDWARE: z
    .enum(['auto', 'off'])
    .default('auto')
    .describe('Whether graphics cards may encode: `auto` where one is tried and works, or `off`'),
  FFMPEG_PATH: z.string().default('ffmpeg').describe('ffmpeg 4.4 or newer'),
  FFPROBE_PATH: z.string().default('ffprobe').describe('The ffprobe that belongs to it'),
  FFMPEG_THREADS: whole(1, 256)
    .default(() => availableParallelism())
    .describe('Threads of one ffmpeg; default: all cores'),
});

export type Variables = z.output<typeof variables>;
export type VariableName = keyof Variables;
