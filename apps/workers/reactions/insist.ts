import type { Refusal } from '#libs/events/catalogue/index.js';
import type { Logger } from '#libs/runtime/index.js';
import type { Happened } from '../reaction.js';

/**
 * A reaction's command can be refused when the world moved on; that is an answer, not a failure, and trying again would
 * change nothing. It is worth a line, and it is in the audit stream.
 */
export function insistOn(
  outcome: { ok: true } | { ok: false; refusal: Refusal },
  event: Happened,
  logger: Logger,
): void {
  if (outcome.ok) return;
  logger.warn(
    { code: outcome.refusal.code, eventType: event.type, stream: event.stream, eventId: event.id },
    'what follows from an event was refused',
  );
}
