import { ArgsType, Field, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { Category, Plain } from '#libs/domain/index.js';
import { Change } from '../audit/types.js';
import { ConnectionOf, PageAtLeastArgs } from '../platform/connections.js';
import { EntityTypeEnum } from '../platform/enums.js';
import { Json, Position } from '../platform/scalars.js';
import { AsOf } from './as-of.js';

/** Names of entities at the edge, and the categories of their streams. */
export const ENTITY_TYPES = {
  ORGANISATION: 'organisation',
  USER: 'user',
  PIPELINE_TEMPLATE: 'pipelineTemplate',
  PROJECT: 'project',
  DELIVERABLE: 'deliverable',
  VERSION_STACK: 'versionStack',
  VERSION: 'version',
  VERSION_MEDIA: 'versionMedia',
  COMPARISON: 'comparison',
} as const satisfies Record<keyof typeof EntityTypeEnum, Category>;

@InputType()
export class EntityRef {
  @Field(() => EntityTypeEnum) type: keyof typeof ENTITY_TYPES;
  @Field(() => ID, { description: 'A stack has the id of its stage, the media of a version that of the version.' })
  id: string;
}

@ArgsType()
export class HistoryArgs extends PageAtLeastArgs {
  @Field(() => EntityRef) entity: EntityRef;
}
@ArgsType()
export class EntityAsOfArgs {
  @Field(() => EntityRef) entity: EntityRef;
  @Field(() => AsOf) asOf: AsOf;
}
@ArgsType()
export class EntityDiffArgs {
  @Field(() => EntityRef) entity: EntityRef;
  @Field(() => AsOf) from: AsOf;
  @Field(() => AsOf) to: AsOf;
}

@ObjectType({ description: 'One event of an entity’s life.' })
export class HistoryEntry {
  @Field(() => Int) revision: number;
  @Field(() => Position) position: string;
  @Field({ description: 'The log’s own time.' }) at: Date;
  @Field() eventType: string;
  @Field(() => ID, { nullable: true, description: 'Null for the system itself.' }) actorUserId: string | null;
  @Field({ description: 'Who, what, old → new.' }) sentence: string;
  @Field(() => [Change]) changes: Change[];
}
export const HistoryEntryConnection = ConnectionOf(HistoryEntry, 'HistoryEntry');

@ObjectType({ description: 'State of an entity at a moment: what its next command would have been decided on.' })
export class EntityState {
  @Field(() => Int, { description: 'Of its last event before the moment.' }) revision: number;
  @Field(() => Position) position: string;
  @Field({ description: 'When that event was written; the log’s own time.' }) at: Date;
  @Field(() => Json) state: Plain;
}

@ObjectType()
export class EntityDiff {
  @Field(() => EntityState, { nullable: true, description: 'Null before the entity began.' }) from: EntityState | null;
  @Field(() => EntityState, { nullable: true }) to: EntityState | null;
  @Field(() => [Change]) changes: Change[];
}
