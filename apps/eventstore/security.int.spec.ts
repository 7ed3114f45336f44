import { AccessDeniedError, KurrentDBClient, LoginConflictError, LoginNotFoundError } from '@kurrent/kurrentdb-client';
import { credentials, Metadata } from '@grpc/grpc-js';
import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/usermanagement_pb.js';
import grpcPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/usermanagement_grpc_pb.js';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { collect, event, events, until } from './eventstore.fixture.js';
import { ensureIdentity } from './security/certificate.js';
import { startEventStoreServer, type EventStoreServer } from './server.js';

const ADMIN = { username: 'admin', password: 'correct-horse' };
const OPS = { username: 'ops', password: 'battery-staple' };

let folder: string;
let database: TestDatabase;
let server: EventStoreServer;
let admin: KurrentDBClient;
let anonymous: KurrentDBClient;

const identity = () => ensureIdentity(folder, ['127.0.0.1', 'localhost', '::1']);
const start = () =>
  startEventStoreServer({
    databaseUrl: database.url,
    security: { adminPassword: ADMIN.password, opsPassword: OPS.password },
    tls: identity(),
  });

function connect(scheme: string, user?: { username: string; password: string }): KurrentDBClient {
  const who = user ? `${user.username}:${encodeURIComponent(user.password)}@` : '';
  const ca = encodeURIComponent(identity().authorityFile);
  return KurrentDBClient.connectionString(`${scheme}://${who}127.0.0.1:${server.port}?tls=true&tlsCaFile=${ca}`);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eventstore-tls-'));
  database = await testDatabase();
  server = await start();
  admin = connect('kurrentdb', ADMIN);
  anonymous = connect('esdb');
});
afterAll(async () => {
  await admin?.dispose();
  await anonymous?.dispose();
  await server?.close();
  await database?.drop();
  rmSync(folder, { recursive: true, force: true });
});

/** User management has no method in this client; its stubs are what clients of other languages call. */
class Users {
  private readonly client = new grpcPb.UsersClient(
    `127.0.0.1:${server.port}`,
    credentials.createSsl(readFileSync(identity().authorityFile)),
  );

  constructor(private readonly as: { username: string; password: string } | string | undefined) {}

  private metadata(): Metadata {
    const metadata = new Metadata();
    const { as } = this;
    if (typeof as === 'string') metadata.set('authorization', as);
    else if (as)
      metadata.set('authorization', `Basic ${Buffer.from(`${as.username}:${as.password}`).toString('base64')}`);
    return metadata;
  }

  call<Request>(
    method: 'create' | 'update' | 'delete' | 'enable' | 'disable' | 'resetPassword' | 'changePassword',
    request: Request,
  ): Promise<void> {
    const invoke = this.client[method].bind(this.client) as unknown as (
      request: Request,
      metadata: Metadata,
      done: (error: Error | null) => void,
    ) => void;
    return new Promise((resolve, reject) =>
      invoke(request, this.metadata(), (error) => (error ? reject(error) : resolve())),
    );
  }

  async details(login = ''): Promise<pb.DetailsResp.UserDetails.AsObject[]> {
    const options = new pb.DetailsReq.Options().setLoginName(login);
    const all: pb.DetailsResp.UserDetails.AsObject[] = [];
    for await (const response of this.client.details(new pb.DetailsReq().setOptions(options), this.metadata()))
      all.push((response as pb.DetailsResp).getUserDetails()!.toObject());
    return all;
  }

  create(login: string, password: string, groups: string[] = []): Promise<void> {
    const options = new pb.CreateReq.Options().setLoginName(login).setPassword(password).setFullName(`${login} F.`);
    return this.call('create', new pb.CreateReq().setOptions(options.setGroupsList(groups)));
  }

  close(): void {
    this.client.close();
  }
}

async function as<T>(who: ConstructorParameters<typeof Users>[0], use: (users: Users) => Promise<T>): Promise<T> {
  const users = new Users(who);
  try {
    return await use(users);
  } finally {
    users.close();
  }
}

