/** The public shapes of the secrets room. Nothing here is ever an event. */
import type { Refusal } from '#libs/events/catalogue/index.js';
import type { Pool } from '#libs/postgres/index.js';

export interface SecretsOptions {
  /** URL of the secrets database. Either this or a `pool` that was made from a URL. */
  databaseUrl?: string;
  /** A pool of the caller's; it stays open on `close()`. */
  pool?: Pool;
  /** 32 bytes. Wraps every person's key and the keyring; lives outside the database. */
  masterKey: Buffer;
  /** Master keys of before, newest first: whatever they wrapped is wrapped again under `masterKey` on opening. */
  previousMasterKeys?: readonly Buffer[];
  /** A session not used for this long is over; default 60. */
  sessionIdleMinutes?: number;
  /** A session is over this long after login, used or not; default 12. */
  sessionAbsoluteHours?: number;
  /** Time of what is stored and of time-outs; default the system's. */
  clock?: () => Date;
  /** Told about lost listening connections and failed background work; never about secrets. */
  onError?: (error: Error) => void;
}

export interface Secrets {
  readonly keys: PersonKeys;
  readonly credentials: Credentials;
  readonly sessions: Sessions;
  readonly outcomes: CommandOutcomes;
  /** All that is secret about a person, gone: key, credential, login history; sessions end. Idempotent. */
  erasePerson(personId: string): Promise<void>;
  /** Log position up to which these keys know every erasure; null when nothing is known, as after an import into an empty database. */
  erasuresKnownTo(): Promise<bigint | null>;
  /** Erases these persons, then knows every erasure up to the position. */
  takeErasures(personIds: readonly string[], upTo: bigint): Promise<void>;
  /** Stops listening and sweeping, waits for writes under way, ends a pool of its own. */
  close(): Promise<void>;
}

export type SecretsErrorCode =
  /** The master key given (and the previous ones) cannot open what the database holds. */
  | 'MASTER_KEY_WRONG'
  /** A person's key was destroyed: nothing can be encrypted for them again. */
  | 'PERSON_ERASED'
  /** A ciphertext of a person of whom there is neither key nor tombstone: the key backup must be restored first. */
  | 'PERSON_KEY_MISSING'
  /** Not a ciphertext of ours, of another person or place, or changed since. */
  | 'CIPHERTEXT_INVALID'
  /** A session for someone who was disabled since they logged in. */
  | 'USER_DISABLED'
  /** A key backup that is not one, or was changed. */
  | 'KEY_BACKUP_INVALID';

/** A failure with a stable code; its message never holds a secret. */
export class SecretsError extends Error {
  override readonly name = 'SecretsError';

