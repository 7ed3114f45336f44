import 'reflect-metadata';
import { existsSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Catch, type ExceptionFilter } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { ApolloDriver } from '@nestjs/apollo';
import { GraphQLModule, GraphQLSchemaHost } from '@nestjs/graphql';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { GraphQLError } from 'graphql';
import express, { type NextFunction, type Request, type Response } from 'express';
import {
  auditRefusals,
  CommandExecutor,
  openEventLog,
  startWithErasures,
  type PersonCipher,
} from '#libs/events/log/index.js';
import { openJobs } from '#libs/jobs/index.js';
import { LedgerStore, openSource } from '#libs/ledger/index.js';
import { createUploadService, LocalBlobStore, offloadFiles, openBlobStore, useFfmpeg } from '#libs/media/index.js';
import {
  ERASURE_LIST,
  erasureListFolders,
  operatorToken,
  publicUrl,
  readErasureList,
  runService,
} from '#libs/runtime/index.js';
import { openSnapshots } from '#libs/snapshots/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { can } from '#libs/domain/index.js';
import { AppModule } from './app.module.js';
import { AsOfReads } from './history/as-of-reads.js';
import { Alarms } from './console/alarms.js';
import { auditExport } from './audit/audit.http.js';
import { Feeds } from './feeds/events.http.js';
import { schemasRoute } from './feeds/schemas.http.js';
import { ledgerRoute } from './ledger/ledger.http.js';
import { applyListedErasures } from './identity/listed-erasures.js';
import { mediaRoute } from './media/media.http.js';
import { Access } from './platform/access.js';
import { Changes } from './platform/changes.js';
import { BODY_ERRORS, graphqlDoor, MAX_BODY_BYTES, type DoorOptions } from './platform/graphql-door.js';
import { GraphqlEdge } from './platform/graphql-edge.js';
import { nestLogger } from './platform/nest-logger.js';
import { outcomeMemory } from '#libs/application/index.js';
import { ReadStore } from './platform/read-store.js';

const SWEEP_MS = 10 * 60_000;

/** What the page may load: itself. `blob:` is hls.js's media and worker. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'self'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob:",
  "worker-src 'self' blob:",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self' ws: wss:",
  "object-src 'none'",
  "base-uri 'none'",
  "frame-ancestors 'self'",
].join('; ');

const SECURITY_HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
};

/** What is refused on purpose is an answer: Nest would write each to the log as an error. */
@Catch(GraphQLError)
class Expected implements ExceptionFilter<GraphQLError> {
  catch(error: GraphQLError): GraphQLError {
    return error;
  }
}

/** Reads the log without anybody's key: personal fields are redacted. */
const sealed: PersonCipher = {
  encrypt: () => Promise.reject(new Error('Nothing is written here')),
  decrypt: () => Promise.resolve(undefined),
};

