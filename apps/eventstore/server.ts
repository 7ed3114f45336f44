import { Server, ServerCredentials } from '@grpc/grpc-js';
import { randomUUID } from 'node:crypto';
import { pino, type Logger } from 'pino';
import { StartRefused } from './errors.js';
import { startHttp } from './http.js';
import { LARGEST_RECORD } from './protocol/append-messages.js';
import { append, batchAppend, deleteStream, type AppendLimits } from './rpc/appends.js';
import type { OpenCall } from './rpc/call.js';
import { gossip, supportedMethods } from './rpc/node.js';
import { PersistentSubscriptions } from './persistent/subscriptions.js';
import { persistentSubscriptionMethods, readPersistentSubscription } from './rpc/persistent-subscriptions.js';
import { projectionMethods, projectionStatistics } from './rpc/projections.js';
import { read } from './rpc/reads.js';
import { monitoring, operationMethods, scavengeNote, statistics } from './rpc/operations.js';
import { Routes } from './rpc/routes.js';
import { rpc } from './rpc/status.js';
import { appendRecords, appendSession } from './rpc/transactions.js';
import { userDetails, userMethods } from './rpc/users.js';
import { Accounts } from './security/accounts.js';
import type { Identity } from './security/certificate.js';
import { Guard } from './security/guard.js';
import { assertDurable, connect, lockWriter, migrate } from './storage/database.js';
import { EventLog } from './storage/event-log.js';
import { Scavenger, type ScavengeReport } from './storage/scavenger.js';

export type EventStoreServerOptions = {
  databaseUrl: string;
  /** Default 127.0.0.1. */
  host?: string;
  /** gRPC port; 0 (the default here) takes any free one. */
  port?: number;
  /** Port of health and statistics; 0 (the default) takes any free one. */
  httpPort?: number;
  logger?: Logger;
  /** Bytes; default 1 MiB as the real server's. */
  maxAppendSize?: number;
  /** Without it everybody may do everything, as on the real server when it runs `--insecure`. */
  security?: {
    /** Of the account `admin`, which gets it at each start. */
    adminPassword: string;
    /** Of the account `ops`, likewise; without it nobody can sign in as `ops` until an admin sets its password. */
    opsPassword?: string;
  };
  /** Without it connections are in clear text. */
  tls?: Identity;
  /** An operator asked for the end. Default: `close`. */
  onShutdown?: () => void;
  /** Milliseconds to wait for another server to give up the database. Default 10 s. */
  lockWaitMs?: number;
};

export type EventStoreServer = {
  port: number;
  httpPort: number;
  /** Finishes the commit under way, ends all calls and gives up the database. */
  close(): Promise<void>;
};

/** As the real server's: no append may wait longer. */
const WRITE_TIMEOUT_MS = 10_000;
const SHUTDOWN_MS = 500;

/**
 * Starts the event store on a database of its own schema `eventstore`. Refuses with a `StartRefused` when the database
 * can't be reached, is not durable, was written by a newer version or is served by another event store.
 */
