import { randomUUID, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { ApolloArmor } from '@escape.tech/graphql-armor';
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginInlineTraceDisabled,
} from '@apollo/server/plugin/disabled';
import type { ApolloDriverConfig } from '@nestjs/apollo';
import type { Request, Response } from 'express';
import {
  GraphQLError,
  parse,
  specifiedRules,
  validate,
  type GraphQLFormattedError,
  type GraphQLSchema,
  type ValidationContext,
  type ValidationRule,
} from 'graphql';
import { CloseCode, type Context as WsContext, type ServerOptions, type SubscribePayload } from 'graphql-ws';
import type { GraphQLWsSubscriptionsConfig } from '@nestjs/graphql';
import { isDatabaseAway } from '#libs/postgres/index.js';
import type { Logger } from '#libs/runtime/index.js';
import type { Secrets, Session } from '#libs/secrets/index.js';
import { checkAsOf, type AsOfReads } from '../history/as-of-reads.js';
import type { Access } from './access.js';
import type { RequestContext } from './context.js';
import { queryCost } from './query-cost.js';
import { subscribeShared } from './deliveries.js';
import type { ReadStore } from './read-store.js';

interface Socket {
  close(code: number, reason: string): void;
}
interface SocketExtra {
  readonly socket: Socket;
  readonly request: IncomingMessage;
  session?: Session;
  /** Names the socket in the console. */
  id?: string;
}
type Live = WsContext<Record<string, unknown>, SocketExtra>;

interface EdgeOptions {
  readonly store: ReadStore;
  readonly access: Access;
  readonly secrets: Secrets;
  readonly logger: Logger;
  readonly asOf: Pick<AsOfReads, 'session'>;
  /** Opens the console without a session; see `operatorToken`. */
  readonly operatorToken: string;
}

const MAX_TOKENS = 4000;
const MAX_COST = 100_000;

/** Every limit has a code of its own. Apollo sets `code` of all validation errors, so ours waits beside it. */
const over = (limit: string) => ({
  propagateOnRejection: false,
  onReject: [
    (context: ValidationContext | null, { message }: GraphQLError) =>
      context?.reportError(new GraphQLError(message.replace(/^Syntax Error: /, ''), { extensions: { limit } })),
  ],
});

/** Takes the same time wherever the two differ. */
const sameText = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

const bearer = (header: string | undefined): string | undefined => header?.match(/^Bearer ([\w-]{1,200})$/i)?.[1];