  constructor(
    readonly code: SecretsErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface Erasure {
  readonly personId: string;
  readonly erasedAt: Date;
}

/** Keys of some persons in memory: encrypts and decrypts without waiting. For batches; drop it after use. */
export interface KeyRing {
  /** @throws SecretsError PERSON_ERASED, PERSON_KEY_MISSING (person not asked for) */
  encrypt(personId: string, plaintext: string, aad: string): string;
  /** Undefined when the key was destroyed. @throws SecretsError CIPHERTEXT_INVALID, PERSON_KEY_MISSING */
  decrypt(personId: string, ciphertext: string, aad: string): string | undefined;
}

/**
 * One random AES-256 key per person. Ciphertexts read `enc:v1:<personId>:<base64url of iv | tag | ciphertext>` (AES-256-GCM,
 * 12-byte iv, 16-byte tag). `aad` says where the value stands, as in `UserRegistered.email`: moved elsewhere it does not open.
 */
export interface PersonKeys {
  /** Makes the person's key on first use. @throws SecretsError PERSON_ERASED */
  encrypt(personId: string, plaintext: string, aad: string): Promise<string>;
  /** Undefined when the key was destroyed. @throws SecretsError CIPHERTEXT_INVALID, PERSON_KEY_MISSING */
  decrypt(personId: string, ciphertext: string, aad: string): Promise<string | undefined>;
  /** Keys of many persons by at most one query; with `create` those who have none get one. */
  keysFor(personIds: readonly string[], options?: { create?: boolean }): Promise<KeyRing>;
  /** Erasure: the key becomes a tombstone and can never be made or imported again. Idempotent; returns the first time. */
  destroy(personId: string): Promise<Erasure>;
  /** Erasures at or after `since`, oldest first; all without it. */
  erasures(since?: Date): Promise<Erasure[]>;
  /** In this process, also for erasures of other processes (at most about a second later). Returns the unsubscriber. */
  onErased(callback: (personId: string) => void): () => void;
  /** All keys (still wrapped by the master key) and erasures as JSON Lines, for a backup apart from the data. */
  exportKeys(): Promise<string>;
  /**
   * Adds the keys of a backup that are missing here; erasures of both sides, and `erasures`, win over keys. Before anything
   * is served. `conflicts`: persons who have another key here, which stays.
   */
  importKeys(
    backup: string,
    erasures?: readonly Erasure[],
  ): Promise<{
    keys: number;
    erasures: number;
    conflicts: number;
  }>;
}

/** `personId` of a ciphertext of ours, else undefined. */
export const personOfCiphertext = (value: string): string | undefined => {
  const parts = value.split(':');
  return parts.length === 4 && parts[0] === 'enc' && parts[1] === 'v1' ? parts[2] : undefined;
};

export interface NewCredential {
  userId: string;
  organisationId: string;
  email: string;
  password: string;
}

export interface LoginAttempt {
  email: string;
  password: string;
  ip?: string;
  userAgent?: string;
}

export interface LoginRecord {
  readonly at: Date;
  readonly outcome: 'SUCCEEDED' | 'WRONG_PASSWORD' | 'DISABLED' | 'THROTTLED';
  readonly ip: string | null;
  readonly userAgent: string | null;
}

export interface Credentials {
  /**
   * Reserves the e-mail address before `UserRegistered` is appended; nobody can log in with it until it is confirmed.
   * Again for the same user and address: nothing happens.
   * Refusals: EMAIL_TAKEN, EMAIL_INVALID, PASSWORD_TOO_SHORT, PASSWORD_TOO_LONG, CREDENTIAL_EXISTS (user has another address).
   */
  createCredential(input: NewCredential): Promise<{ status: 'RESERVED' | 'ACTIVE' | 'DISABLED' } | Refusal>;
  /** After `UserRegistered` is in the log. Idempotent; false when there is no such credential. */
  confirmCredential(userId: string): Promise<boolean>;
  /** Gives a reservation up whose event was never written; confirmed ones stay. */
  releaseCredential(userId: string): Promise<boolean>;
  /** Reservations never confirmed: the caller looks in the log and confirms or releases them. */
  reservations(olderThan: Date): Promise<{ userId: string; organisationId: string; reservedAt: Date }[]>;
  /**
   * Takes the same time and work whether the address is known or not.
   * Refusals: INVALID_CREDENTIALS (also for disabled users), LOGIN_THROTTLED with `details.retryAfterSeconds`.
   */
  verifyLogin(attempt: LoginAttempt): Promise<{ userId: string; organisationId: string } | Refusal>;
  /**
   * Ends all sessions of the user but `keepSessionId`. Without `currentPassword` it is a reset by someone who may.
   * Refusals: INVALID_CREDENTIALS, LOGIN_THROTTLED, PASSWORD_TOO_SHORT, PASSWORD_TOO_LONG, USER_UNKNOWN.
   */
  changePassword(input: {
    userId: string;
    currentPassword?: string;
    newPassword: string;
    keepSessionId?: string;
  }): Promise<{ changed: true } | Refusal>;
  /** No login any more; all sessions end. Idempotent. */
  disableUser(userId: string): Promise<void>;
  enableUser(userId: string): Promise<void>;
  /** Newest first, at most 200. */
  loginHistory(userId: string, options?: { limit?: number; before?: Date }): Promise<LoginRecord[]>;
}

export interface Session {
  readonly sessionId: string;
  readonly userId: string;
  readonly organisationId: string;
  /** What the person logged in with, as they would recognise it. */
  readonly device: string | null;
  readonly createdAt: Date;
  /** Exact to a minute. */
  readonly lastActiveAt: Date;
  /** Over then at the latest. */
  readonly expiresAt: Date;
}

/** As listed to a person: with the address it came from (null when unknown or erased). */
export interface ListedSession extends Session {
  readonly ip: string | null;
}

export type SessionEnd = 'LOGGED_OUT' | 'TERMINATED' | 'EXPIRED' | 'PASSWORD_CHANGED' | 'USER_DISABLED' | 'ERASED';

export interface EndedSession {
  readonly sessionId: string;
  readonly userId: string;
  readonly reason: SessionEnd;
}

export interface Sessions {
  /** The token (43 characters, 256 bits) is shown this once and stored only as its SHA-256. */
  createSession(input: {
    userId: string;
    organisationId: string;
    device?: string;
    ip?: string;
  }): Promise<{ token: string; session: Session }>;
  /** Undefined for a token that is unknown, ended or timed out. Counts as activity. Never older than a second. */
  authenticate(token: string): Promise<Session | undefined>;
  /** Is the session still on, by its id? For open sockets; counts as activity. */
  touch(sessionId: string): Promise<Session | undefined>;
  /** A new token for the same session; the old one is void. Undefined when the session is over. */
  rotate(token: string): Promise<{ token: string; session: Session } | undefined>;
  /** False when it was over already. */
  terminate(sessionId: string, reason?: SessionEnd): Promise<boolean>;
  /** How many were ended. */
  terminateAll(userId: string, options?: { except?: string; reason?: SessionEnd }): Promise<number>;
  /** Live sessions, last active first, at most 200. */
  list(of: { userId: string } | { organisationId: string }): Promise<ListedSession[]>;
  /** Every session that ends, in whichever process, also by time-out: once per process. Returns the unsubscriber. */
  onTerminated(callback: (ended: EndedSession) => void): () => void;
  /** Ends what has timed out and forgets sessions over for 90 days; also done in the background. */
  sweep(): Promise<number>;
}

/** What a command that left no event was answered. */
export interface CommandOutcome {
  readonly organisationId: string;
  readonly commandId: string;
  /** SHA-256 of type and data, to see a reused id. */
  readonly commandHash: string;
  readonly stream: string;
  /** JSON. */
  readonly outcome: unknown;
  readonly at: Date;
}

export interface CommandOutcomes {
  /** The first outcome stays: returns the one that is remembered. It takes the place of the same command's claim. */
  rememberOutcome(outcome: Omit<CommandOutcome, 'at'>): Promise<CommandOutcome>;
  /**
   * Takes the id for a command on a stream. Undefined when it was free (never seen, or older than 7 days), or taken for the
   * very same and without an outcome yet; else what it stands for, `outcome` null while there is none.
   */
  claimId(of: Omit<CommandOutcome, 'at' | 'outcome'>): Promise<CommandOutcome | undefined>;
  /** Deletes what is older than 7 days; also done in the background. Returns how many. */
  expireOutcomes(): Promise<number>;
}
