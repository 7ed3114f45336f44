import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { ADMINS, OPERATIONS, parseBasicCredentials, type Principal } from '../core/access.js';
import type { ExpectedRevision } from '../core/expected-revision.js';
import { metadataStreamOf } from '../core/stream-metadata.js';
import { decodeEventFrame, type ProposedEvent } from '../protocol/frames.js';
import { framesOf } from '../protocol/links.js';
import { rpc } from '../rpc/status.js';
import type { EventLog } from '../storage/event-log.js';
import type { AppendResult } from '../storage/writer.js';
import { hashPassword, TooManyPasswordChecks, verifyNothing, verifyPassword } from './passwords.js';

/** An account as the log holds it: the JSON of the last event of `$user-<login>`. */
export type Account = {
  loginName: string;
  fullName: string;
  groups: readonly string[];
  disabled: boolean;
  hash: string;
  salt: string;
};

export type AccountDetails = Pick<Account, 'loginName' | 'fullName' | 'groups' | 'disabled'> & {
  /** 100-nanosecond units since 1970, decimal text. */
  updatedTicks: string;
};

export type AccountOutcome = 'done' | 'not_found' | 'conflict' | 'access_denied' | 'try_again';

const USERS = '$users';
const PASSWORD_NOTIFICATIONS = '$users-password-notifications';
const CACHED = 1_000;
const WRITE_MS = 10_000;
const PAGE = 1_000;

const userStream = (login: string) => `$user-${login}`;

/**
 * Users as the real server keeps them: a stream for each, `$users` with the names of all. Credentials that were found
 * right are remembered (as a keyed digest, in memory) until the account changes, so that a call costs no password hash.
 */
export class Accounts {
  private readonly key = randomBytes(32);
  private readonly known = new Map<string, { principal: Principal; forget: () => void }>();
  /** Passwords that were compared with a hash. */
  checks = 0;
  private readonly checking = new Map<string, Promise<Principal>>();

  constructor(
    private readonly log: EventLog,
    private readonly logger: Logger,
  ) {}

  /** Who sends this header. Throws UNAUTHENTICATED; a promise only when the credentials aren't known yet. */
  authenticate(header: string | undefined): Principal | Promise<Principal> {
    if (header === undefined) return 'anonymous';
    const digest = createHmac('sha256', this.key).update(header).digest('base64');
    const known = this.known.get(digest);
    if (known !== undefined) return known.principal;
    let checking = this.checking.get(digest);
    if (checking === undefined) {
      checking = this.check(header, digest).finally(() => this.checking.delete(digest));
      this.checking.set(digest, checking);
    }
    return checking;
  }

  private async check(header: string, digest: string): Promise<Principal> {
    const credentials = parseBasicCredentials(header);
    if (credentials === undefined) throw rpc.unauthenticated();
    const { login, password } = credentials;
    let changed = false;
    const unlisten = this.log.listen(userStream(login), {
      committed: () => undefined,
      wake: () => {
        changed = true;
        forget();
      },
    });
    const forget = () => {
      unlisten();
      this.known.delete(digest);
    };
    this.checks++;
    try {
      const found = await this.read(login);
      const right =
        found === undefined || found.account.disabled
          ? await verifyNothing(password)
          : await verifyPassword(password, found.account);
      if (!right) {
        this.logger.warn({ login }, 'authentication failed');
        throw rpc.unauthenticated();
      }
      const principal = { name: login, groups: found!.account.groups };
      if (!changed) {
        if (this.known.size >= CACHED) for (const entry of [...this.known.values()]) entry.forget();
        this.known.set(digest, { principal, forget });
      }
      return principal;
    } catch (error) {
      forget();
      if (error instanceof TooManyPasswordChecks) throw rpc.unavailable('Server Is Too Busy');
      throw error;
    }
  }

  private async read(login: string): Promise<{ account: Account; revision: number; ticks: string } | undefined> {
    const stream = userStream(login);
    const state = await this.log.readableStream(stream);
    if (state.lastRevision < 0 || state.softDeleted || state.tombstoned) return undefined;
    const page = await this.log.reader.stream(
      'backwards',
      stream,
      state.lastRevision,
      state.lastRevision,
      1,
      undefined,
    );
    if (page.count === 0) return undefined;
    const event = decodeEventFrame(page.frames);
    const account = JSON.parse(event.data.toString('utf8')) as Account;
    return account.loginName === login
      ? { account, revision: state.lastRevision, ticks: event.createdTicks }
      : undefined;
  }

  private append(stream: string, expected: ExpectedRevision, events: readonly ProposedEvent[]): Promise<AppendResult> {
    return new Promise((settle) => {
      const size = events.reduce((sum, event) => sum + event.data.length, 0);
      this.log.writer.submit({
        kind: 'append',
        stream,
        expected,
        events,
        size,
        deadline: Date.now() + WRITE_MS,
        settle,
      });
    });
  }

  async create(login: string, password: string, fullName: string, groups: readonly string[]): Promise<AccountOutcome> {
    const found = await this.read(login);
    // As the real server: a repeat is fine, another password is a conflict.
    if (found !== undefined) return (await verifyPassword(password, found.account)) ? 'done' : 'conflict';
    const account = { loginName: login, fullName, groups, disabled: false, ...(await hashPassword(password)) };
    const stream = userStream(login);
    const acl = { $acl: { $w: ADMINS, $d: ADMINS, $mw: ADMINS } };
    const before = await this.log.readableStream(stream);
    const outcomes = [
      await this.append(metadataStreamOf(stream), 'any', [json('$metadata', acl)]),
      await this.append(stream, before.lastRevision < 0 ? 'no_stream' : before.lastRevision, [
        json('$UserCreated', account),
      ]),
      await this.append(USERS, 'any', [{ ...json('$User', null), isJson: false, data: Buffer.from(login) }]),
    ];
    return outcomes.map(outcomeOf).find((outcome) => outcome !== 'done') ?? 'done';
  }

