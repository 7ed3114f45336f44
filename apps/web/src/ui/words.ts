/** The words of the trade for the api's values, and moments as people say them. Pure. */
import type { Outcome, Role, StageState, Verdict, VersionStatus } from '../generated/graphql.js';

export type Tint = 'grey' | 'blue' | 'amber' | 'green' | 'red';

export const OUTCOMES: Readonly<Record<Outcome, { word: string; tint: Tint }>> = {
  PENDING: { word: 'Awaiting decision', tint: 'blue' },
  APPROVED: { word: 'Approved', tint: 'green' },
  CHANGES_REQUESTED: { word: 'Changes requested', tint: 'amber' },
  REJECTED: { word: 'Rejected', tint: 'red' },
};

export const VERDICTS: Readonly<Record<Verdict, { word: string; tint: Tint }>> = {
  APPROVED: { word: 'approved', tint: 'green' },
  CHANGES_REQUESTED: { word: 'requested changes', tint: 'amber' },
  REJECTED: { word: 'rejected', tint: 'red' },
};

export const STATUSES: Readonly<Record<VersionStatus, string>> = {
  CURRENT: 'Current',
  LOCKED: 'Locked',
  WITHDRAWN: 'Withdrawn',
};

export const STATES: Readonly<Record<StageState, { word: string; tint: Tint }>> = {
  BLOCKED: { word: 'Blocked', tint: 'grey' },
  READY: { word: 'Ready', tint: 'blue' },
  IN_PROGRESS: { word: 'In progress', tint: 'blue' },
  IN_REVIEW: { word: 'In review', tint: 'blue' },
  CHANGES_REQUESTED: { word: 'Changes requested', tint: 'amber' },
  APPROVED: { word: 'Approved', tint: 'green' },
  ON_HOLD: { word: 'On hold', tint: 'grey' },
  OMITTED: { word: 'Omitted', tint: 'grey' },
};

export const ROLES: Readonly<Record<Role, string>> = {
  ADMINISTRATOR: 'Administrator',
  PRODUCER: 'Producer',
  ARTIST: 'Artist',
  REVIEWER: 'Reviewer',
  CLIENT: 'Client',
  SERVICE: 'Service',
};

/** `just now`, `5 min ago`, `14:03`, `12 Mar, 14:03`, `12 Mar 2024`. */
export function when(iso: string, now: Date): string {
  const then = new Date(iso);
  const minutes = Math.floor((now.getTime() - then.getTime()) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  const time = then.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
  if (then.toDateString() === now.toDateString()) return time;
  const day = then.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
  return then.getFullYear() === now.getFullYear() ? `${day}, ${time}` : `${day} ${then.getFullYear()}`;
}

/** `14:03:20`, for moments that are yet to come. */
export const clock = (iso: string): string => new Date(iso).toLocaleTimeString('en-GB');

/** `18.4 MB`; sizes are decimal strings. */
export function bytes(size: string | number): string {
  const value = Number(size);
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const step = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`;
}