export async function startEventStoreServer(options: EventStoreServerOptions): Promise<EventStoreServer> {
  const { databaseUrl, host = '127.0.0.1', port = 0, httpPort = 0, lockWaitMs = 10_000 } = options;
  const logger = options.logger ?? pino({ level: 'silent' });
  const limits: AppendLimits = {
    maxAppendSize: options.maxAppendSize ?? 1024 * 1024,
    writeTimeoutMs: WRITE_TIMEOUT_MS,
  };

  const client = await connect(databaseUrl).catch((error: unknown) => {
    throw new StartRefused(
      'EVENTSTORE_DATABASE_UNREACHABLE',
      `Postgres can't be reached: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  });
  const log = new EventLog(databaseUrl, logger);
  const persistent = new PersistentSubscriptions(log, logger);
  const accounts = new Accounts(log, logger);
  const scavenger = new Scavenger(databaseUrl, logger, (id, report) => noteScavenge(log, id, report));
  const guard = new Guard(log, options.security ? accounts : undefined);
  /** Calls of streams being served. */
  const open = new Set<OpenCall>();
  let grpcPort = 0;
  const server = new Server({
    'grpc.max_receive_message_length': LARGEST_RECORD,
    'grpc.max_send_message_length': -1,
  });
  try {
    await assertDurable(client);
    await lockWriter(client, lockWaitMs);
    await migrate(client);
    await log.writer.start(client);
    const { security } = options;
    if (security) await accounts.ensureStandard(security.adminPassword, security.opsPassword);

    const routes = new Routes(server, guard);
    const streams = '/event_store.client.streams.Streams';
    routes.serverStream(`${streams}/Read`, 'anyone', read(log, guard, open));
    routes.clientStream(`${streams}/Append`, 'anyone', append(log.writer, guard, limits, open));
    routes.bidi(`${streams}/BatchAppend`, 'anyone', batchAppend(log.writer, guard, limits, open));
    routes.unary(`${streams}/Delete`, 'anyone', deleteStream('delete', log.writer, guard, limits));
    routes.unary(`${streams}/Tombstone`, 'anyone', deleteStream('tombstone', log.writer, guard, limits));
    await persistent.start();
    const subscriptions = '/event_store.client.persistent_subscriptions.PersistentSubscriptions';
    for (const [name, { requires, serve }] of Object.entries(persistentSubscriptionMethods(persistent)))
      routes.unary(`${subscriptions}/${name}`, requires, serve);
    routes.bidi(`${subscriptions}/Read`, 'anyone', readPersistentSubscription(persistent, guard, open));
    const projections = '/event_store.client.projections.Projections';
    for (const [name, { requires, serve }] of Object.entries(projectionMethods))
      routes.unary(`${projections}/${name}`, requires, serve);
    const projected = projectionStatistics(() => log.head);
    routes.serverStream(`${projections}/Statistics`, 'authenticated', projected);
    const operations = '/event_store.client.operations.Operations';
    const administration = {
      scavenger,
      shutdown: () => setImmediate(options.onShutdown ?? (() => void close())),
      restartPersistentSubscriptions: () => persistent.restart(),
    };
    for (const [name, { requires, serve }] of Object.entries(operationMethods(administration)))
      routes.unary(`${operations}/${name}`, requires, serve);
    const startedAt = Date.now();
    const stats = monitoring(() => statistics(log, startedAt));
    routes.serverStream('/event_store.client.monitoring.Monitoring/Stats', 'authenticated', stats);
    const transactions = '/kurrentdb.protocol.v2.streams.StreamsService';
    routes.clientStream(`${transactions}/AppendSession`, 'anyone', appendSession(log.writer, guard, limits));
    routes.unary(`${transactions}/AppendRecords`, 'anyone', appendRecords(log.writer, guard, limits));
    const users = '/event_store.client.users.Users';
    for (const [name, { requires, serve }] of Object.entries(userMethods(accounts)))
      routes.unary(`${users}/${name}`, requires, serve);
    routes.serverStream(`${users}/Details`, 'authenticated', userDetails(accounts));
    const features = '/event_store.client.server_features.ServerFeatures/GetSupportedMethods';
    routes.unary(features, 'anyone', supportedMethods());
    const nodeGossip = gossip(randomUUID(), host, () => grpcPort);
    routes.unary('/event_store.client.gossip.Gossip/Read', 'anyone', nodeGossip);

    grpcPort = await bind(server, host, port, options.tls);
    const http = await startHttp(log, host, httpPort, () => ({
      passwordChecks: accounts.checks,
      scavenge: scavenger.current ?? null,
    })).catch((error: unknown) => {
      throw portUnavailable(host, httpPort, error);
    });
    logger.info({ host, port: grpcPort, httpPort: http.port, head: log.head }, 'event store is serving');
    const close = once(async () => {
      await scavenger.close();
      http.server.close();
      http.server.closeAllConnections();
      await persistent.close();
      await log.writer.close();
      // A status of its own rather than a torn connection: clients know then that they may come back.
      for (const call of open) call.fail(rpc.unavailable('the event store shuts down'));
      await shutdown(server);
      await log.close();
      logger.info('event store has stopped');
    });
    return { port: grpcPort, httpPort: http.port, close };
  } catch (error) {
    server.forceShutdown();
    await persistent.close();
    await log.close().catch(() => undefined);
    await client.end().catch(() => undefined);
    throw error;
  }
}

async function noteScavenge(log: EventLog, id: string, report: ScavengeReport | undefined): Promise<void> {
  const { type, data } = scavengeNote(id, report);
  const event = { type, isJson: true, data: Buffer.from(JSON.stringify(data)), metadata: Buffer.alloc(0) };
  await log.append(`$scavenges-${id}`, event);
}

/** Waits a moment for calls to end by themselves. */
async function shutdown(server: Server): Promise<void> {
  const impatience = setTimeout(() => server.forceShutdown(), SHUTDOWN_MS);
  await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  clearTimeout(impatience);
}

function bind(server: Server, host: string, port: number, tls: Identity | undefined): Promise<number> {
  const credentials = tls
    ? ServerCredentials.createSsl(null, [{ cert_chain: tls.certificate, private_key: tls.key }])
    : ServerCredentials.createInsecure();
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials, (error, bound) => {
      if (error) reject(portUnavailable(host, port, error));
      else resolve(bound);
    });
  });
}

function portUnavailable(host: string, port: number, cause: unknown): StartRefused {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StartRefused('EVENTSTORE_PORT_UNAVAILABLE', `Can't listen on ${host}:${port}: ${reason}`, { cause });
}

function once(action: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= action());
}