  private async change(
    login: string,
    update: (account: Account) => Promise<Account | undefined> | Account | undefined,
    notify: boolean,
  ): Promise<AccountOutcome> {
    const found = await this.read(login);
    if (found === undefined) return 'not_found';
    const updated = await update(found.account);
    if (updated === undefined) return 'access_denied';
    const outcome = outcomeOf(await this.append(userStream(login), found.revision, [json('$UserUpdated', updated)]));
    return outcome === 'done' && notify ? this.notify(login) : outcome;
  }

  /** Other nodes of a cluster would forget the password on this; integrations that follow it get what they know. */
  private async notify(login: string): Promise<AccountOutcome> {
    const state = await this.log.readableStream(PASSWORD_NOTIFICATIONS);
    if (state.lastRevision < 0) {
      const bounded = [json('$metadata', { $maxAge: 3_600 })];
      const made = outcomeOf(await this.append(metadataStreamOf(PASSWORD_NOTIFICATIONS), 'any', bounded));
      if (made !== 'done') return made;
    }
    return outcomeOf(
      await this.append(PASSWORD_NOTIFICATIONS, 'any', [json('$PasswordChanged', { LoginName: login })]),
    );
  }

  update(login: string, fullName: string, groups: readonly string[]): Promise<AccountOutcome> {
    return this.change(login, (account) => ({ ...account, fullName, groups }), true);
  }

  enable(login: string): Promise<AccountOutcome> {
    return this.change(login, (account) => ({ ...account, disabled: false }), false);
  }

  disable(login: string): Promise<AccountOutcome> {
    return this.change(login, (account) => ({ ...account, disabled: true }), true);
  }

  async resetPassword(login: string, password: string): Promise<AccountOutcome> {
    const hash = await hashPassword(password);
    return this.change(login, (account) => ({ ...account, ...hash }), true);
  }

  changePassword(login: string, current: string, password: string): Promise<AccountOutcome> {
    return this.change(
      login,
      async (account) =>
        (await verifyPassword(current, account)) ? { ...account, ...(await hashPassword(password)) } : undefined,
      true,
    );
  }

  async delete(login: string): Promise<AccountOutcome> {
    if ((await this.read(login)) === undefined) return 'not_found';
    const result = await new Promise<AppendResult>((settle) => {
      const deadline = Date.now() + WRITE_MS;
      this.log.writer.submit({ kind: 'delete', stream: userStream(login), expected: 'any', deadline, settle });
    });
    const outcome = outcomeOf(result);
    return outcome === 'done' ? this.notify(login) : outcome;
  }

  async details(login: string): Promise<AccountDetails | undefined> {
    const found = await this.read(login);
    return found && detailsOf(found.account, found.ticks);
  }

  async all(): Promise<AccountDetails[]> {
    const logins = new Set<string>();
    const { lastRevision } = await this.log.readableStream(USERS);
    for (let from = 0; from <= lastRevision;) {
      const page = await this.log.reader.stream('forwards', USERS, from, lastRevision, PAGE, undefined);
      for (const frame of framesOf(page.frames)) logins.add(decodeEventFrame(frame).data.toString('utf8'));
      if (page.last === undefined) break;
      from = page.last + 1;
    }
    const all: AccountDetails[] = [];
    for (const login of [...logins].sort()) {
      const details = await this.details(login);
      if (details !== undefined) all.push(details);
    }
    return all;
  }

  /**
   * The account `admin` with this password, whatever the log says of it: who starts the server decides. `ops` is made
   * once, with a password of its own or none that anybody knows.
   */
  async ensureStandard(adminPassword: string, opsPassword: string | undefined): Promise<void> {
    if ((await this.create('admin', adminPassword, 'Event Store Administrator', [ADMINS])) === 'conflict') {
      await this.resetPassword('admin', adminPassword);
      this.logger.info('the password of admin was set as configured');
    }
    await this.enableAdmin();
    if (opsPassword === undefined) {
      if ((await this.read('ops')) === undefined)
        await this.create('ops', randomBytes(24).toString('base64url'), 'Event Store Operations', [OPERATIONS]);
    } else if ((await this.create('ops', opsPassword, 'Event Store Operations', [OPERATIONS])) === 'conflict') {
      await this.resetPassword('ops', opsPassword);
    }
  }

  private async enableAdmin(): Promise<void> {
    const found = await this.read('admin');
    if (found?.account.disabled === true) await this.enable('admin');
  }
}

function json(type: string, data: unknown): ProposedEvent {
  const id = randomUUID();
  return { id, type, isJson: true, data: Buffer.from(JSON.stringify(data)), metadata: Buffer.alloc(0) };
}

function detailsOf({ loginName, fullName, groups, disabled }: Account, updatedTicks: string): AccountDetails {
  return { loginName, fullName, groups, disabled, updatedTicks };
}

function outcomeOf(result: AppendResult): AccountOutcome {
  switch (result.result) {
    case 'written':
      return 'done';
    case 'wrong_expected_revision':
    case 'stream_deleted':
      return 'conflict';
    case 'timeout':
      return 'try_again';
    case 'unavailable':
      throw rpc.unavailable(result.reason);
  }
}
