import { Field, Float, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { ParkedReactionState } from '#libs/jobs/index.js';
import type { AsOfState } from '#libs/read-models/index.js';
import { AsOfStateEnum, ParkedReactionStateEnum } from '../platform/enums.js';
import { RefusalUnion, type RefusalObject } from '../platform/refusals.js';
import { ByteSize, Position } from '../platform/scalars.js';

@ObjectType({ description: 'An event that a reaction has put aside, because it failed or must wait for one that did.' })
export class ParkedReaction {
  @Field() reaction: string;
  @Field(() => Position) position: string;
  @Field(() => ParkedReactionStateEnum) state: ParkedReactionState;
  @Field(() => ID) eventId: string;
  @Field() eventType: string;
  @Field() stream: string;
  @Field(() => Int) revision: number;
  @Field(() => String, { nullable: true, description: 'What went wrong; null for one that only waits.' })
  error: string | null;
  @Field(() => Int) attempts: number;
  @Field(() => Date, { nullable: true, description: 'When it is tried again by itself.' }) retryAt: Date | null;
  @Field(() => String, { nullable: true, description: 'Why it was skipped.' }) reason: string | null;
  @Field(() => Date) parkedAt: Date;
}

@ObjectType({ description: 'One subscription of one socket.' })
export class Subscriber {
  @Field({ description: 'The api process that serves it.' }) process: string;
  @Field(() => ID, { description: 'The socket; a person may have several, and several subscriptions on one.' })
  socket: string;
  @Field(() => ID) userId: string;
  @Field(() => String, { nullable: true, description: 'The person’s name.' }) name: string | null;
  @Field({ description: '`stack`, `project` or `organisation`.' }) topic: string;
  @Field(() => ID) topicId: string;
  @Field(() => Date) since: Date;
  @Field(() => Position, { description: 'Everything up to here was handed over.' }) position: string;
  @Field(() => Int, { description: 'Changes that wait to be taken.' }) waiting: number;
  @Field({ description: 'It reads stored changes, because it resumes or lags.' }) catchingUp: boolean;
}

@ObjectType()
export class StreamSnapshot {
  @Field() stream: string;
  @Field(() => Int, { description: 'Of the last event that is in it.' }) revision: number;
  @Field(() => Float) bytes: number;
  @Field(() => Date) takenAt: Date;
}
@ObjectType({ description: 'Folded states of long streams: a cache, which may be dropped at any time.' })
export class SnapshotStatistics {
  @Field(() => Int) snapshots: number;
  @Field(() => ByteSize, { description: 'Compressed, as they are kept.' }) bytes: string;
  @Field(() => [StreamSnapshot], { description: 'At most 50.' }) largest: StreamSnapshot[];
}

@ObjectType({ description: 'Read models as of a moment, built for queries with X-As-Of.' })
export class AsOfMoment {
  @Field(() => ID) id: string;
  @Field(() => ID) organisationId: string;
  @Field(() => Position) position: string;
  @Field(() => AsOfStateEnum) state: AsOfState;
  @Field(() => String, { nullable: true, description: 'Why it could not be made.' }) failure: string | null;
  @Field(() => Date, { description: 'When it goes, unless somebody reads it.' }) expiresAt: Date;
  @Field(() => ByteSize) bytes: string;
}

@InputType()
export class ReactionEventInput {
  @Field() reaction: string;
  @Field(() => Position) position: string;
}
@InputType()
export class SkipReactionEventInput extends ReactionEventInput {
  @Field({ description: 'For those who ask later.' }) reason: string;
}
@InputType()
export class DropSnapshotsInput {
  @Field(() => String, { nullable: true, description: 'Default: all of them.' }) stream?: string | null;
}
@InputType()
export class BuildAsOfInput {
  @Field(() => ID) organisationId: string;
  @Field({ description: 'A position or an ISO 8601 time with its zone, as in X-As-Of.' }) moment: string;
}
@InputType()
export class DropAsOfInput {
  @Field(() => ID) id: string;
}
@InputType()
export class ForgetPersonInput {
  @Field(() => ID) userId: string;
}

@ObjectType()
export class ParkedReactionPayload {
  @Field(() => [RefusalUnion], { description: 'Empty when it was accepted.' }) errors: RefusalObject[];
}
@ObjectType()
export class DropSnapshotsPayload {
  @Field(() => Int) dropped: number;
  @Field(() => [RefusalUnion]) errors: RefusalObject[];
}
@ObjectType()
export class AsOfMomentPayload {
  @Field(() => AsOfMoment, { nullable: true }) moment: AsOfMoment | null;
  @Field(() => [RefusalUnion], { description: 'Empty when it was accepted.' }) errors: RefusalObject[];
}
@ObjectType()
export class ForgetPersonPayload {
  @Field(() => Position, { nullable: true, description: 'Null when the person was forgotten before.' })
  position: string | null;
  @Field(() => [RefusalUnion], { description: 'Empty when it was accepted.' }) errors: RefusalObject[];
}
