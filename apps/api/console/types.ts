import { Field, Float, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { ParkedState, RebuildState } from '#libs/read-models/index.js';
import { ConnectionOf } from '../platform/connections.js';
import { ParkedStateEnum, RebuildStateEnum } from '../platform/enums.js';
import { RefusalUnion, type RefusalObject } from '../platform/refusals.js';
import { ByteSize, Position } from '../platform/scalars.js';

@ObjectType({ description: 'How far behind the log something is.' })
export class Lag {
  @Field(() => Int, { description: 'Events it has not seen; at most 1,000 are counted.' }) events: number;
  @Field({ description: 'There are more than were counted.' }) more: boolean;
  @Field(() => Float, {
    description: 'Age of the oldest event it has not seen, by the log’s own clock; 0 without one.',
  })
  seconds: number;
}
@ObjectType()
export class ProjectionStatus {
  @Field() name: string;
  @Field(() => Int, { description: 'Version of its tables and handlers; part of the schema’s name.' }) version: number;
  @Field({ description: 'Postgres schema that holds its tables.' }) schema: string;
  @Field(() => Position, { nullable: true, description: 'Null before its first event.' }) position: string | null;
  @Field(() => Date, { nullable: true, description: 'When its checkpoint last moved.' }) movedAt: Date | null;
  @Field(() => Lag) lag: Lag;
}
@ObjectType({ description: 'A worker’s follower of the log: it turns events into jobs or commands.' })
export class ReactionStatus {
  @Field() name: string;
  @Field(() => Position) position: string;
  @Field(() => Date) movedAt: Date;
  @Field(() => Lag) lag: Lag;
  @Field(() => Int, { description: 'Events it has parked, or that wait for a parked one.' }) parked: number;
}
@ObjectType()
export class FailedJob {
  @Field() id: string;
  @Field() reason: string;
  @Field(() => Int) attempts: number;
  @Field(() => Date) failedAt: Date;
}
@ObjectType()
export class QueueStatus {
  @Field() name: string;
  @Field(() => Int) waiting: number;
  @Field(() => Int) delayed: number;
  @Field(() => Int) active: number;
  @Field(() => Int, { description: 'As long as they are remembered: 7 days, at most 20,000.' }) completed: number;
  @Field(() => Int, { description: 'As long as they are remembered: 90 days.' }) failed: number;
  @Field(() => [FailedJob], { description: 'Newest first, at most ten.' }) newestFailures: FailedJob[];
}
@ObjectType({ description: 'Followers of changes in the api process that answers.' })
export class SubscriberStatistics {
  @Field(() => Int) followers: number;
  @Field(() => Int, { description: 'Of them: reading stored changes, because they resume or lag.' }) catchingUp: number;
  @Field(() => Int, { description: 'Changes that wait to be taken, all together.' }) waiting: number;
}
@ObjectType({ description: 'An event that a projection has put aside, because it could not process it or must wait.' })
export class ParkedEvent {
  @Field() projection: string;
  @Field(() => Int) version: number;
  @Field(() => Position) position: string;
  @Field(() => ParkedStateEnum) state: ParkedState;
  @Field(() => ID) eventId: string;
  @Field() eventType: string;
  @Field() stream: string;
  @Field(() => Int) revision: number;
  @Field(() => String, { nullable: true, description: 'What went wrong; null for one that only waits.' })
  error: string | null;
  @Field(() => Int) attempts: number;
  @Field(() => String, { nullable: true, description: 'Why it was skipped.' }) reason: string | null;
  @Field(() => Date) parkedAt: Date;
}
export const ParkedEventConnection = ConnectionOf(ParkedEvent, 'ParkedEvent');

@ObjectType({ description: 'A rebuild beside the rows that are being read, which it replaces when it has caught up.' })
export class Rebuild {
  @Field(() => ID) id: string;
  @Field() projection: string;
  @Field(() => Int) version: number;
  @Field(() => RebuildStateEnum) state: RebuildState;
  @Field(() => Position, { nullable: true, description: 'Reached so far; null before the first event.' })
  position: string | null;
  @Field(() => Position, { nullable: true, description: 'Where the log ended when last looked at.' })
  head: string | null;
  @Field(() => Float) events: number;
  @Field(() => Float, { nullable: true }) eventsPerSecond: number | null;
  @Field(() => Float, { nullable: true, description: 'An estimate.' }) secondsLeft: number | null;
  @Field(() => Int, { nullable: true, description: 'Most events per second; null for as fast as it goes.' })
  throttle: number | null;
  @Field(() => String, { nullable: true, description: 'Why it failed.' }) error: string | null;
  @Field(() => Date) requestedAt: Date;
  @Field(() => Date, { nullable: true }) startedAt: Date | null;
  @Field(() => Date, { nullable: true }) endedAt: Date | null;
}

@ObjectType({ description: 'How a table differs from the same one of a clean rebuild, row by row.' })
export class TableDifference {
  @Field({ description: '`<read model>.<table>`.' }) table: string;
  @Field(() => Int, { description: 'Rows of the clean rebuild that are not there.' }) missing: number;
  @Field(() => Int, { description: 'Rows that a clean rebuild does not have.' }) extra: number;
  @Field(() => Int) changed: number;
  @Field(() => [String], { description: 'Primary keys of the first few.' }) examples: string[];
}
@ObjectType({ description: 'A clean rebuild that is compared with the rows that are being read, and thrown away.' })
export class Verification extends Rebuild {
  @Field(() => Boolean, { nullable: true, description: 'Null until it is done.' }) equal: boolean | null;
  @Field(() => [TableDifference], { nullable: true, description: 'Tables that differ; null until it is done.' })
  differences: TableDifference[] | null;
}

@ObjectType({ description: 'The installation at one moment.' })
export class Operations {
  @Field(() => Date) at: Date;
  @Field(() => Position, { description: 'The log’s last position.' }) head: string;
  @Field(() => Float, {
    nullable: true,
    description: 'Domain events projected in a second, since the look before; null at the first.',
  })
  eventsPerSecond: number | null;
  @Field(() => [ProjectionStatus]) projections: ProjectionStatus[];
  @Field(() => [Rebuild], { description: 'Requested and running ones, and those that ended in the last ten minutes.' })
  rebuilds: Rebuild[];
  @Field(() => Int, { description: 'Events that are parked, wait for a parked one, or stopped a rebuild.' })
  parked: number;
  @Field(() => Int, {
    description: 'Of them: in projections that say who may see what. While it is not 0, somebody may see too much.',
  })
  parkedAccess: number;
  @Field(() => [ReactionStatus]) reactions: ReactionStatus[];
  @Field(() => [QueueStatus]) queues: QueueStatus[];
  @Field(() => SubscriberStatistics) subscribers: SubscriberStatistics;
}
@ObjectType()
export class EventTypeStatistics {
  @Field() type: string;
  @Field(() => Int) events: number;
  @Field(() => Date) firstAt: Date;
  @Field(() => Date) lastAt: Date;
}
@ObjectType()
export class OrganisationStatistics {
  @Field() id: string;
  @Field() name: string;
  @Field(() => Int) events: number;
  @Field(() => Date) lastAt: Date;
}
@ObjectType({ description: 'Counted from the change feed, up to its position.' })
export class LogStatistics {
  @Field(() => Position) position: string;
  @Field(() => Int) events: number;
  @Field(() => [EventTypeStatistics], { description: 'Most frequent first.' }) types: EventTypeStatistics[];
  @Field(() => [OrganisationStatistics], { description: 'Busiest first, at most 50.' })
  organisations: OrganisationStatistics[];
  @Field(() => ByteSize, { description: 'Size of the read models on disk, indexes included.' }) readModelBytes: string;
}

@InputType()
export class RebuildProjectionsInput {
  @Field(() => [String], { nullable: true, description: 'Default: all of them.' }) projections?: string[] | null;
  @Field(() => Int, { nullable: true, description: 'Most events per second of each; default as fast as it goes.' })
  throttle?: number | null;
}
@InputType()
export class ProjectionRefInput {
  @Field() projection: string;
}
@InputType()
export class ThrottleRebuildInput extends ProjectionRefInput {
  @Field(() => Int, { nullable: true, description: 'Null takes the limit away.' }) throttle?: number | null;
}
@InputType()
export class ParkedEventRefInput extends ProjectionRefInput {
  @Field(() => Position) position: string;
}
@InputType()
export class SkipParkedEventInput extends ParkedEventRefInput {
  @Field({ description: 'For those who ask later.' }) reason: string;
}

@ObjectType()
export class RebuildsPayload {
  @Field(() => [Rebuild], { description: 'Of the projections that were named, newest first.' }) rebuilds: Rebuild[];
  @Field(() => [RefusalUnion], { description: 'Empty when it was accepted.' }) errors: RefusalObject[];
}
@ObjectType()
export class VerificationsPayload {
  @Field(() => [Verification], { description: 'Of the projections that were named, newest first.' })
  verifications: Verification[];
  @Field(() => [RefusalUnion], { description: 'Empty when it was accepted.' }) errors: RefusalObject[];
}
@ObjectType()
export class ParkedEventPayload {
  @Field(() => ParkedEvent, { nullable: true }) event: ParkedEvent | null;
  @Field(() => [RefusalUnion], { description: 'Empty when it was accepted.' }) errors: RefusalObject[];
}
