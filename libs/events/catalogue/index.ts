/** The event catalogue: every event type with its schema, version, owner and example. No I/O. */
import type { EventDefinition, EventsOf } from './define.js';
import { organisationEvents, userEvents } from './identity.js';
import { auditEvents } from './platform.js';
import { deliverableEvents, pipelineTemplateEvents, projectEvents } from './production.js';
import { comparisonEvents, versionEvents, versionMediaEvents, versionStackEvents } from './review.js';

export * from './asyncapi.js';
export * from './common.js';
export * from './compatibility.js';
export * from './decider.js';
export * from './define.js';
export * from './document.js';
export * from './envelope.js';
export * from './identity.js';
export * from './json-schema.js';
export * from './platform.js';
export * from './production.js';
export * from './review.js';

export const definitions = [
  ...organisationEvents,
  ...userEvents,
  ...pipelineTemplateEvents,
  ...projectEvents,
  ...deliverableEvents,
  ...versionStackEvents,
  ...versionEvents,
  ...versionMediaEvents,
  ...comparisonEvents,
  ...auditEvents,
] as const;

export type AnyEvent = EventsOf<typeof definitions>;
export type EventType = AnyEvent['type'];

export const catalogue: ReadonlyMap<string, EventDefinition> = new Map(
  definitions.map((d) => [d.type, d as unknown as EventDefinition]),
);

/** Categories of streams that hold domain events. */
export const categories: readonly string[] = [...new Set(definitions.map((d) => d.category))];

/** Bring stored data of an older schema version up to the current one. Unknown types and newer versions throw. */
export function upcast(type: string, version: number, data: Record<string, unknown>): Record<string, unknown> {
  const definition = catalogue.get(type);
  if (!definition) throw new Error(`The catalogue has no event type ${type}`);
  if (version > definition.version)
    throw new Error(
      `${type} version ${version} was written by a newer Picturelock (this one knows ${definition.version})`,
    );
  let current = data;
  for (let v = version; v < definition.version; v++) {
    const step = definition.upcasters[v];
    if (!step) throw new Error(`${type} has no upcaster from version ${v}`);
    current = step(current);
  }
  return current;
}
