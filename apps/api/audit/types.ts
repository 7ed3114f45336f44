import { ArgsType, Field, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { Plain } from '#libs/domain/index.js';
import type { Role } from '#libs/events/catalogue/index.js';
import { ConnectionOf, PageAtLeastArgs } from '../platform/connections.js';
import { AuditOutcomeEnum, RoleEnum } from '../platform/enums.js';
import { Json, Position } from '../platform/scalars.js';

@InputType()
export class AuditFilter {
  @Field(() => ID, { nullable: true, description: 'Who acted.' }) actorUserId?: string | null;
  @Field(() => ID, { nullable: true, description: 'What it was for: a project, a deliverable, a version, a person …' })
  entityId?: string | null;
  @Field(() => String, { nullable: true, description: 'Kind of entity, as in `version`.' }) entityType?: string | null;
  @Field(() => String, { nullable: true, description: 'Type of the command, as in `AddComment`.' }) type?:
    string | null;
  @Field(() => String, { nullable: true, description: 'Code of the refusal, as in `FORBIDDEN`.' }) code?: string | null;
  @Field(() => AuditOutcomeEnum, { nullable: true }) outcome?: 'ACCEPTED' | 'REFUSED' | null;
  @Field(() => Date, { nullable: true, description: 'Recorded at or after; the log’s own time.' }) from?: Date | null;
  @Field(() => Date, { nullable: true, description: 'Recorded before; the log’s own time.' }) to?: Date | null;
}

@ArgsType()
export class AuditArgs extends PageAtLeastArgs {
  @Field(() => AuditFilter, { nullable: true }) filter?: AuditFilter | null;
}

@ObjectType({ description: 'A value that changed. What was not there before, or is no more, is null.' })
export class Change {
  @Field({ description: 'As in `comments.<id>.text`.' }) path: string;
  @Field(() => Json, { nullable: true }) old: Plain;
  @Field(() => Json, { nullable: true }) new: Plain;
}

@ObjectType({ description: 'An event as it was written, personal fields of the forgotten redacted.' })
export class WrittenEvent {
  @Field() type: string;
  @Field(() => Int, { description: 'In the stream of its entity, from 0.' }) revision: number;
  @Field(() => Position) position: string;
  @Field(() => Json) data: Plain;
}

@ObjectType({ description: 'One command: who, when, from where, to what, and what came of it.' })
export class AuditEntry {
  @Field(() => Position) position: string;
  @Field(() => ID) commandId: string;
  @Field({ description: 'Of the command, as in `AddComment`.' }) type: string;
  @Field(() => AuditOutcomeEnum) outcome: 'ACCEPTED' | 'REFUSED';
  @Field(() => ID, { nullable: true, description: 'Null for the system itself.' }) actorUserId: string | null;
  @Field(() => RoleEnum, { description: 'At the time.' }) actorRole: Role;
  @Field({ description: 'Kind of entity, as in `version`.' }) entityType: string;
  @Field(() => ID, { nullable: true }) entityId: string | null;
  @Field(() => String, { nullable: true, description: 'Code of the refusal.' }) code: string | null;
  @Field(() => String, { nullable: true }) message: string | null;
  @Field(() => [String], { nullable: true }) path: string[] | null;
  @Field({ description: 'The command’s own time.' }) at: Date;
  @Field({ description: 'The log’s, to the second.' }) recordedAt: Date;
}
export const AuditEntryConnection = ConnectionOf(AuditEntry, 'AuditEntry');
