import { createServer, type Server } from 'node:http';
import { isPrivateAddress, Outbound } from './outbound.js';

describe('an address', () => {
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.31.255.255',
    '192.168.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1',
    'fd00::1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::7f00:1',
    '64:ff9b::a00:1',
    '2002:7f00:1::',
    'no address',
  ])('%s is none of the public internet', (address) => {
    expect(isPrivateAddress(address)).toBe(true);
  });

  it.each(['1.1.1.1', '172.32.0.1', '8.8.8.8', '2606:4700::1111', '2a00:1450::1', '::ffff:8.8.8.8'])(
    '%s is',
    (address) => {
      expect(isPrivateAddress(address)).toBe(false);
    },
  );
});

describe('the way out', () => {
  let server: Server;
  let port: number;
  let calls = 0;
  beforeAll(async () => {
    server = createServer((request, response) => {
      calls++;
      if (request.url === '/redirect') return void response.writeHead(302, { location: 'http://127.0.0.1/' }).end();
      if (request.url === '/silent') return;
      if (request.url === '/large') return void response.end('x'.repeat(5000));
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => response.setHeader('x-type', request.headers['content-type'] ?? '').end(body));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    port = (server.address() as { port: number }).port;
  });
  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });

  it.each([
    ['http://127.0.0.1:PORT/'],
    ['http://2130706433:PORT/'],
    ['http://0x7f.1:PORT/'],
    ['http://localhost:PORT/'],
    ['http://[::1]:PORT/'],
    ['http://[::ffff:127.0.0.1]:PORT/'],
    ['http://user:word@example.com/'],
    ['ftp://example.com/'],
    ['file:///etc/passwd'],
  ])('is closed for %s', async (url) => {
    const before = calls;
    await expect(new Outbound().post(url.replace('PORT', String(port)), 'x')).rejects.toMatchObject({
      code: 'OUTBOUND_FORBIDDEN',
    });
    expect(calls).toBe(before);
  });

  it('is open to hosts that are allowed, and follows nobody', async () => {
    const out = new Outbound({ allow: ['127.0.0.1', 'LOCALHOST'], maxBytes: 1000, timeoutMs: 10_000 });
    const answer = await out.post(`http://127.0.0.1:${port}/`, 'grüße', { 'content-type': 'text/plain' });
    expect(answer).toMatchObject({ status: 200, body: 'grüße', headers: { 'x-type': 'text/plain' } });
    expect(await out.post(`http://localhost:${port}/redirect`, '')).toMatchObject({ status: 302 });
    await expect(out.post(`http://127.0.0.1:${port}/large`, '')).rejects.toMatchObject({ code: 'OUTBOUND_TOO_LARGE' });
    const hasty = new Outbound({ allow: ['127.0.0.1'], timeoutMs: 200 });
    await expect(hasty.post(`http://127.0.0.1:${port}/silent`, '')).rejects.toMatchObject({ code: 'OUTBOUND_FAILED' });
  });
});