const made = (login: string, groups?: string[]) => {
  const user = { username: login, password: `password-of-${login}` };
  return as(ADMIN, (users) => users.create(login, user.password, groups)).then(() => user);
};

describe('the certificate the server makes', () => {
  it('is one of an authority of its own, for these hosts, and its key is nobody else’s', () => {
    const { authorityFile, certificate } = identity();
    const [leaf, authority] = [new X509Certificate(certificate), new X509Certificate(readFileSync(authorityFile))];
    expect(leaf.verify(authority.publicKey)).toBe(true);
    expect(leaf.checkIssued(authority)).toBe(true);
    expect([leaf.ca, authority.ca]).toEqual([false, true]);
    expect([leaf.checkIP('127.0.0.1'), leaf.checkIP('::1'), leaf.checkHost('localhost')]).not.toContain(undefined);
    expect(leaf.checkHost('example.com')).toBeUndefined();
    expect(statSync(join(folder, 'server.key')).mode & 0o077).toBe(0);
    // Kept, not made again.
    expect(identity().certificate).toEqual(certificate);
  });

  it('is made again for another host', () => {
    const other = mkdtempSync(join(tmpdir(), 'eventstore-tls-'));
    const first = ensureIdentity(other, ['127.0.0.1']).certificate;
    const second = ensureIdentity(other, ['127.0.0.1', 'store.example']).certificate;
    expect(second).not.toEqual(first);
    expect(new X509Certificate(second).checkHost('store.example')).toBe('store.example');
    rmSync(other, { recursive: true });
  });
});

describe('credentials', () => {
  it('let an admin append, read, subscribe and delete, by connection string and over TLS', async () => {
    await admin.appendToStream('tls-1', events(3));
    expect(await collect(admin.readStream('tls-1'))).toHaveLength(3);
    expect((await collect(admin.readAll())).some((e) => e.streamId === 'tls-1')).toBe(true);
    const subscription = admin.subscribeToStream('tls-1');
    const seen: string[] = [];
    subscription.on('data', ({ event: e }) => e && seen.push(e.id));
    await until(() => seen.length === 3, 'the subscription');
    await subscription.unsubscribe();
    await admin.deleteStream('tls-1');
  });

  it('are needed', async () => {
    await expect(anonymous.appendToStream('tls-2', event(0))).rejects.toThrow(AccessDeniedError);
    await expect(collect(anonymous.readStream('tls-2'))).rejects.toThrow(AccessDeniedError);
    await expect(collect(anonymous.readAll())).rejects.toThrow(AccessDeniedError);
    await expect(anonymous.deleteStream('tls-2')).rejects.toThrow(AccessDeniedError);
    await as(undefined, (users) =>
      expect(users.details()).rejects.toMatchObject({ code: 7, details: 'Access Denied' }),
    );
  });

  it.each([
    ['a wrong password', { username: 'admin', password: 'wrong' }],
    ['an unknown user', { username: 'nobody', password: 'correct-horse' }],
  ])('%s is refused as unauthenticated, whatever is called', async (_, wrong) => {
    const options = { credentials: wrong };
    // This client has no error of its own for UNAUTHENTICATED.
    await expect(anonymous.appendToStream('tls-3', event(0), options)).rejects.toMatchObject({ code: 16 });
    await as(wrong, (users) => expect(users.details()).rejects.toMatchObject({ code: 16, details: 'Unauthenticated' }));
  });

  it.each(['Basic', 'Basic ???', 'Basic YWRtaW4=', 'Digest abc', ''])('%j is no authentication', (header) =>
    as(header, (users) => expect(users.details()).rejects.toMatchObject({ code: 16 })),
  );

  it('of one call win over those of the connection', async () => {
    const user = await made('percall');
    await admin.setStreamMetadata('owned-1', { acl: { readRoles: ['percall'], writeRoles: ['percall'] } as never });
    await anonymous.appendToStream('owned-1', event(0), { credentials: user });
    expect(await collect(anonymous.readStream('owned-1', { credentials: user }))).toHaveLength(1);
    await expect(admin.appendToStream('$system', event(0), { credentials: user })).rejects.toThrow(AccessDeniedError);
  });

  it('are checked against the password once, not at each call', async () => {
    const checks = async () => {
      const response = await fetch(`http://127.0.0.1:${server.httpPort}/stats`);
      return ((await response.json()) as { passwordChecks: number }).passwordChecks;
    };
    const user = await made('often');
    const before = await checks();
    const append = (n: number) => anonymous.appendToStream(`often-${n}`, event(n), { credentials: user });
    await Promise.all(Array.from({ length: 50 }, (_, n) => append(n)));
    expect(await checks()).toBe(before + 1);
  });
});

