import { definitions, type AnyEvent, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { audit as model, AuditRow } from '#libs/read-models/index.js';
import { categoryOf, type EventOf, type Handlers, type Projection } from '../projection.js';

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** What accepted and refused commands have in common; `stream` is what the command was for. */
function entryOf({ position, metadata, created }: RecordedEvent, stream: string) {
  const { organisationId, commandId, actor, origin, at } = metadata;
  const entityType = categoryOf(stream);
  const id = stream.slice(entityType.length + 1);
  return {
    position: String(position),
    organisationId,
    commandId,
    actorUserId: actor.userId,
    actorRole: actor.role,
    origin: origin ?? null,
    entityType,
    entityId: UUID.test(id) ? id : null,
    at: new Date(at),
    // Subscriptions give milliseconds where the client's reader gives whole seconds: rows must not depend on which it was.
    recordedAt: new Date(Math.floor(created.getTime() / 1000) * 1000),
  };
}

export const audit: Projection = {
  model,
  begin: ({ bulk }) => {
    const accepted = (event: RecordedEvent): void => {
      // The others of the same command: all is in the first.
      if (event.metadata.index > 0) return;
      bulk.insert(AuditRow, {
        ...entryOf(event, event.stream),
        type: event.metadata.commandType ?? event.type,
        revision: event.revision,
        events: event.metadata.count,
        code: null,
        message: null,
        path: null,
      });
    };
    const refused = (event: EventOf<'CommandRefused'>): void => {
      const { commandType, stream, code, message, path } = event.data;
      bulk.insert(AuditRow, {
        ...entryOf(event, stream),
        type: commandType,
        revision: null,
        events: 0,
        code,
        message,
        path,
      });
    };
    const on: Partial<Record<AnyEvent['type'], (event: RecordedEvent) => void>> = {};
    for (const { type } of definitions) on[type] = accepted;
    return { on: { ...(on as Handlers), CommandRefused: refused } };
  },
};
