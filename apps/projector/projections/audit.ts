import { definitions, type AnyEvent, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { audit as model, AuditRow, type Row } from '#libs/read-models/index.js';
import { categoryOf, type EventOf, type Handlers, type Projection } from '../projection.js';

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

type Own = Pick<AuditRow, 'type' | 'revision' | 'events' | 'code' | 'message' | 'path'>;

/** The entry of a command, accepted or refused; `stream` is what it was for. One literal: there is one for every command. */
function entryOf({ position, metadata, created }: RecordedEvent, stream: string, own: Own): Row<AuditRow> {
  const entityType = categoryOf(stream);
  const id = stream.slice(entityType.length + 1);
  return {
    position: String(position),
    organisationId: metadata.organisationId,
    commandId: metadata.commandId,
    actorUserId: metadata.actor.userId,
    actorRole: metadata.actor.role,
    origin: metadata.origin ?? null,
    entityType,
    entityId: UUID.test(id) ? id : null,
    at: metadata.at,
    // Subscriptions give milliseconds where the client's reader gives whole seconds: rows must not depend on which it was.
    recordedAt: new Date(Math.floor(created.getTime() / 1000) * 1000),
    type: own.type,
    revision: own.revision,
    events: own.events,
    code: own.code,
    message: own.message,
    path: own.path,
  };
}

export const audit: Projection = {
  model,
  begin: ({ bulk }) => {
    const accepted = (event: RecordedEvent): void => {
      // The others of the same command: all is in the first.
      if (event.metadata.index > 0) return;
      const type = event.metadata.commandType ?? event.type;
      const { revision } = event;
      const events = event.metadata.count;
      bulk.insert(
        AuditRow,
        entryOf(event, event.stream, { type, revision, events, code: null, message: null, path: null }),
      );
    };
    const refused = (event: EventOf<'CommandRefused'>): void => {
      const { commandType, stream, code, message, path } = event.data;
      bulk.insert(
        AuditRow,
        entryOf(event, stream, { type: commandType, revision: null, events: 0, code, message, path }),
      );
    };
    const on: Partial<Record<AnyEvent['type'], (event: RecordedEvent) => void>> = {};
    for (const { type } of definitions) on[type] = accepted;
    return { on: { ...(on as Handlers), CommandRefused: refused } };
  },
};
