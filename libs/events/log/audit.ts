import { deriveEventId, type AuditEvent } from '../catalogue/index.js';
import type { RefusalAuditor } from './executor.js';
import type { EventLog } from './types.js';

/** Audit streams are split by organisation and month, so that none grows without bound. */
export const auditStream = (organisationId: string, at: string): string => `audit-${organisationId}-${at.slice(0, 7)}`;

/**
 * Records refused commands. A refusal whose record can't be written is still a refusal: the failure is reported to
 * `onFailure`, not to the caller.
 */
export function auditRefusals(log: EventLog, onFailure: (error: unknown) => void): RefusalAuditor {
  return async (command, stream, commandHash, refusal) => {
    const { meta } = command;
    const target = auditStream(meta.organisationId, meta.at);
    const event: AuditEvent = {
      type: 'CommandRefused',
      data: {
        organisationId: meta.organisationId,
        commandId: meta.commandId,
        commandHash,
        commandType: command.type,
        stream,
        code: refusal.code,
        message: refusal.message,
        path: refusal.path ? [...refusal.path] : null,
        userId: meta.actor.userId,
        role: meta.actor.role,
        ip: meta.origin?.ip ?? null,
      },
    };
    try {
      await log.append(
        target,
        [
          {
            id: deriveEventId(meta.organisationId, target, meta.commandId, 0),
            ...event,
            metadata: {
              $correlationId: meta.correlationId,
              $causationId: meta.causationId,
              commandId: meta.commandId,
              commandHash,
              index: 0,
              count: 1,
              organisationId: meta.organisationId,
              actor: meta.actor,
              schemaVersion: 1,
              commandType: command.type,
              origin: meta.origin?.ip,
              at: meta.at,
            },
          },
        ],
        'any',
      );
    } catch (error) {
      onFailure(error);
    }
  };
}
