import { catalogue, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { projectOf } from './visibility.js';

/** Where the JSON Schema of an event type lies below the api's own address. */
export const schemaPath = (type: string, version: number): string => `/schemas/${type}.v${version}.json`;

/**
 * An event of the log in CloudEvents 1.0, structured JSON (cloudevents.io, JSON format §3). Data is of the type's current
 * version; extension attributes are described in docs/feeds.md and docs/asyncapi.json.
 */
export function toCloudEvent(event: RecordedEvent, publicUrl: string): Record<string, unknown> {
  const { metadata } = event;
  const projectId = projectOf(event);
  return {
    specversion: '1.0',
    id: event.id,
    source: `/organisations/${metadata.organisationId}`,
    type: `picturelock.${event.type}`,
    subject: event.stream,
    time: event.created.toISOString(),
    datacontenttype: 'application/json',
    dataschema: publicUrl + schemaPath(event.type, catalogue.get(event.type)!.version),
    position: String(event.position),
    streamrevision: event.revision,
    organisationid: metadata.organisationId,
    ...(projectId === undefined ? {} : { projectid: projectId }),
    correlationid: metadata.$correlationId,
    causationid: metadata.$causationId,
    commandid: metadata.commandId,
    ...(metadata.actor.userId === null ? {} : { actorid: metadata.actor.userId }),
    actorrole: metadata.actor.role,
    data: event.data,
  };
}
