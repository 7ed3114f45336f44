import { Field, Float, Int, ObjectType } from '@nestjs/graphql';
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
