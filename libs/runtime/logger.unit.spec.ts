import fc from 'fast-check';
import { createLogger } from './logger.js';
import { redact, redactText } from './redact.js';

function record(write: (logger: ReturnType<typeof createLogger>) => void): {
  text: string;
  lines: Record<string, unknown>[];
} {
  const chunks: string[] = [];
  write(createLogger('spec', { logLevel: 'info' }, { write: (chunk: string) => void chunks.push(chunk) }));
  return { text: chunks.join(''), lines: chunks.map((chunk) => JSON.parse(chunk) as Record<string, unknown>) };
}

describe('createLogger', () => {
  it('writes one JSON object with name, level word and ISO time', () => {
    const { lines } = record((logger) => logger.info({ position: 7 }, 'projected'));
    expect(lines).toEqual([
      {
        level: 'info',
        name: 'spec',
        pid: process.pid,
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        position: 7,
        msg: 'projected',
      },
    ]);
  });

  it('tells errors with their causes', () => {
    const { text } = record((logger) =>
      logger.error({ err: new Error('outer', { cause: new Error('the reason') }) }, 'failed'),
    );
    expect(text).toContain('outer');
    expect(text).toContain('the reason');
    expect(text).toContain('logger.unit.spec');
  });

  it('masks secrets in objects, messages, errors and children', () => {
    const secret = 'hunter2hunter2';
    const { text, lines } = record((logger) => {
      logger.info({ user: { password: secret, nested: [{ accessToken: secret }] } }, 'login');
      logger.info({ req: { headers: { authorization: `Bearer ${secret}`, cookie: secret } } });
      logger.info(`connecting to postgres://user:${secret}@db/x`);
      logger.error({ err: new Error(`no answer from redis://default:${secret}@r:1`) });
      logger.child({ apiKey: secret }).info('child');
    });
    expect(lines).toHaveLength(5);
    expect(text).not.toContain(secret);
  });
});

describe('redact', () => {
  it('leaves the rest as it is', () => {
    const value = { position: 1, name: 'v2', flags: { tokenValid: true }, at: new Date(0), none: null };
    expect(redact(value)).toEqual(value);
  });
  it('shortens bytes and survives cycles', () => {
    const loop: Record<string, unknown> = { bytes: Buffer.alloc(9) };
    loop['self'] = loop;
    expect(JSON.stringify(redact(loop))).toContain('[9 bytes]');
  });
  it('masks any password in a connection string', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{12,30}$/), (password) => {
        expect(redactText(`at postgres://picturelock:${password}@127.0.0.1:5432/x?a=1`)).not.toContain(password);
        expect(redactText(`GET /media/x?token=${password}&a=1`)).not.toContain(password);
      }),
    );
  });
});
