import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** The operating-system account that Postgres runs under. */
export interface Account {
  name: string;
  uid: number;
  gid: number;
}

/** Reads the local account list (`/etc/passwd` format); an unreadable file is an empty list. */
export function localAccounts(file = '/etc/passwd'): Account[] {
  try {
    return parseAccounts(readFileSync(file, 'utf8'));
  } catch {
    return [];
  }
}

/** `name:password:uid:gid:…` per line. */
export function parseAccounts(text: string): Account[] {
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .filter((fields) => fields.length >= 4 && fields[0] !== '' && !fields[0]!.startsWith('#'))
    .map(([name, , uid, gid]) => ({ name: name!, uid: Number(uid), gid: Number(gid) }))
    .filter(({ uid, gid }) => Number.isInteger(uid) && Number.isInteger(gid) && uid >= 0 && gid >= 0);
}

/**
 * Whom to become when we are root, because Postgres refuses to run as root: whoever owns the data already, else an
 * account made for it, else `nobody`.
 */
export function chooseAccount(accounts: Account[], ownerUid: number | undefined): Account | undefined {
  const owner = ownerUid ? accounts.find(({ uid }) => uid === ownerUid) : undefined;
  const named = ['picturelock', 'postgres', 'nobody'].map((name) =>
    accounts.find((account) => account.name === name && account.uid !== 0),
  );
  return owner ?? named.find((account) => account !== undefined);
}

/** True when `account` may do `test` (of test(1): `-x`, `-r`, `-w`) on `path`. `undefined` means ourselves. */
export function accountCan(account: Account | undefined, test: '-x' | '-r' | '-w', path: string): boolean {
  // Asked of the kernel, not computed from modes: ACLs, read-only mounts and containers all count.
  const { status } = spawnSync('/bin/sh', ['-c', `test ${test} "$1"`, 'sh', path], {
    cwd: '/',
    env: {},
    stdio: 'ignore',
    ...(account ? { uid: account.uid, gid: account.gid } : {}),
  });
  return status === 0;
}
