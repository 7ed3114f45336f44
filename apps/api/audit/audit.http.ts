import { once } from 'node:events';
import type { NextFunction, Request, Response } from 'express';
import { z } from 'zod';
import { can } from '#libs/domain/index.js';
import { openOrigin, type EventLog } from '#libs/events/log/index.js';
import { AuditRow } from '#libs/read-models/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import type { Access } from '../platform/access.js';
import type { Viewer } from '../platform/context.js';
import type { ReadStore } from '../platform/read-store.js';
import { effectsOf, narrow, shownSince } from './trail.js';

interface AuditExportOptions {
  readonly log: EventLog;
  readonly store: ReadStore;
  readonly access: Access;
  readonly secrets: Secrets;
  readonly retentionDays: number | null;
}

const PAGE = 500;

const time = z.iso.datetime({ offset: true }).transform((text) => new Date(text));
const parameters = z.strictObject({
  format: z.enum(['ndjson', 'csv']).default('ndjson'),
  /** Old and new values too; they are folded from the log. */
  values: z.enum(['true', 'false']).default('true'),
  actorUserId: z.uuid().optional(),
  entityId: z.uuid().optional(),
  entityType: z.string().max(100).optional(),
  type: z.string().max(100).optional(),
  code: z.string().max(100).optional(),
  outcome: z.enum(['ACCEPTED', 'REFUSED']).optional(),
  from: time.optional(),
  to: time.optional(),
});

const COLUMNS = [
  'position',
  'recordedAt',
  'at',
  'commandId',
  'type',
  'outcome',
  'actorUserId',
  'actorRole',
  'origin',
  'entityType',
  'entityId',
  'code',
  'message',
  'path',
  'events',
  'changes',
] as const;
type Line = { readonly [K in (typeof COLUMNS)[number]]: unknown };

/** RFC 4180. A cell that a spreadsheet would take for a formula is led by an apostrophe. */
export function toCsv(cells: readonly unknown[]): string {
  const text = cells.map((cell) => {
    const bare = cell == null ? '' : typeof cell === 'object' ? JSON.stringify(cell) : String(cell as string);
    const safe = /^[=+\-@\t\r]/.test(bare) ? `'${bare}` : bare;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  });
  return `${text.join()}\r\n`;
}

/**
 * `GET /audit`: the audit trail of the caller's organisation, oldest first, as NDJSON or CSV; filters are those of the
 * `auditTrail` query. Read page by page as the client takes it; permission is asked again with each page.
 */
export function auditExport({ log, store, access, secrets, retentionDays }: AuditExportOptions) {
  const refuse = (response: Response, status: number, code: string, message: string) =>
    void response.status(status).set('cache-control', 'no-store').json({ code, message });

  async function allowed(request: Request): Promise<Viewer | 401 | 403> {
    const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const session = token ? await secrets.sessions.authenticate(token) : undefined;
    const viewer = session && (await access.viewer(session.userId, session.organisationId));
    return !viewer ? 401 : can(viewer.role, 'audit.read') ? viewer : 403;
  }

  async function page(organisationId: string, filter: z.output<typeof parameters>, after: string, last: string) {
    const query = store.manager.getRepository(AuditRow).createQueryBuilder('e');
    const rows = await narrow(query, organisationId, filter, shownSince(retentionDays))
      .andWhere('e.position > :after AND e.position <= :last', { after, last })
      .orderBy('e.position', 'ASC')
      .limit(PAGE)
      .getMany();
    const effects = filter.values === 'true' ? await effectsOf(log, rows) : [];
    const lines = await Promise.all(
      rows.map(async (row, i): Promise<Line> => ({
        position: row.position,
        recordedAt: row.recordedAt.toISOString(),
        at: row.at.toISOString(),
        commandId: row.commandId,
        type: row.type,
        outcome: row.code === null ? 'ACCEPTED' : 'REFUSED',
        actorUserId: row.actorUserId,
        actorRole: row.actorRole,
        origin: await openOrigin(row.origin, row.actorUserId, secrets.keys),
        entityType: row.entityType,
        entityId: row.entityId,
        code: row.code,
        message: row.message,
        path: row.path,
        events: effects[i]?.events,
        changes: effects[i]?.changes,
      })),
    );
    return { lines, after: rows.at(-1)?.position ?? last, more: rows.length === PAGE };
  }

  return async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    try {
      if (request.method !== 'GET') {
        response.set('allow', 'GET');
        return refuse(response, 405, 'METHOD_NOT_ALLOWED', 'The audit trail can be read only.');
      }
      const viewer = await allowed(request);
      if (viewer === 401) return refuse(response, 401, 'UNAUTHENTICATED', 'Sign in first.');
      if (viewer === 403) return refuse(response, 403, 'FORBIDDEN', 'Your role does not include “audit.read”.');
      const parsed = parameters.safeParse(request.query);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        return refuse(response, 400, 'INVALID_INPUT', `${issue!.path.join('.')}: ${issue!.message}`);
      }
      const filter = parsed.data;
      const csv = filter.format === 'csv';
      // What is recorded while the export runs is left for the next one: it must end.
      const { last } = (await store.manager
        .getRepository(AuditRow)
        .createQueryBuilder('e')
        .select('coalesce(max(e.position), 0)', 'last')
        .where('e.organisation_id = :id', { id: viewer.organisationId })
        .getRawOne<{ last: string }>())!;
      response.set({
        'content-type': csv ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson; charset=utf-8',
        'content-disposition': `attachment; filename="audit.${filter.format}"`,
        'cache-control': 'no-store',
      });
      if (csv) response.write(toCsv(COLUMNS));
      for (let after = '-1', more = true; more && !response.destroyed;) {
        const again = await allowed(request);
        // Nothing but a broken connection tells a client that what it has is not all.
        if (typeof again === 'number') return void response.destroy();
        const read = await page(viewer.organisationId, filter, after, last);
        ({ after, more } = read);
        for (const line of read.lines) {
          const text = csv ? toCsv(COLUMNS.map((column) => line[column])) : `${JSON.stringify(line)}\n`;
          if (response.write(text) || response.destroyed) continue;
          await Promise.race([once(response, 'drain'), once(response, 'close')]);
          if (response.destroyed) return;
        }
      }
      response.end();
    } catch (error) {
      if (response.headersSent) response.destroy();
      else next(error);
    }
  };
}