describe('users', () => {
  it('are created, shown, changed, disabled, enabled and deleted by an admin', async () => {
    const { username, password } = await made('flora', ['$editors']);
    const own = { credentials: { username, password } };
    await as(ADMIN, async (users) => {
      const [flora] = await users.details('flora');
      expect(flora).toMatchObject({
        loginName: 'flora',
        fullName: 'flora F.',
        groupsList: ['$editors'],
        disabled: false,
      });
      expect(Number(flora!.lastUpdated!.ticksSinceEpoch) / 1e4).toBeGreaterThan(Date.now() - 60_000);
      expect((await users.details()).map((user) => user.loginName)).toEqual(
        expect.arrayContaining(['admin', 'flora', 'ops']),
      );
      await anonymous.appendToStream('flora-1', event(0), own);

      await users.call('disable', new pb.DisableReq().setOptions(new pb.DisableReq.Options().setLoginName('flora')));
      await expect(anonymous.appendToStream('flora-1', event(1), own)).rejects.toMatchObject({ code: 16 });
      expect(await users.details('flora')).toMatchObject([{ disabled: true }]);

      await users.call('enable', new pb.EnableReq().setOptions(new pb.EnableReq.Options().setLoginName('flora')));
      await anonymous.appendToStream('flora-1', event(1), own);

      const renamed = new pb.UpdateReq.Options().setLoginName('flora').setFullName('Flora').setGroupsList(['a', 'b']);
      await users.call('update', new pb.UpdateReq().setOptions(renamed));
      expect(await users.details('flora')).toMatchObject([{ fullName: 'Flora', groupsList: ['a', 'b'] }]);

      await users.call('delete', new pb.DeleteReq().setOptions(new pb.DeleteReq.Options().setLoginName('flora')));
      await expect(users.details('flora')).rejects.toMatchObject({ code: 5 });
      await expect(anonymous.appendToStream('flora-1', event(2), own)).rejects.toMatchObject({ code: 16 });
      // The name is free again.
      await users.create('flora', 'another password');
      expect(await users.details('flora')).toMatchObject([{ groupsList: [] }]);
    });
  });

  it('have trailers by which clients know what was wrong', async () => {
    await made('twice');
    await as(ADMIN, async (users) => {
      await users.create('twice', 'password-of-twice');
      const conflict = await users.create('twice', 'another').catch((error: unknown) => error);
      expect(conflict).toMatchObject({ code: 9, details: 'Conflict.' });
      expect(new LoginConflictError(conflict as never)).toMatchObject({ LoginName: 'twice' });
      const missing = await users.details('missing').catch((error: unknown) => error);
      expect(missing).toMatchObject({ code: 5, details: "User 'missing' is not found." });
      expect(new LoginNotFoundError(missing as never)).toMatchObject({ LoginName: 'missing' });
      await expect(users.create('', 'password')).rejects.toMatchObject({ code: 3 });
    });
  });

  it('change their own password with the one they have; an admin sets it without', async () => {
    const user = await made('selma');
    await as(user, async (users) => {
      await expect(users.create('other', 'password')).rejects.toMatchObject({ code: 7 });
      const options = new pb.ChangePasswordReq.Options().setLoginName('selma').setNewPassword('second password');
      await expect(
        users.call('changePassword', new pb.ChangePasswordReq().setOptions(options.setCurrentPassword('wrong'))),
      ).rejects.toMatchObject({ code: 7 });
      options.setCurrentPassword(user.password);
      await users.call('changePassword', new pb.ChangePasswordReq().setOptions(options));
      await expect(users.details('selma')).rejects.toMatchObject({ code: 16 });
    });
    await as({ ...user, password: 'second password' }, (users) => users.details('selma'));
    const reset = new pb.ResetPasswordReq.Options().setLoginName('selma').setNewPassword('third password');
    await as(ADMIN, (users) => users.call('resetPassword', new pb.ResetPasswordReq().setOptions(reset)));
    await as({ ...user, password: 'second password' }, (users) =>
      expect(users.details('selma')).rejects.toMatchObject({ code: 16 }),
    );
    await as({ ...user, password: 'third password' }, (users) => users.details('selma'));
  });

  it('keep no password that could be read', async () => {
    await made('reader');
    const [account] = (await collect(admin.readStream('$user-reader'))) as unknown as {
      data: Record<string, unknown>;
    }[];
    expect(account!.data).toMatchObject({ loginName: 'reader', groups: [], disabled: false });
    expect(JSON.stringify(account!.data)).not.toContain('password-of-reader');
    const options = { credentials: { username: 'reader', password: 'password-of-reader' } };
    await expect(anonymous.appendToStream('$user-reader', event(0), options)).rejects.toThrow(AccessDeniedError);
  });
});

