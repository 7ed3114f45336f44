import { GraphQLError } from 'graphql';
import { Field, InputType } from '@nestjs/graphql';
import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { EventLog } from '#libs/events/log/index.js';
import { refuse } from '#libs/events/catalogue/index.js';
import { refusalError } from '../platform/refusals.js';
import { Position } from '../platform/scalars.js';

@InputType({ description: 'A moment: exactly one of the two.' })
export class AsOf {
  @Field(() => Position, { nullable: true, description: 'Position of an event, as mutations and messages carry it.' })
  position?: string | null;
  @Field(() => Date, { nullable: true, description: 'The log’s own time, to the second.' }) time?: Date | null;
}

/** What had happened at a moment, and what had not yet. */
export interface Moment {
  readonly text: string;
  includes(event: Pick<RecordedEvent, 'position' | 'created'>): boolean;
}

const future = (what: string): GraphQLError =>
  refusalError(refuse('AS_OF_IN_FUTURE', `That ${what} is not in the log yet.`));

/**
 * A moment the log has been through. A position must be that of an event here, so that one of another store, or one
 * that was made up, is told from an old one.
 *
 * @throws INVALID_AS_OF, AS_OF_IN_FUTURE, AS_OF_UNKNOWN_POSITION
 */
export async function momentOf({ position, time }: AsOf, log: EventLog, now = Date.now()): Promise<Moment> {
  if ((position == null) === (time == null))
    throw refusalError(refuse('INVALID_AS_OF', 'Name a position or a time, and not both.'));
  if (time != null) {
    if (time.getTime() > now) throw future('time');
    return { text: time.toISOString(), includes: ({ created }) => created <= time };
  }
  const at = BigInt(position!);
  if (at > (await log.head())) throw future('position');
  for await (const event of log.readAll({ after: at > 0n ? at - 1n : null })) {
    if (event.position === at) return { text: String(at), includes: (other) => other.position <= at };
    break;
  }
  throw refusalError(
    refuse('AS_OF_UNKNOWN_POSITION', 'No event has that position: it is of another store, or was made up.'),
  );
}
