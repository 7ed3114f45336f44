import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseAccount, parseAccounts } from './account.js';
import { hydrateLinks, lacksLinks, locateBinaries, platformPackage } from './binaries.js';
import { isAlive, parsePidFile, startStamp } from './pid-file.js';
import { recoverySync, serverSettings, socketPathFits } from './settings.js';

const PASSWD = `root:x:0:0:root:/root:/bin/bash
# a comment
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash
anna:x:1000:1000::/home/anna:/bin/bash
broken:x::
`;

describe('the account Postgres runs under when we are root', () => {
  const accounts = parseAccounts(PASSWD);
  it.each([
    ['the owner of the data', accounts, 1000, 'anna'],
    ['postgres when nothing is there yet', accounts, undefined, 'postgres'],
    ['postgres when root owns the data', accounts, 0, 'postgres'],
    ['postgres when the owner has no entry', accounts, 4711, 'postgres'],
    ['nobody without postgres', accounts.filter(({ name }) => name !== 'postgres'), undefined, 'nobody'],
    ['none', accounts.filter(({ uid }) => uid === 0), undefined, undefined],
  ])('is %s', (_, list, owner, name) => expect(chooseAccount(list, owner)?.name).toBe(name));
});

describe('postmaster.pid', () => {
  it('is read with its port', () =>
    expect(parsePidFile('42\n/data\n1700000000\n5433\n/run\n127.0.0.1\n')).toEqual({
      pid: 42,
      dataDir: '/data',
      port: 5433,
    }));
  it('is read when the server died before it listened', () =>
    expect(parsePidFile('42\n/data\n1700000000\n')).toEqual({ pid: 42, dataDir: '/data' }));
  it.each(['', 'x\n/data\n', '-1\n/data\n'])('is nothing when cut off: %j', (text) =>
    expect(parsePidFile(text)).toBeUndefined(),
  );
  it('tells a live process from a dead one', () => {
    expect(isAlive(process.pid)).toBe(true);
    expect(isAlive(2 ** 22 + 1)).toBe(false);
    expect(startStamp(process.pid)).toBe(startStamp(process.pid));
    expect(startStamp(process.pid)).not.toBe(startStamp(process.ppid));
  });
});

describe('server settings', () => {
  const GB = 1024 ** 3;
  it.each([
    [0.25, '64MB'],
    [4, '512MB'],
    [64, '1024MB'],
  ])('buffers on %d GB are %s', (gb, buffers) => expect(serverSettings(gb * GB).shared_buffers).toBe(buffers));
  it.each([
    [1, '0'],
    [4, '0'],
    [8, undefined],
  ])('with %d cores an index is made by %s more workers', (cores, workers) =>
    expect(serverSettings(GB, {}, cores)['max_parallel_maintenance_workers']).toBe(workers),
  );
  it('take overrides', () => expect(serverSettings(GB, { work_mem: '1MB' }).work_mem).toBe('1MB'));
  it.each(['fsync', 'synchronous_commit', 'full_page_writes'])('keep %s on', (name) => {
    expect(serverSettings(GB)[name]).toBe('on');
    expect(() => serverSettings(GB, { [name]: 'off' })).toThrow(
      expect.objectContaining({ code: 'POSTGRES_UNSAFE_SETTING' }),
    );
  });
  it.each([
    ['linux', '6.18.44-generic', 'syncfs'],
    ['linux', '5.8.0', 'syncfs'],
    ['linux', '5.4.0-150-generic', undefined],
    ['linux', 'unknown', undefined],
    ['darwin', '24.1.0', undefined],
  ] as const)('sync the whole file system after a crash where its errors are told: %s %s', (platform, kernel, method) =>
    expect(recoverySync(platform, kernel)['recovery_init_sync_method']).toBe(method),
  );
  it('know how long a socket path may be', () => {
    expect(socketPathFits('/tmp/x')).toBe(true);
    expect(socketPathFits(`/${'x'.repeat(90)}`)).toBe(false);
  });
});

describe('binaries from npm', () => {
  it('name the platform that has none', () => {
    expect(() => platformPackage('plan9', 'mips')).toThrow(
      expect.objectContaining({
        code: 'POSTGRES_UNSUPPORTED_PLATFORM',
        message: expect.stringContaining('plan9-mips'),
      }),
    );
  });

  it('get the library links that npm left out, also when done twice', () => {
    const dir = mkdtempSync(join(tmpdir(), 'picturelock-bin-'));
    try {
      mkdirSync(join(dir, 'native', 'lib'), { recursive: true });
      writeFileSync(join(dir, 'native', 'lib', 'libpq.so.5.18'), '');
      writeFileSync(
        join(dir, 'native', 'pg-symlinks.json'),
        JSON.stringify([{ source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' }]),
      );
      expect(lacksLinks(dir)).toBe(true);
      hydrateLinks(dir);
      hydrateLinks(dir);
      expect(lacksLinks(dir)).toBe(false);
      expect(readlinkSync(join(dir, 'native', 'lib', 'libpq.so.5'))).toBe('libpq.so.5.18');
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it('run here', () =>
    expect(locateBinaries({ relocationRoot: tmpdir() })).toMatchObject({ major: expect.any(Number) }));
});