describe('access control lists', () => {
  it('decide over reading, writing, deleting and metadata, one by one', async () => {
    const [owner, other] = [await made('owner'), await made('other', ['guests'])];
    await admin.appendToStream('acl-1', event(0));
    await admin.setStreamMetadata('acl-1', {
      acl: { readRoles: ['owner', 'guests'], writeRoles: ['owner'], deleteRoles: ['owner'], metaReadRoles: ['owner'] },
    } as never);
    const by = (user: typeof owner) => ({ credentials: user });
    expect(await collect(anonymous.readStream('acl-1', by(other)))).toHaveLength(1);
    await expect(anonymous.appendToStream('acl-1', event(1), by(other))).rejects.toThrow(AccessDeniedError);
    await expect(anonymous.deleteStream('acl-1', by(other))).rejects.toThrow(AccessDeniedError);
    await expect(anonymous.tombstoneStream('acl-1', by(other))).rejects.toThrow(AccessDeniedError);
    await expect(anonymous.getStreamMetadata('acl-1', by(other))).rejects.toThrow(AccessDeniedError);
    await anonymous.getStreamMetadata('acl-1', by(owner));
    await anonymous.appendToStream('acl-1', event(1), by(owner));
    // What the list doesn't name follows the default: everybody who is signed in.
    await anonymous.setStreamMetadata('acl-1', { acl: { writeRoles: ['$admins'] } } as never, by(other));
    await expect(anonymous.appendToStream('acl-1', event(2), by(owner))).rejects.toThrow(AccessDeniedError);
    await anonymous.deleteStream('acl-1', by(owner));
  });

  it('end the subscriptions of those who may not read any more', async () => {
    const [kept, left] = [await made('kept'), await made('left')];
    const follow = (user: typeof kept, stream: string) => {
      const seen: string[] = [];
      const subscription = anonymous.subscribeToStream(stream, { credentials: user });
      subscription.on('data', ({ event: one }) => seen.push(one!.id));
      const failed = new Promise<unknown>((resolve) => subscription.on('error', resolve));
      return { seen, failed, stop: () => subscription.unsubscribe() };
    };
    await admin.appendToStream('watched-1', event(0));
    const followers = [follow(kept, 'watched-1'), follow(left, 'watched-1')];
    for (const { seen } of followers) await until(() => seen.length === 1, 'the first event');
    const elsewhere = follow(left, 'watched-2');
    await admin.setStreamMetadata('watched-1', { acl: { readRoles: ['kept'] } } as never);
    expect(await followers[1]!.failed).toBeInstanceOf(AccessDeniedError);
    await admin.appendToStream('watched-1', event(1));
    await admin.appendToStream('watched-2', event(1));
    await until(() => followers[0]!.seen.length === 2 && elsewhere.seen.length === 1, 'the second event');
    expect(followers[1]!.seen).toHaveLength(1);

    const settings = { $userStreamAcl: { $r: '$admins' } };
    await admin.appendToStream('$settings', { ...event(0, '$settings'), data: settings } as never);
    expect(await elsewhere.failed).toBeInstanceOf(AccessDeniedError);
    await admin.appendToStream('watched-1', event(2));
    await until(() => followers[0]!.seen.length === 3, 'the third event');
    await followers[0]!.stop();
    await admin.appendToStream('$settings', { ...event(0, '$settings'), data: {} } as never);
  });

  it('let nobody write $all, in batches neither', async () => {
    for (const how of [{}, { credentials: ADMIN }]) {
      await expect(admin.appendToStream('$all', event(0), how)).rejects.toThrow(AccessDeniedError);
      await expect(admin.deleteStream('$all', how)).rejects.toThrow(AccessDeniedError);
    }
  });

  it('of batches are looked at for each append, and order is kept', async () => {
    const user = await made('batcher');
    await admin.setStreamMetadata('closed-1', { acl: { writeRoles: ['$admins'] } } as never);
    const client = connect('kurrentdb', user);
    // The client's first append opens the call while later ones may overtake it.
    await client.appendToStream('opened-1', event(0));
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_, n) => client.appendToStream(n % 3 === 2 ? 'closed-1' : 'open-1', event(n))),
    );
    for (const [n, result] of results.entries()) {
      expect(result.status).toBe(n % 3 === 2 ? 'rejected' : 'fulfilled');
      if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(AccessDeniedError);
    }
    const written = (await collect(client.readStream('open-1'))) as unknown as { data: { n: number } }[];
    expect(written.map(({ data }) => data.n)).toEqual(Array.from({ length: 60 }, (_, n) => n).filter((n) => n % 3 < 2));
    await client.dispose();
  });

  it('of the system settings hold for all streams without their own, at once', async () => {
    const user = await made('settled');
    const by = { credentials: user };
    await anonymous.appendToStream('settled-1', event(0), by);
    await expect(collect(anonymous.readAll(by))).rejects.toThrow(AccessDeniedError);
    await admin.setStreamMetadata('$all', { acl: { readRoles: ['settled'] } } as never);
    expect((await collect(anonymous.readAll(by))).length).toBeGreaterThan(0);
    const settings = { $userStreamAcl: { $w: '$admins' }, $systemStreamAcl: { $r: ['$all'] } };
    await admin.appendToStream('$settings', {
      ...event(0, '$settings'),
      data: settings,
    } as never);
    await expect(anonymous.appendToStream('settled-1', event(1), by)).rejects.toThrow(AccessDeniedError);
    expect((await collect(anonymous.readStream('$users', by))).length).toBeGreaterThan(0);
    await admin.appendToStream('$settings', { ...event(0, '$settings'), data: {} } as never);
    await anonymous.appendToStream('settled-1', event(1), by);
  });
});

describe('a restart', () => {
  it('keeps users, and gives admin the password of the new configuration', async () => {
    const user = await made('lasting');
    await admin.dispose();
    await anonymous.dispose();
    await server.close();
    server = await startEventStoreServer({
      databaseUrl: database.url,
      security: { adminPassword: 'a-new-password' },
      tls: identity(),
    });
    await as(user, (users) => users.details('lasting'));
    await as(ADMIN, (users) => expect(users.details()).rejects.toMatchObject({ code: 16 }));
    await as({ ...ADMIN, password: 'a-new-password' }, (users) => users.details());
    // Nobody changed it.
    await as(OPS, (users) => users.details());
    admin = connect('kurrentdb', { ...ADMIN, password: 'a-new-password' });
    anonymous = connect('kurrentdb');
    await admin.appendToStream('restart-1', event(0));
  });
});
