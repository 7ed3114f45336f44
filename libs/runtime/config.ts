import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readSecrets, type Secrets } from './secrets-file.js';
import { type Variables, variables } from './variables.js';

export interface Databases {
  /** Embedded event store, the only one to open it; undefined when the event store is elsewhere. */
  log: string | undefined;
  /** Read models; can be dropped at any time. */
  read: string;
  /** Queues. */
  jobs: string;
  /** Credentials, sessions, person keys. */
  secrets: string;
}

/** What any process can know from the environment alone; the launcher fills in what is missing and starts the rest. */
export interface Settings {
  env: 'production' | 'development' | 'test';
  /** Absolute path. */
  home: string;
  /** A URL each; undefined ones are served by the embedded Postgres. */
  databases: { [Name in keyof Databases]: string | undefined };
  /** Connection string; undefined: the embedded event store. */
  eventStoreUrl: string | undefined;
  /** Undefined: queues in Postgres. */
  redisUrl: string | undefined;
  /** `file:///…` or `s3://bucket/prefix?endpoint=…`. */
  storageUrl: string;
  s3Credentials: { accessKeyId: string; secretAccessKey: string } | undefined;
  api: {
    host: string;
    /** 0: any free port. */
    port: number;
    /** Without a slash at the end; undefined: see `publicUrl`. */
    publicUrl: string | undefined;
    trustProxy: boolean | number | string[];
    corsOrigins: string[];
  };
  health: { host: string; port: number };
  metrics: boolean;
  logLevel: Variables['LOG_LEVEL'];
  shutdownSeconds: number;
  uploads: {
    maxImageBytes: number;
    maxVideoBytes: number;
    /** Unfinished uploads of one organisation together. */
    quotaBytes: number;
    expiryHours: number;
  };
  sessions: { idleMinutes: number; absoluteHours: number };
  /** Null shows the whole audit trail. */
  audit: { retentionDays: number | null };
  /** Read models as of a moment. */
  asOf: { builds: number; bytes: number; ttlSeconds: number };
  feeds: { heartbeatSeconds: number };
  ledger: {
    /** Signer key; undefined: in the file, or generated in the home. */
    key: string | undefined;
    keyFile: string | undefined;
    checkpointSeconds: number;
    dropFolder: string | undefined;
    webhookUrl: string | undefined;
    /** `vkey url` each. */
    witnesses: string[];
  };
  erasures: {
    /** Beside the list in the home; undefined: none. */
    listFolder: string | undefined;
  };
  outbound: { allow: string[] };
  media: {
    urlTtlSeconds: number;
    /** Null: the api sends every byte itself. */
    offload: Variables['MEDIA_OFFLOAD'];
    /** Undefined: none is made. */
    editorialProxy: Variables['EDITORIAL_PROXY'];
    reviewLuts: Variables['REVIEW_LUTS'];
    hardware: boolean;
    ffmpegPath: string;
    ffprobePath: string;
    ffmpegThreads: number;
  };
}

/** The settings of a service, complete. */
export interface Config extends Settings {
  databases: Databases;
  eventStoreUrl: string;
  keys: {
    /** 32 bytes that wrap every person's key. */
    master: Buffer;
    /** 32 bytes that sign media URLs. */
    mediaSigning: Buffer;
  };
}

export interface ConfigIssue {
  variable: string;
  message: string;
}

