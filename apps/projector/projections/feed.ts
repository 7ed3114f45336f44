import { definitions, type AnyEvent, type EventType, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { ChangeRow, feed as model, type Row } from '#libs/read-models/index.js';
import type { BatchContext, Handlers, Projection } from '../projection.js';

/** Nothing to see: an upload under way, and refusals. */
const UNSEEN: readonly EventType[] = ['VersionOpened', 'CommandRefused'];

/** Ids that events name their subjects with. */
interface Subjects {
  projectId?: string;
  deliverableId?: string;
  stageId?: string;
  stackId?: string;
  versionId?: string | null;
  commentId?: string;
  annotationId?: string;
  decisionId?: string;
  comparisonId?: string;
  userId?: string;
}

function changeOf(event: RecordedEvent): Row<ChangeRow> {
  const data = event.data as Subjects;
  return {
    position: String(event.position),
    organisationId: event.metadata.organisationId,
    projectId: data.projectId ?? null,
    deliverableId: data.deliverableId ?? null,
    stageId: data.stageId ?? null,
    // A stage holds one stack, and the stack has the stage's id.
    stackId: data.stackId ?? data.stageId ?? null,
    versionId: data.versionId ?? null,
    commentId: data.commentId ?? null,
    annotationId: data.annotationId ?? null,
    decisionId: data.decisionId ?? null,
    comparisonId: data.comparisonId ?? null,
    userId: data.userId ?? null,
    eventType: event.type as EventType,
    actorUserId: event.metadata.actor.userId,
    at: event.metadata.at,
  };
}

export const feed: Projection = {
  model,
  afterParked: 'goOn',
  begin: ({ bulk }: BatchContext) => {
    const note = (event: RecordedEvent): void => bulk.insert(ChangeRow, changeOf(event));
    const on: Partial<Record<AnyEvent['type'], (event: RecordedEvent) => void>> = {};
    for (const { type } of definitions) if (!UNSEEN.includes(type)) on[type] = note;
    return { on: on as Handlers };
  },
};
