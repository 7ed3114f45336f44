import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { HeaderMap } from '@apollo/server';
import express from 'express';
import { addressOf, graphqlDoor, MAX_BODY_BYTES, type DoorOptions } from './graphql-door.js';

const servers: Server[] = [];
afterAll(() => Promise.all(servers.map((server) => new Promise((closed) => server.close(closed)))));

async function listen(server: Server): Promise<number> {
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

interface Sent {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  /** In pieces: without a length. */
  body?: string | string[];
}
async function send(
  port: number,
  { method = 'POST', path = '/graphql', headers = {}, body = '{"query":"{a}"}' }: Sent,
) {
  const whole = typeof body === 'string';
  const sent = request({
    port,
    host: '127.0.0.1',
    method,
    path,
    headers: {
      'content-type': 'application/json',
      ...(whole ? { 'content-length': Buffer.byteLength(body) } : {}),
      ...headers,
    },
  });
  for (const piece of whole ? [body] : body) sent.write(piece);
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, headers: response.headers, text };
}

async function door(options: Partial<DoorOptions> = {}) {
  const seen: { body: unknown; headers: Record<string, string>; ip: string | undefined }[] = [];
  const port = await listen(
    createServer(
      graphqlDoor({
        apollo: {
          executeHTTPGraphQLRequest: async ({ httpGraphQLRequest, context }) => {
            const { ip } = (await context()) as unknown as { ip: string | undefined };
            const { body, headers } = httpGraphQLRequest;
            seen.push({ body, headers: Object.fromEntries(headers), ip });
            return {
              status: undefined,
              headers: new HeaderMap([['content-type', 'application/json; charset=utf-8']]),
              body: { kind: 'complete', string: '{"data":{"a":"ü"}}' },
            };
          },
        },
        context: (_request, ip) => Promise.resolve({ ip } as never),
        headers: { 'x-content-type-options': 'nosniff' },
        trusts: () => false,
        cors: false,
        otherwise: (_request, response) => void response.end('the long way'),
        ...options,
      }),
    ),
  );
  return { port, seen };
}

it('answers a query with the fixed headers, the length in bytes, and who asked', async () => {
  const { port, seen } = await door();
  const answer = await send(port, {
    headers: { accept: 'application/json', authorization: 'x' },
    body: '{"query":"{ü}","variables":{"n":1}}',
  });
  expect(answer).toMatchObject({
    status: 200,
    text: '{"data":{"a":"ü"}}',
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'content-length': '19',
      'x-content-type-options': 'nosniff',
    },
  });
  expect(seen).toEqual([
    {
      body: { query: '{ü}', variables: { n: 1 } },
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      ip: '127.0.0.1',
    },
  ]);
});

it.each([['{ "query": '], ['"query"'], ['5'], ['null'], ['{}x']])('refuses %s as no JSON of ours', async (body) => {
  const { port, seen } = await door();
  const answer = await send(port, { body });
  expect([answer.status, JSON.parse(answer.text)]).toEqual([
    400,
    { errors: [{ message: 'The body is not valid JSON.', extensions: { code: 'BAD_REQUEST' } }] },
  ]);
  expect(answer.headers['x-content-type-options']).toBe('nosniff');
  expect(seen).toEqual([]);
});

it('takes a body that comes in pieces, and one with a byte order mark', async () => {
  const { port, seen } = await door();
  await send(port, { headers: { 'content-length': '12' }, body: ['{"que', 'ry":', '""}'] });
  await send(port, { body: '\ufeff{"query":"b"}' });
  expect(seen.map(({ body }) => body)).toEqual([{ query: '' }, { query: 'b' }]);
});

it.each<[string, Sent]>([
  ['GET', { method: 'GET' }],
  ['another path', { path: '/graphql?query=x' }],
  ['a body of unknown length', { body: ['{"query":', '"{a}"}'] }],
  ['an empty body', { body: '' }],
  ['a body that is too large', { body: `{"query":"${'x'.repeat(MAX_BODY_BYTES)}"}` }],
  ['a compressed body', { headers: { 'content-encoding': 'gzip' } }],
  ['a form', { headers: { 'content-type': 'text/plain' } }],
  ['another character set', { headers: { 'content-type': 'application/json; charset=utf-16' } }],
])('sends %s the long way', async (_, sent) => {
  const { port, seen } = await door();
  expect((await send(port, sent)).text).toBe('the long way');
  expect(seen).toEqual([]);
});

it('sends what comes from another origin the long way when some are allowed', async () => {
  const { port } = await door({ cors: true });
  expect((await send(port, { headers: { origin: 'https://other.example' } })).text).toBe('the long way');
  expect((await send(port, {})).text).toContain('data');
});

it('survives a client that leaves in the middle', async () => {
  const { port, seen } = await door();
  const cut = request({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/graphql',
    headers: { 'content-type': 'application/json', 'content-length': 100 },
  });
  cut.on('error', () => undefined);
  cut.write('{"query":');
  await new Promise((resolve) => setTimeout(resolve, 50));
  cut.destroy();
  expect((await send(port, {})).status).toBe(200);
  expect(seen).toHaveLength(1);
});

it.each([[false], [true], [1], [2], ['loopback'], ['loopback, 10.0.0.0/8']] as const)(
  'says who asked as Express does when it trusts %s',
  async (setting) => {
    const app = express().set('trust proxy', setting);
    app.use((asked, response) => {
      const trusts = app.get('trust proxy fn') as DoorOptions['trusts'];
      response.json([addressOf(asked, trusts), asked.ip]);
    });
    const port = await listen(createServer(app));
    for (const chain of [
      undefined,
      '9.9.9.9',
      '9.9.9.9, 10.1.1.1',
      '10.2.2.2,10.1.1.1',
      ' 9.9.9.9 ,8.8.8.8,  10.1.1.1',
      '',
    ]) {
      const { text } = await send(port, { headers: chain === undefined ? {} : { 'x-forwarded-for': chain } });
      const [ours, expresss] = JSON.parse(text) as [string, string];
      expect([chain, ours]).toEqual([chain, expresss]);
    }
  },
);
