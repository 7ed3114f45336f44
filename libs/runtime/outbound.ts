import { lookup as resolve } from 'node:dns/promises';
import { request as requestHttp, type IncomingHttpHeaders } from 'node:http';
import { request as requestHttps } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Addresses that are not of the public internet: loopback, private, link-local, documentation, multicast, reserved. */
const CLOSED: readonly [string, number][] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  ['::', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
];

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 4 ? 'ipv4' : 'ipv6');
const closed = new BlockList();
for (const [net, bits] of CLOSED) closed.addSubnet(net, bits, familyOf(net));

/** Whether an address is none of the public internet. An IPv4 address in IPv6 clothes is looked at as what it is. */
export function isPrivateAddress(address: string): boolean {
  // BlockList reads ::ffff:a.b.c.d as the IPv4 address it is.
  return isIP(address) === 0 || closed.check(address, familyOf(address));
}

export class OutboundError extends Error {
  override readonly name = 'OutboundError';
  constructor(
    readonly code: 'OUTBOUND_FORBIDDEN' | 'OUTBOUND_FAILED' | 'OUTBOUND_TOO_LARGE',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface OutboundOptions {
  /** Hosts that may have private addresses: names, or addresses as they stand in a URL. */
  readonly allow?: readonly string[];
  /** For the whole exchange, milliseconds. Default 15,000. */
  readonly timeoutMs?: number;
  /** Largest answer, bytes. Default 1 MB. */
  readonly maxBytes?: number;
}

export interface OutboundAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/**
 * The one way out for what an operator or a user has typed in: http and https to public addresses, or to hosts that are
 * allowed by name. The address that was looked at is the one that is connected to, so a name that answers differently the
 * next time gains nothing. Redirects are answers, not followed.
 */
export class Outbound {
  readonly #allow: ReadonlySet<string>;
  readonly #timeoutMs: number;
  readonly #maxBytes: number;

  constructor({ allow = [], timeoutMs = 15_000, maxBytes = 1 << 20 }: OutboundOptions = {}) {
    this.#allow = new Set(allow.map((host) => host.toLowerCase()));
    this.#timeoutMs = timeoutMs;
    this.#maxBytes = maxBytes;
  }

  /** @throws OutboundError */
  async post(url: string, body: string, headers: Readonly<Record<string, string>> = {}): Promise<OutboundAnswer> {
    const to = new URL(url);
    if (to.protocol !== 'http:' && to.protocol !== 'https:')
      throw new OutboundError('OUTBOUND_FORBIDDEN', `${to.protocol} is not spoken here`);
    if (to.username || to.password) throw new OutboundError('OUTBOUND_FORBIDDEN', 'An address has no password in it');
    const host = to.hostname.replace(/^\[|\]$/g, '').toLowerCase();
    const free = this.#allow.has(host);
    // For a literal address no name is looked up: it is looked at here.
    if (isIP(host) && !free && isPrivateAddress(host)) throw forbidden(host);
    return new Promise<OutboundAnswer>((settle, reject) => {
      const send = to.protocol === 'https:' ? requestHttps : requestHttp;
      const fail = (error: unknown) =>
        reject(
          error instanceof OutboundError
            ? error
            : new OutboundError('OUTBOUND_FAILED', `${host}: ${(error as Error).message}`, { cause: error }),
        );
      const request = send(
        to,
        {
          method: 'POST',
          agent: false,
          lookup: guardedLookup(free),
          signal: AbortSignal.timeout(this.#timeoutMs),
          headers: { ...headers, 'content-length': Buffer.byteLength(body), 'user-agent': 'picturelock' },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let size = 0;
          response.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > this.#maxBytes)
              response.destroy(new OutboundError('OUTBOUND_TOO_LARGE', `${host} answers with too many bytes`));
            else chunks.push(chunk);
          });
          response.on('error', fail);
          response.on('end', () =>
            settle({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString('utf8'),
            }),
          );
        },
      );
      request.on('error', fail);
      request.end(body);
    });
  }
}

const forbidden = (host: string) =>
  new OutboundError(
    'OUTBOUND_FORBIDDEN',
    `${host} is no public address; OUTBOUND_ALLOW names hosts that may be reached`,
  );

/** Hands on only addresses that may be connected to. */
const guardedLookup =
  (free: boolean): LookupFunction =>
  (host, _options, done) => {
    resolve(host, { all: true })
      .then((addresses) => {
        if (!free && addresses.some(({ address }) => isPrivateAddress(address))) throw forbidden(host);
        done(null, addresses);
      })
      .catch((error: Error) => done(error, []));
  };
