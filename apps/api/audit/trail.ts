import { changesBetween, plain, type Change, type Plain } from '#libs/domain/index.js';
import type { EventLog } from '#libs/events/log/index.js';
import { AuditRow } from '#libs/read-models/index.js';
import type { SelectQueryBuilder } from 'typeorm';
import { isUuid } from '../platform/read-store.js';
import { isCategory, timeline } from '../history/timeline.js';
import type { AuditFilter } from './types.js';

/** What a command wrote, and what that changed. */
export interface Effects {
  readonly events: readonly { type: string; revision: number; position: string; data: Plain }[];
  readonly changes: readonly Change[];
}
const NOTHING: Effects = { events: [], changes: [] };

/** The entries of an organisation that a filter names, none of them recorded before `since`. */
export function narrow(
  query: SelectQueryBuilder<AuditRow>,
  organisationId: string,
  filter: AuditFilter,
  since: Date | undefined,
): SelectQueryBuilder<AuditRow> {
  query.where('e.organisation_id = :organisationId', { organisationId });
  const { actorUserId, entityId, entityType, type, code, outcome, from, to } = filter;
  for (const [column, id] of Object.entries({ actor_user_id: actorUserId, entity_id: entityId }))
    if (id != null) query.andWhere(isUuid(id) ? `e.${column} = :${column}` : 'FALSE', { [column]: id });
  for (const [column, text] of Object.entries({ entity_type: entityType, type, code }))
    if (text != null) query.andWhere(`e.${column} = :${column}`, { [column]: text });
  if (outcome != null) query.andWhere(`e.code IS ${outcome === 'REFUSED' ? 'NOT NULL' : 'NULL'}`);
  if (from != null) query.andWhere('e.recorded_at >= :from', { from });
  if (to != null) query.andWhere('e.recorded_at < :to', { to });
  if (since) query.andWhere('e.recorded_at >= :since', { since });
  return query;
}

/** Entries older than the policy's days are not shown; null keeps all. The log keeps them either way. */
export const shownSince = (retentionDays: number | null, now = Date.now()): Date | undefined =>
  retentionDays === null ? undefined : new Date(now - retentionDays * 86_400_000);

/** Old and new values of several commands: each stream they wrote to is folded once. */
export async function effectsOf(log: EventLog, rows: readonly AuditRow[]): Promise<Effects[]> {
  const found = new Map<AuditRow, { events: Effects['events'][number][]; before: unknown; changes: Change[] }>();
  const streams = new Map<string, AuditRow[]>();
  for (const row of rows) {
    if (row.revision === null || row.entityId === null) continue;
    const stream = `${row.entityType} ${row.entityId}`;
    streams.set(stream, [...(streams.get(stream) ?? []), row]);
  }
  for (const of of streams.values()) {
    const { entityType, entityId } = of[0]!;
    if (!isCategory(entityType)) continue;
    const waiting = of.toSorted((a, b) => a.revision! - b.revision!);
    const last = Math.max(...of.map((row) => row.revision! + row.events - 1));
    for await (const { event, before, after } of timeline(log, entityType, entityId!, last)) {
      const row = waiting[0];
      if (!row) break;
      if (event.revision < row.revision!) continue;
      const effects = found.get(row) ?? { events: [], before, changes: [] };
      found.set(row, effects);
      const { type, revision, position, data } = event;
      effects.events.push({ type, revision, position: String(position), data: plain(data) });
      if (event.revision < row.revision! + row.events - 1) continue;
      effects.changes = changesBetween(effects.before, after);
      waiting.shift();
    }
  }
  return rows.map((row) => found.get(row) ?? NOTHING);
}