/** Everything that is wrong with the environment at once, each with the name of its variable. Never holds a value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'CONFIG_INVALID';

  constructor(readonly issues: ConfigIssue[]) {
    super(['The configuration is wrong:', ...issues.map((i) => `  ${i.variable} ${i.message}`)].join('\n'));
  }
}

type Environment = Record<string, string | undefined>;

function parse(env: Environment): Variables {
  const given = Object.fromEntries(
    Object.keys(variables.shape)
      .map((name) => [name, env[name]] as const)
      .filter(([, value]) => value !== undefined && value !== ''),
  );
  const result = variables.safeParse(given);
  if (result.success) return result.data;
  throw new ConfigError(
    result.error.issues.map((issue) => ({ variable: issue.path.join('.'), message: issue.message })),
  );
}

/** `postgres://…/studio` → `postgres://…/studio_log`; without a path the prefix is `picturelock`. */
export function databaseUrl(server: string, name: keyof Databases): string {
  const url = new URL(server);
  const prefix = decodeURIComponent(url.pathname.replace(/^\//, '')) || 'picturelock';
  url.pathname = `/${encodeURIComponent(`${prefix}_${name}`)}`;
  return url.toString();
}

function toSettings(v: Variables): Settings {
  const home = resolve(v.PICTURELOCK_HOME);
  const database = (own: string | undefined, name: keyof Databases): string | undefined =>
    own ?? (v.DATABASE_URL ? databaseUrl(v.DATABASE_URL, name) : undefined);
  if (Boolean(v.AWS_ACCESS_KEY_ID) !== Boolean(v.AWS_SECRET_ACCESS_KEY)) {
    const variable = v.AWS_ACCESS_KEY_ID ? 'AWS_SECRET_ACCESS_KEY' : 'AWS_ACCESS_KEY_ID';
    throw new ConfigError([{ variable, message: 'is missing: the two S3 keys come together' }]);
  }
  return {
    env: v.NODE_ENV,
    home,
    databases: {
      log: database(v.LOG_DATABASE_URL, 'log'),
      read: database(v.READ_DATABASE_URL, 'read'),
      jobs: database(v.JOBS_DATABASE_URL, 'jobs'),
      secrets: database(v.SECRETS_DATABASE_URL, 'secrets'),
    },
    eventStoreUrl: v.EVENTSTORE_URL,
    redisUrl: v.REDIS_URL,
    storageUrl: v.STORAGE_URL ?? pathToFileURL(join(home, 'blobs')).toString(),
    s3Credentials:
      v.AWS_ACCESS_KEY_ID && v.AWS_SECRET_ACCESS_KEY
        ? { accessKeyId: v.AWS_ACCESS_KEY_ID, secretAccessKey: v.AWS_SECRET_ACCESS_KEY }
        : undefined,
    api: {
      host: v.API_HOST,
      port: v.API_PORT,
      publicUrl: v.PUBLIC_URL,
      trustProxy: v.TRUST_PROXY,
      corsOrigins: v.CORS_ORIGINS,
    },
    health: { host: v.HEALTH_HOST, port: v.HEALTH_PORT },
    metrics: v.METRICS,
    logLevel: v.LOG_LEVEL,
    shutdownSeconds: v.SHUTDOWN_SECONDS,
    uploads: {
      maxImageBytes: v.UPLOAD_MAX_IMAGE_BYTES,
      maxVideoBytes: v.UPLOAD_MAX_VIDEO_BYTES,
      quotaBytes: v.UPLOAD_QUOTA_BYTES,
      expiryHours: v.UPLOAD_EXPIRY_HOURS,
    },
    sessions: { idleMinutes: v.SESSION_IDLE_MINUTES, absoluteHours: v.SESSION_ABSOLUTE_HOURS },
    audit: { retentionDays: v.AUDIT_RETENTION_DAYS ?? null },
    asOf: { builds: v.AS_OF_BUILDS, bytes: v.AS_OF_BYTES, ttlSeconds: v.AS_OF_TTL_SECONDS },
    feeds: { heartbeatSeconds: v.FEED_HEARTBEAT_SECONDS },
    ledger: {
      key: v.LEDGER_KEY,
      keyFile: v.LEDGER_KEY_FILE,
      checkpointSeconds: v.LEDGER_CHECKPOINT_SECONDS,
      dropFolder: v.LEDGER_DROP_FOLDER,
      webhookUrl: v.LEDGER_WEBHOOK_URL,
      witnesses: v.LEDGER_WITNESSES,
    },
    erasures: { listFolder: v.ERASURE_LIST_FOLDER },
    outbound: { allow: v.OUTBOUND_ALLOW },
    media: {
      urlTtlSeconds: v.MEDIA_URL_TTL_SECONDS,
      offload: v.MEDIA_OFFLOAD,
      ffmpegPath: v.FFMPEG_PATH,
      ffprobePath: v.FFPROBE_PATH,
      editorialProxy: v.EDITORIAL_PROXY,
      reviewLuts: v.REVIEW_LUTS,
      hardware: v.FFMPEG_HARDWARE === 'auto',
      ffmpegThreads: v.FFMPEG_THREADS,
    },
  };
}

/** What the launcher works with. @throws ConfigError */
export function loadSettings(env: Environment): Settings {
  return toSettings(parse(env));
}

/**
 * What a service works with: every database, the event store and both keys must be known. Keys come from their variable,
 * the file it names, or `secrets.json` in the home.
 *
 * @throws ConfigError naming every wrong or missing variable
 */
export function loadConfig(env: Environment): Config {
  const v = parse(env);
  const settings = toSettings(v);
  const issues: ConfigIssue[] = [];

  const databases = settings.databases;
  for (const name of ['log', 'read', 'jobs', 'secrets'] as const) {
    // Only the embedded event store opens the log database, and it isn't ours to configure.
    if (name === 'log' || databases[name] !== undefined) continue;
    issues.push({ variable: `${name.toUpperCase()}_DATABASE_URL`, message: 'is missing, and so is DATABASE_URL' });
  }
  if (!settings.eventStoreUrl) {
    issues.push({
      variable: 'EVENTSTORE_URL',
      message: 'is missing (`npm start` sets it for the embedded event store)',
    });
  }

  let secrets: Secrets | undefined;
  try {
    secrets = readSecrets(settings.home);
  } catch (error) {
    issues.push({ variable: 'PICTURELOCK_HOME', message: (error as Error).message });
  }
  const keyOf = (name: 'MASTER_KEY' | 'MEDIA_SIGNING_KEY', generated: string | undefined): Buffer => {
    const file = v[`${name}_FILE`];
    let text = v[name];
    if (text && file) issues.push({ variable: name, message: `and ${name}_FILE are both set: choose one` });
    if (!text && file) {
      try {
        const parsed = variables.shape[name].safeParse(readFileSync(file, 'utf8'));
        if (parsed.success) text = parsed.data;
        else
          issues.push({
            variable: `${name}_FILE`,
            message: `names a file whose content ${parsed.error.issues[0]!.message}`,
          });
      } catch (error) {
        issues.push({ variable: `${name}_FILE`, message: `can't be read: ${(error as NodeJS.ErrnoException).code}` });
      }
    } else if (!text) {
      text = generated;
      if (!text) issues.push({ variable: name, message: 'is missing, and the home holds no generated one' });
    }
    return Buffer.from(text ?? '', 'base64url');
  };
  const keys = {
    master: keyOf('MASTER_KEY', secrets?.masterKey),
    mediaSigning: keyOf('MEDIA_SIGNING_KEY', secrets?.mediaSigningKey),
  };
  if (issues.length > 0) throw new ConfigError(issues);
  return {
    ...settings,
    databases: databases as Databases,
    eventStoreUrl: settings.eventStoreUrl!,
    keys,
  };
}

/** How browsers reach an api that listens on `port`: PUBLIC_URL, else its own address. */
export function publicUrl(settings: Settings, port: number): string {
  if (settings.api.publicUrl) return settings.api.publicUrl;
  const everywhere = ['0.0.0.0', '::', '127.0.0.1', '::1', 'localhost'].includes(settings.api.host);
  const host = everywhere ? 'localhost' : settings.api.host;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Where lists of erasures are kept: in the home, and in the folder that was named for it. */
export const erasureListFolders = ({ home, erasures }: Pick<Settings, 'home' | 'erasures'>): string[] => [
  home,
  ...(erasures.listFolder === undefined ? [] : [erasures.listFolder]),
];
