import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { ReadModel } from '#libs/read-models/index.js';

export { isTransient } from '#libs/postgres/index.js';

const titled = (model: ReadModel): string => `${model.name} version ${model.version}`;

/** Somebody else moved the checkpoint: two runners wrote one projection, and this one lost. Nothing was written. */
export class CheckpointMoved extends Error {
  readonly code = 'CHECKPOINT_MOVED';
  constructor(model: ReadModel, expected: bigint | null) {
    super(`The checkpoint of ${titled(model)} is no longer at ${expected ?? 'the start'}: somebody else writes it`);
  }
}

/** Another runner took the projection over while this one was away. Nothing was written; it stands by. */
export class Superseded extends Error {
  readonly code = 'SUPERSEDED';
  constructor(model: ReadModel) {
    super(`Another projector has taken over ${titled(model)}`);
  }
}

/** A handler, or the database, does not take an event, however often it is tried. Everything before it is written. */
export class EventFailed extends Error {
  readonly code = 'EVENT_FAILED';
  constructor(
    model: ReadModel,
    readonly event: RecordedEvent,
    cause: unknown,
  ) {
    super(
      `${titled(model)} can't process ${event.type} (event ${event.id}, ${event.revision}@${event.stream}, position ${event.position}): ${
        cause instanceof Error ? cause.message : String(cause)
      }`,
      { cause },
    );
  }
}

/** The checkpoint is after the end of the log: the log was replaced or restored, the rows are of another one. */
export class CheckpointAheadOfLog extends Error {
  readonly code = 'CHECKPOINT_AHEAD_OF_LOG';
  constructor(model: ReadModel, position: bigint, head: bigint) {
    super(`${titled(model)} is at ${position}, but the log ends at ${head}: rebuild the projection`);
  }
}

/** A rebuild needs the projection for itself. */
export class ProjectionInUse extends Error {
  readonly code = 'PROJECTION_IN_USE';
  constructor(model: ReadModel) {
    super(`A projector is running ${titled(model)}: stop it first`);
  }
}

/** The tables, their schema or the checkpoint are gone: somebody dropped the read model. */
export const isDropped = (error: unknown): boolean =>
  ['42P01', '3F000'].includes(String((error as { code?: unknown }).code));
