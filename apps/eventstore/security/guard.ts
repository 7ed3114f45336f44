import type { Metadata } from '@grpc/grpc-js';
import {
  isAdmin,
  isNeverAllowed,
  isOperator,
  mayAccess,
  parseSystemSettings,
  SETTINGS_STREAM,
  type Principal,
  type StreamAction,
  type SystemSettings,
} from '../core/access.js';
import { baseStreamOf, metadataStreamOf } from '../core/stream-metadata.js';
import { isLinkStream } from '../core/system-projections.js';
import { decodeEventFrame } from '../protocol/frames.js';
import { isRpcError, rpc, type RpcError } from '../rpc/status.js';
import type { EventLog } from '../storage/event-log.js';
import type { Accounts } from './accounts.js';

/** Who may call a method at all; streams are looked at by the method itself. */
export type Requirement = 'anyone' | 'authenticated' | 'operators' | 'admins';

/** What the guard needs of a call of any kind. */
type GuardedCall = { metadata: Metadata; cancelled: boolean };

const principals = new WeakMap<object, Principal>();

/** Who makes a call that came through the guard. */
export function principalOf(call: object): Principal {
  return principals.get(call) ?? 'anonymous';
}

/**
 * Lets calls through to their methods: finds out who calls, and refuses wrong credentials and methods that aren't theirs.
 * Without accounts everybody is the system, as on the real server when it runs `--insecure`.
 */
export class Guard {
  private settings: SystemSettings | undefined;
  private settingsChanges = 0;

  constructor(
    private readonly log: EventLog,
    readonly accounts: Accounts | undefined,
  ) {
    const wake = () => {
      this.settings = undefined;
      this.settingsChanges++;
    };
    for (const stream of [SETTINGS_STREAM, metadataStreamOf(SETTINGS_STREAM)])
      log.listen(stream, { committed: () => undefined, wake });
  }

  /** @param refuse ends a call with an error, in the way of its kind */
  admit<Call extends GuardedCall>(
    call: Call,
    requirement: Requirement,
    refuse: (error: RpcError) => void,
    serve: () => void,
  ): void {
    if (this.accounts === undefined) {
      principals.set(call, 'system');
      serve();
      return;
    }
    const decide = (principal: Principal) => {
      if (call.cancelled) return;
      if (!meets(principal, requirement)) {
        refuse(rpc.accessDenied());
        return;
      }
      principals.set(call, principal);
      serve();
    };
    const header = call.metadata.get('authorization')[0]?.toString();
    const principal = this.accounts.authenticate(header);
    if (!(principal instanceof Promise)) {
      decide(principal);
      return;
    }
    principal.then(decide, (error: unknown) => {
      refuse(isRpcError(error) ? error : rpc.unavailable(error instanceof Error ? error.message : String(error)));
    });
  }

  /** True, false or a promise of it when the stream's metadata isn't in memory. */
  mayAccess(principal: Principal, action: StreamAction, stream: string): boolean | Promise<boolean> {
    // Nobody writes what the system projections write, not even who may do everything.
    if (action !== 'read' && isLinkStream(stream)) return false;
    if (isNeverAllowed(action, stream)) return principal === 'system';
    if (isAdmin(principal)) return true;
    if (principal === 'anonymous') return false;
    return this.ask(principal, action, stream);
  }

  private async ask(principal: Principal, action: StreamAction, stream: string): Promise<boolean> {
    let settings = this.settings;
    if (settings === undefined) {
      const before = this.settingsChanges;
      settings = await this.readSettings();
      if (before === this.settingsChanges) this.settings = settings;
    }
    const { metadata } = await this.log.readableStream(baseStreamOf(stream));
    return mayAccess(principal, action, stream, metadata.acl, settings);
  }

  private async readSettings(): Promise<SystemSettings> {
    const state = await this.log.readableStream(SETTINGS_STREAM);
    if (state.lastRevision < 0 || state.softDeleted || state.tombstoned) return {};
    const { lastRevision } = state;
    const page = await this.log.reader.stream('backwards', SETTINGS_STREAM, lastRevision, lastRevision, 1, undefined);
    return page.count === 0 ? {} : parseSystemSettings(decodeEventFrame(page.frames).data);
  }

  /**
   * Calls `lost` when somebody who reads a stream may no longer do so, or when that can't be found out. Ends with the
   * function it returns.
   */
  watch(principal: Principal, stream: string, lost: (error: RpcError) => void): () => void {
    if (isAdmin(principal)) return () => undefined;
    const recheck = () =>
      this.require(principal, 'read', stream).catch((error: unknown) =>
        lost(isRpcError(error) ? error : rpc.unavailable(error instanceof Error ? error.message : String(error))),
      );
    const listener = { committed: () => undefined, wake: () => void recheck() };
    const ends = [SETTINGS_STREAM, metadataStreamOf(baseStreamOf(stream))].map((name) =>
      this.log.listen(name, listener),
    );
    return () => ends.forEach((end) => end());
  }

  /** Throws PERMISSION_DENIED. */
  async require(principal: Principal, action: StreamAction, stream: string): Promise<void> {
    if (!(await this.mayAccess(principal, action, stream))) throw rpc.accessDenied();
  }
}

function meets(principal: Principal, requirement: Requirement): boolean {
  switch (requirement) {
    case 'anyone':
      return true;
    case 'authenticated':
      return principal !== 'anonymous';
    case 'operators':
      return isOperator(principal);
    case 'admins':
      return isAdmin(principal);
  }
}