await runService(
  'api',
  async ({ config, logger, metrics }) => {
    const warn = (what: string) => (err: unknown) => logger.warn({ err }, what);
    const secrets = await openSecrets({
      databaseUrl: config.databases.secrets,
      masterKey: config.keys.master,
      sessionIdleMinutes: config.sessions.idleMinutes,
      sessionAbsoluteHours: config.sessions.absoluteHours,
      onError: warn('secrets: background work failed'),
    });
    let port = config.api.port;
    await startWithErasures({ url: config.eventStoreUrl, secrets, logger });
    const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys, logger });
    const snapshots = openSnapshots(config.databases.read, warn('snapshots of streams: connection trouble'));
    const audit = auditRefusals(log, warn('a refusal could not be put on record'));
    const executor = new CommandExecutor({ log, audit, outcomes: outcomeMemory(secrets.outcomes), snapshots });
    const store = await ReadStore.open(config.databases.read, warn('read models: connection trouble'));
    const access = new Access(store);
    const changes = new Changes(store, access, warn('the change feed could not be read'));
    await applyListedErasures(
      erasureListFolders(config).flatMap((folder) => readErasureList(join(folder, ERASURE_LIST), config.keys.master)),
      { log, executor, secrets, store, access, logger },
    );
    const jobs = await openJobs({
      databaseUrl: config.databases.jobs,
      redisUrl: config.redisUrl,
      onError: warn('jobs: connection trouble'),
    });
    const sealedLog = openEventLog({ url: config.eventStoreUrl, cipher: sealed, logger });
    const feeds = new Feeds({
      log,
      sealedLog,
      store,
      access,
      secrets,
      publicUrl: () => publicUrl(config, port),
      onError: warn('feed: will try again'),
      heartbeatMs: config.feeds.heartbeatSeconds * 1000,
      stalledMs: config.feeds.heartbeatSeconds * 4000,
    });
    const ledger = await LedgerStore.open(config.databases.secrets, warn('ledger: connection trouble'));
    const source = openSource(config.eventStoreUrl);
    useFfmpeg({ ffmpeg: config.media.ffmpegPath, ffprobe: config.media.ffprobePath });
    const blobs = await openBlobStore(config.storageUrl, { cacheDirectory: join(config.home, 'cache') });
    const offload =
      config.media.offload && blobs instanceof LocalBlobStore
        ? offloadFiles(blobs.root, config.media.offload)
        : undefined;
    const uploads = await createUploadService({
      directory: join(config.home, 'uploads'),
      blobs,
      maxBytes: {
        IMAGE: config.uploads.maxImageBytes,
        VIDEO: config.uploads.maxVideoBytes,
        AUDIO: config.uploads.maxVideoBytes,
      },
      unfinishedBytesPerOrganisation: config.uploads.quotaBytes,
      expiresAfterMs: config.uploads.expiryHours * 3_600_000,
      allowedOrigins: config.api.corsOrigins,
      authorize: async (request) => {
        const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
        const session = token ? await secrets.sessions.authenticate(token) : undefined;
        const viewer = session && (await access.viewer(session.userId, session.organisationId));
        if (!viewer) return { status: 401, code: 'UNAUTHENTICATED', message: 'Sign in first.' };
        if (!can(viewer.role, 'version.upload'))
          return { status: 403, code: 'FORBIDDEN', message: 'Your role does not include “version.upload”.' };
        return { organisationId: viewer.organisationId, userId: viewer.userId };
      },
    });
    await uploads.recover();
    const sweep = setInterval(() => {
      uploads.registry.sweep(new Date()).catch(warn('expired uploads could not be removed'));
    }, SWEEP_MS);
    sweep.unref();

    const asOf = new AsOfReads({
      url: config.databases.read,
      store,
      log,
      limits: config.asOf,
      onError: warn('as-of: connection trouble'),
    });
    const edge = new GraphqlEdge({
      asOf,
      store,
      access,
      secrets,
      logger,
      operatorToken: operatorToken(config.keys.master),
    });
    const module = AppModule.of(
      { config, logger, log, executor, audit, store, access, changes, secrets, uploads, jobs, asOf },
      edge,
    );
    const app = await NestFactory.create<NestExpressApplication>(module, {
      logger: nestLogger(logger),
      bodyParser: false,
    });
    app.useGlobalFilters(new Expected());
    app.disable('x-powered-by');
    // Answers to POST are not cached by anybody; files carry their own tags.
    app.set('etag', false);
    app.set('trust proxy', config.api.trustProxy);
    if (config.api.corsOrigins.length > 0) app.enableCors({ origin: config.api.corsOrigins });
    app.use((_request: Request, response: Response, next: NextFunction) => {
      response.set(SECURITY_HEADERS);
      next();
    });

    const alarms = new Alarms(store, jobs, logger, metrics);
    const health = async () => ({
      alarms: alarms.standing(),
      readModels: Object.fromEntries([...(await store.checkpoints())].map(([k, v]) => [k, String(v)])),
    });
    app.use('/health/live', (_request: Request, response: Response) => void response.json({ status: 'ok' }));
    app.use('/health/ready', (_request: Request, response: Response) => {
      Promise.all([health(), log.head()]).then(
        ([details]) => response.json({ status: 'ok', ...details }),
        (err: unknown) => {
          logger.warn({ err }, 'not ready');
          response.status(503).json({ status: 'unavailable' });
        },
      );
    });
    if (config.metrics)
      app.use('/metrics', (_request: Request, response: Response, next: NextFunction) => {
        metrics.metrics().then((text) => response.type(metrics.contentType).send(text), next);
      });
    app.use((request: Request, response: Response, next: NextFunction) => {
      if (request.path !== '/uploads' && !request.path.startsWith('/uploads/')) return next();
      uploads.handler(request, response).catch(next);
    });
    app.use('/media', mediaRoute({ key: config.keys.mediaSigning, blobs, store, access, secrets, offload }));
    app.use('/audit', auditExport({ log, store, access, secrets, retentionDays: config.audit.retentionDays }));
    app.use('/events', feeds.handler);
    app.use(schemasRoute());
    app.use(
      '/ledger',
      ledgerRoute({ ledger, source, access, secrets, operatorToken: operatorToken(config.keys.master) }),
    );
    app.use(express.json({ limit: MAX_BODY_BYTES }));
    app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
      const { type } = error as { type?: unknown };
      const known =
        type === 'entity.too.large'
          ? BODY_ERRORS.tooLarge
          : type === 'entity.parse.failed'
            ? BODY_ERRORS.malformed
            : undefined;
      if (!known) return next(error);
      response.status(known.status).json(known.body);
    });

    const web = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'apps', 'web', 'dist');
    if (existsSync(join(web, 'index.html'))) {
      app.use(
        express.static(web, {
          index: 'index.html',
          maxAge: '1h',
          setHeaders: (response, path) => {
            // Names of built assets carry a hash of their content; the page itself is asked for again.
            response.setHeader(
              'cache-control',
              path.includes(`${join('dist', 'assets')}`) ? 'public, max-age=31536000, immutable' : 'no-cache',
            );
          },
        }),
      );
      // The app's own addresses (`/stacks/<id>`) are all served by its one page.
      app.use((request: Request, response: Response, next: NextFunction) => {
        const page = request.method === 'GET' && request.accepts('html') && !request.path.startsWith('/graphql');
        if (!page || /\.\w+$/.test(request.path)) return next();
        response.setHeader('cache-control', 'no-cache');
        response.sendFile(join(web, 'index.html'));
      });
    }
    await app.init();
    edge.schema = app.get(GraphQLSchemaHost).schema;
    const expressApp = app.getHttpAdapter().getInstance() as RequestListener & { get(setting: string): unknown };
    app
      .getHttpServer()
      .off('request', expressApp)
      .on(
        'request',
        graphqlDoor({
          apollo: app.get(GraphQLModule<ApolloDriver>).graphQlAdapter.instance,
          context: (request, ip) => edge.ofRequest(request, ip),
          headers: SECURITY_HEADERS,
          trusts: expressApp.get('trust proxy fn') as DoorOptions['trusts'],
          cors: config.api.corsOrigins.length > 0,
          otherwise: expressApp,
        }),
      );
    const server = await app.listen(config.api.port, config.api.host);
    const address = server.address() as { port: number };
    port = address.port;
    logger.info({ host: config.api.host, port: address.port }, 'serving');
    return {
      ready: { port: address.port },
      health,
      async stop() {
        clearInterval(sweep);
        alarms.close();
        edge.close();
        await feeds.close();
        await changes.close();
        server.closeIdleConnections();
        await app.close();
        await jobs.close();
        await source.close();
        await sealedLog.close();
        await ledger.close();
        await log.close();
        await snapshots.close();
        await asOf.close();
        await store.close();
        await secrets.close();
      },
    };
  },
  { healthEndpoint: false },
);
