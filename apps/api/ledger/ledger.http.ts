import { once } from 'node:events';
import { timingSafeEqual } from 'node:crypto';
import type { NextFunction, Request, Response } from 'express';
import { z } from 'zod';
import { can } from '#libs/domain/index.js';
import { exportBundle, freshCheckpoint, proveEvent, type LedgerSource, type LedgerStore } from '#libs/ledger/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import type { Access } from '../platform/access.js';
import { isUuid } from '../platform/read-store.js';

interface LedgerRouteOptions {
  readonly ledger: LedgerStore;
  readonly source: LedgerSource;
  readonly access: Access;
  readonly secrets: Secrets;
  readonly operatorToken: string;
}

const STATUS: Readonly<Record<string, number>> = { NOT_PROVABLE: 404, LEDGER_BEHIND: 503, LOG_UNAVAILABLE: 503 };
const exportParameters = z.strictObject({ from: z.coerce.number().int().nonnegative().default(0) });
const proofShape = z.object({ event: z.object({ metadata: z.string() }) });
const metadataShape = z.object({ organisationId: z.string() });

/**
 * `/ledger`: status, checkpoints, bundles and proofs. All of it is the operator's, for it spans every organisation; an
 * event's proof and the newest checkpoint (a size and a hash) also go to who may read the audit trail, of their own
 * organisation.
 */
export function ledgerRoute({ ledger, source, access, secrets, operatorToken }: LedgerRouteOptions) {
  const refuse = (response: Response, status: number, code: string, message: string) =>
    void response.status(status).set('cache-control', 'no-store').json({ code, message });

  /** `operator`, the organisation of somebody who may read its audit trail, or the status of a refusal. */
  async function caller(request: Request): Promise<'operator' | { organisationId: string } | 401 | 403> {
    const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (!token) return 401;
    const [given, right] = [Buffer.from(token), Buffer.from(operatorToken)];
    if (given.length === right.length && timingSafeEqual(given, right)) return 'operator';
    const session = await secrets.sessions.authenticate(token);
    const viewer = session && (await access.viewer(session.userId, session.organisationId));
    return !viewer ? 401 : can(viewer.role, 'audit.read') ? { organisationId: viewer.organisationId } : 403;
  }

  async function status() {
    const [state, latest, receivers, key, head] = await Promise.all([
      ledger.state(),
      ledger.latestCheckpoint(),
      ledger.receivers(),
      ledger.verifier(),
      source.head(),
    ]);
    return {
      size: state.size,
      position: String(state.position),
      head: String(head),
      key: key ?? null,
      checkpoint: latest ? { size: latest.size, signedAt: latest.signedAt, note: latest.note } : null,
      receivers,
    };
  }

  const text = (response: Response, type: string, body: string) =>
    void response.set({ 'content-type': type, 'cache-control': 'no-store' }).send(body);

  async function bundle(from: number, response: Response): Promise<void> {
    const checkpoint = await freshCheckpoint(ledger, source);
    const key = (await ledger.verifier())!;
    const abort = new AbortController();
    response.on('close', () => abort.abort());
    response.set({
      'content-type': 'application/x-ndjson; charset=utf-8',
      'content-disposition': 'attachment; filename="ledger.ndjson"',
      'cache-control': 'no-store',
    });
    for await (const line of exportBundle({ store: ledger, source, key, checkpoint, from, signal: abort.signal })) {
      if (response.destroyed) return;
      if (response.write(line)) continue;
      await Promise.race([once(response, 'drain'), once(response, 'close')]);
    }
    response.end();
  }

  return async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    try {
      const who = await caller(request);
      if (who === 401) return refuse(response, 401, 'UNAUTHENTICATED', 'Sign in first.');
      if (who === 403) return refuse(response, 403, 'FORBIDDEN', 'Your role does not include “audit.read”.');
      const [, what = '', id = ''] = request.path.split('/');
      if (request.method !== (what === 'checkpoint' ? 'POST' : 'GET'))
        return refuse(response, 405, 'METHOD_NOT_ALLOWED', 'The ledger is read; checkpoints are asked for by POST.');
      if (what === 'checkpoint')
        return text(response, 'text/plain; charset=utf-8', (await freshCheckpoint(ledger, source)).note);
      if (what === 'proofs' && isUuid(id)) {
        const checkpoint = await freshCheckpoint(ledger, source);
        const options = { store: ledger, source, key: (await ledger.verifier())!, checkpoint };
        const proof = await proveEvent(options, id.toLowerCase());
        if (who !== 'operator' && organisationOf(proof) !== who.organisationId)
          return refuse(response, 404, 'NOT_PROVABLE', `The ledger has no event ${id}`);
        return text(response, 'application/json; charset=utf-8', proof);
      }
      if (who !== 'operator') return refuse(response, 403, 'FORBIDDEN', 'This is for whoever runs the installation.');
      if (what === '') return void response.set('cache-control', 'no-store').json(await status());
      if (what === 'export') {
        const parsed = exportParameters.safeParse(request.query);
        if (!parsed.success) return refuse(response, 400, 'INVALID_INPUT', 'from: a number of leaves');
        return await bundle(parsed.data.from, response);
      }
      return refuse(response, 404, 'NOT_FOUND', 'There is no such thing.');
    } catch (error) {
      const { code = '', message } = error as { code?: string; message: string };
      if (response.headersSent) response.destroy();
      else if (STATUS[code]) refuse(response, STATUS[code], code, message);
      else next(error);
    }
  };
}

/** Which organisation a proven event belongs to, as its metadata says. */
function organisationOf(proof: string): string | undefined {
  const parsed = proofShape.safeParse(JSON.parse(proof));
  if (!parsed.success) return undefined;
  try {
    return metadataShape.safeParse(JSON.parse(parsed.data.event.metadata)).data?.organisationId;
  } catch {
    return undefined;
  }
}
