import type { IncomingMessage, OutgoingHttpHeaders, RequestListener, ServerResponse } from 'node:http';
import { HeaderMap, type ApolloServer, type HTTPGraphQLResponse } from '@apollo/server';
import type { RequestContext } from './context.js';

/** Most bytes of a request's body. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024;

/** Bodies that are too large or no JSON are answered in the form that clients of the api read. */
export const BODY_ERRORS = {
  tooLarge: { status: 413, body: bodyError('PAYLOAD_TOO_LARGE', 'A request has at most 2 MB.') },
  malformed: { status: 400, body: bodyError('BAD_REQUEST', 'The body is not valid JSON.') },
} as const;

function bodyError(code: string, message: string) {
  return { errors: [{ message, extensions: { code } }] };
}

export interface DoorOptions {
  readonly apollo: Pick<ApolloServer, 'executeHTTPGraphQLRequest'>;
  readonly context: (request: IncomingMessage, ip: string | undefined) => Promise<RequestContext>;
  /** On every answer. */
  readonly headers: OutgoingHttpHeaders;
  /** Whether a proxy at an address is believed, by its place in the chain from here. */
  readonly trusts: (address: string, hops: number) => boolean;
  /** Other origins may ask: what a browser sends from one goes the long way. */
  readonly cors: boolean;
  /** What answers everything else. */
  readonly otherwise: RequestListener;
}

/**
 * The short way for what nearly every request is: a POST to /graphql with a JSON body of known length. Express and its
 * layers would cost each as much again as its execution. Everything else, and whatever is odd, goes the long way; the
 * answers are the same.
 */
export function graphqlDoor(options: DoorOptions): RequestListener {
  const { apollo, context, headers, trusts, otherwise } = options;

  const answer = async (request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> => {
    const { 'content-type': contentType, accept } = request.headers;
    const asked = new HeaderMap([['content-type', contentType!]]);
    if (accept !== undefined) asked.set('accept', accept);
    const result = await apollo.executeHTTPGraphQLRequest({
      httpGraphQLRequest: { method: 'POST', headers: asked, search: '', body },
      context: () => context(request, addressOf(request, trusts)),
    });
    await send(response, headers, result);
  };

  return (request, response) => {
    if (!isPlain(request, options.cors)) return void otherwise(request, response);
    const length = Number(request.headers['content-length']);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    // Who leaves in the middle gets no answer.
    request.on('error', () => undefined);
    request.on('end', () => {
      if (!request.complete) return;
      const body = parsed(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length));
      if (body === undefined) {
        const { status, body: problem } = BODY_ERRORS.malformed;
        return sendText(response, status, { ...headers, 'content-type': JSON_TYPE }, JSON.stringify(problem));
      }
      answer(request, response, body).catch((error: unknown) => response.destroy(error as Error));
    });
  };
}

const JSON_TYPE = 'application/json; charset=utf-8';

function isPlain(request: IncomingMessage, cors: boolean): boolean {
  if (request.method !== 'POST' || request.url !== '/graphql') return false;
  const { headers } = request;
  const length = headers['content-length'];
  return (
    length !== undefined &&
    Number(length) > 0 &&
    Number(length) <= MAX_BODY_BYTES &&
    /^application\/json(?:; ?charset=utf-8)?$/i.test(headers['content-type'] ?? '') &&
    headers['content-encoding'] === undefined &&
    headers['transfer-encoding'] === undefined &&
    headers.expect === undefined &&
    !(cors && headers.origin !== undefined)
  );
}

/** Undefined for what is no JSON object or array. */
function parsed(bytes: Buffer): object | undefined {
  try {
    const text = bytes.toString('utf8');
    const value = JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text) as unknown;
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Who asked: the last address in the chain of proxies that is not believed, as Express says it. */
export function addressOf(request: IncomingMessage, trusts: DoorOptions['trusts']): string | undefined {
  const own = request.socket.remoteAddress;
  const forwarded = request.headers['x-forwarded-for'];
  if (own === undefined || forwarded === undefined) return own;
  const before = String(forwarded)
    .split(',')
    .map((address) => address.trim())
    .filter((address) => address !== '');
  const chain = [own, ...before.reverse()];
  return chain.find((address, hops) => hops === chain.length - 1 || !trusts(address, hops));
}

async function send(response: ServerResponse, fixed: OutgoingHttpHeaders, result: HTTPGraphQLResponse): Promise<void> {
  const headers: OutgoingHttpHeaders = { ...fixed };
  for (const [name, value] of result.headers) headers[name] = value;
  const status = result.status ?? 200;
  if (result.body.kind === 'complete') return sendText(response, status, headers, result.body.string);
  response.writeHead(status, headers);
  for await (const chunk of result.body.asyncIterator) response.write(chunk);
  response.end();
}

function sendText(response: ServerResponse, status: number, headers: OutgoingHttpHeaders, text: string): void {
  headers['content-length'] = Buffer.byteLength(text);
  response.writeHead(status, headers);
  response.end(text);
}