/** How GraphQL meets the network: who asks, what a query may cost, what errors say, sockets that end with their session. */
export class GraphqlEdge {
  readonly #options: EdgeOptions;
  readonly #sockets = new Map<string, Set<Socket>>();
  readonly #armor = new ApolloArmor({
    maxDepth: { n: 14, ...over('QUERY_TOO_DEEP') },
    maxAliases: { n: 30, ...over('TOO_MANY_ALIASES') },
    maxDirectives: { n: 50, ...over('TOO_MANY_DIRECTIVES') },
    // graphql-js counts tokens itself, and answers 400 where the plugin makes it 500.
    maxTokens: { enabled: false },
    // It counts a page whose size is a variable as one item; see queryCost.
    costLimit: { enabled: false },
    blockFieldSuggestion: { enabled: false },
  }).protect();
  readonly #stopListening: () => void;
  /** Set once it is built. */
  schema: GraphQLSchema | undefined;

  constructor(options: EdgeOptions) {
    this.#options = options;
    this.#stopListening = options.secrets.sessions.onTerminated(({ sessionId, reason }) => {
      for (const socket of this.#sockets.get(sessionId) ?? []) socket.close(4403, `Session ended: ${reason}`);
    });
  }

  close(): void {
    this.#stopListening();
    for (const sockets of this.#sockets.values())
      for (const socket of sockets) socket.close(1001, 'The server is going away');
  }

  options(): Partial<ApolloDriverConfig> {
    return {
      context: (from: { req: Request; res: Response } | Live) =>
        'extra' in from ? this.#ofSocket(from) : this.ofRequest(from.req, from.req.ip),
      csrfPrevention: true,
      introspection: true,
      playground: false,
      includeStacktraceInErrorResponses: false,
      allowBatchedHttpRequests: false,
      parseOptions: { maxTokens: MAX_TOKENS },
      validationRules: [...this.#armor.validationRules],
      formatError: (formatted, error) => this.#format(formatted, error),
      plugins: [
        ...(this.#armor.plugins as NonNullable<ApolloDriverConfig['plugins']>),
        // It would wrap every field to say what is always true; the header is set below.
        ApolloServerPluginCacheControlDisabled(),
        ApolloServerPluginInlineTraceDisabled(),
        {
          // The snapshot of the operation is given back whatever became of it.
          requestDidStart: async ({ contextValue }) => ({
            didResolveOperation: async ({ schema, document, request, operation }) => {
              const cost = queryCost(schema, document, request.variables, request.operationName);
              if (cost > MAX_COST) throw tooExpensive(cost);
              const context = contextValue as RequestContext;
              if (context.asOf === undefined || !operation) return;
              checkAsOf(operation, document);
              context.read = await this.#options.asOf.session(context.asOf, context.viewer);
            },
            willSendResponse: async ({ response }) => {
              response.http.headers.set('cache-control', 'no-store');
              void (contextValue as RequestContext).read?.release();
            },
          }),
        },
      ],
      subscriptions: { 'graphql-ws': this.#socketOptions() as GraphQLWsSubscriptionsConfig },
    };
  }

  /** Nest's type knows fewer options than graphql-ws takes; they are passed on all the same. */
  #socketOptions(): GraphQLWsSubscriptionsConfig & Pick<ServerOptions, 'subscribe' | 'onSubscribe' | 'onError'> {
    return {
      path: '/graphql',
      connectionInitWaitTimeout: 10_000,
      subscribe: subscribeShared,
      onConnect: async (context: WsContext<Record<string, unknown>, unknown>) => {
        const live = context as Live;
        const token = live.connectionParams?.['token'];
        const session =
          typeof token === 'string' ? await this.#options.secrets.sessions.authenticate(token) : undefined;
        if (!session) return false;
        live.extra.session = session;
        live.extra.id = randomUUID();
        let sockets = this.#sockets.get(session.sessionId);
        if (!sockets) this.#sockets.set(session.sessionId, (sockets = new Set()));
        sockets.add(live.extra.socket);
        return true;
      },
      onClose: (context: WsContext<Record<string, unknown>, unknown>) => {
        const { session, socket } = (context as Live).extra;
        if (!session) return;
        const sockets = this.#sockets.get(session.sessionId);
        sockets?.delete(socket);
        if (sockets?.size === 0) this.#sockets.delete(session.sessionId);
      },
      onSubscribe: (context, _id, payload) => {
        const errors = this.#refusedBySize(payload, (context as unknown as Live).extra.request);
        return errors.length > 0 ? errors : undefined;
      },
      onError: (_context, _id, _payload, errors) =>
        errors.map((error) => this.#format(error instanceof GraphQLError ? error.toJSON() : error, error)),
    };
  }

  /** Depth and cost limits hold on a socket as over HTTP. */
  #refusedBySize(
    { query, variables, operationName }: SubscribePayload,
    request: IncomingMessage,
  ): readonly GraphQLError[] {
    if (!this.schema) return [];
    if (request.headers['x-as-of'] !== undefined)
      return [
        new GraphQLError('The past can be read, not followed: ask over HTTP.', {
          extensions: { code: 'AS_OF_QUERIES_ONLY' },
        }),
      ];
    try {
      const document = parse(query, { maxTokens: MAX_TOKENS });
      const rules = [...specifiedRules, ...(this.#armor.validationRules as ValidationRule[])];
      const errors = validate(this.schema, document, rules);
      if (errors.length > 0) return errors;
      const cost = queryCost(this.schema, document, variables ?? {}, operationName);
      return cost > MAX_COST ? [tooExpensive(cost)] : [];
    } catch (error) {
      return error instanceof GraphQLError ? [error] : [new GraphQLError(String(error))];
    }
  }

  /** The context of an HTTP request; `ip` is who sent it, past the proxies that are believed. */
  async ofRequest(request: IncomingMessage, ip: string | undefined): Promise<RequestContext> {
    const token = bearer(request.headers.authorization);
    const origin = { ip, userAgent: request.headers['user-agent'] };
    if (token && sameText(token, this.#options.operatorToken)) return this.#context(undefined, origin, request, true);
    const session = token ? await this.#options.secrets.sessions.authenticate(token) : undefined;
    const asOf = request.headers['x-as-of'];
    const context = await this.#context(session, origin, request);
    return asOf === undefined ? context : Object.assign(context, { asOf: String(asOf) });
  }

  async #ofSocket(live: Live): Promise<RequestContext> {
    const { session, request, socket } = live.extra;
    const alive = session && (await this.#options.secrets.sessions.touch(session.sessionId));
    if (!alive) socket.close(CloseCode.Forbidden, 'Session ended');
    const origin = { ip: request.socket.remoteAddress, userAgent: request.headers['user-agent'] };
    return Object.assign(await this.#context(alive, origin, request), { socket: live.extra.id });
  }

  async #context(
    session: Session | undefined,
    origin: RequestContext['origin'],
    req: unknown,
    operator = false,
  ): Promise<RequestContext> {
    const viewer = session ? await this.#options.access.viewer(session.userId, session.organisationId) : null;
    const read = this.#options.store.session();
    const context: RequestContext = { session: session ?? null, viewer, operator, origin, read };
    // With a request of its own, Nest does not copy the context: the snapshot must stay one.
    return Object.assign(context, { req });
  }

  #format(formatted: GraphQLFormattedError, error: unknown): GraphQLFormattedError {
    const original = error instanceof GraphQLError ? error.originalError : error;
    const code = formatted.extensions?.['code'];
    const expected = !original || original instanceof GraphQLError;
    if (expected && code !== 'INTERNAL_SERVER_ERROR') return withFieldPath(withOwnCode(formatted));
    if (isDatabaseAway(original)) {
      this.#options.logger.warn({ err: original, path: formatted.path }, 'a database is away');
      return {
        message: 'A database is not to be reached at the moment; ask again.',
        path: formatted.path,
        locations: formatted.locations,
        extensions: { code: 'DATABASE_UNAVAILABLE' },
      };
    }
    const correlationId = randomUUID();
    this.#options.logger.error({ err: original ?? error, correlationId, path: formatted.path }, 'request failed');
    return {
      message: 'Something went wrong on our side. Quote the correlation id when you report it.',
      path: formatted.path,
      locations: formatted.locations,
      extensions: { code: 'INTERNAL', correlationId },
    };
  }
}

const tooExpensive = (cost: number) =>
  new GraphQLError(`The query may cost up to ${MAX_COST}; this one costs ${cost}. Ask for smaller pages.`, {
    extensions: { code: 'QUERY_TOO_EXPENSIVE', http: { status: 400 } },
  });

/** Limits that others check for us, with codes that tell them apart. */
function withOwnCode(error: GraphQLFormattedError): GraphQLFormattedError {
  const { limit, ...extensions } = error.extensions ?? {};
  const code =
    typeof limit === 'string'
      ? limit
      : /^Syntax Error: Document contains more that \d+ tokens/.test(error.message)
        ? 'QUERY_TOO_LONG'
        : error.message === 'Operation batching disabled.'
          ? 'BATCHING_DISABLED'
          : undefined;
  return code === undefined ? error : { ...error, extensions: { ...extensions, code } };
}

/** graphql-js names the input field at fault in its words only; clients get it as a path too. */
function withFieldPath(error: GraphQLFormattedError): GraphQLFormattedError {
  const at = /^Variable "\$(\w+)" got invalid value .*?(?: at "\w+\.?([\w.[\]]*)")?; /s.exec(error.message);
  if (!at || error.extensions?.['path']) return error;
  const field = /; Field "(\w+)" (?:of required type .* was not provided|is not defined by type)/s.exec(error.message);
  const path = [at[1]!, ...(at[2] ?? '').split(/[.[\]]+/).filter(Boolean), ...(field ? [field[1]!] : [])];
  return { ...error, extensions: { ...error.extensions, code: 'BAD_USER_INPUT', path } };
}
