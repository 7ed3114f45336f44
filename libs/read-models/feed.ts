import 'reflect-metadata';
import { Entity, Index, PrimaryColumn } from 'typeorm';
import type { EventType } from '#libs/events/catalogue/index.js';
import { schemaName, Text, Time, Uuid } from './columns.js';
import type { ReadModel } from './model.js';

const name = 'feed';
const version = 2;
const schema = schemaName(name, version);

/**
 * One row for each domain event that a subscriber may want, so that a subscription resumes after any position by keyset.
 * Ids name what the event is about; a stage and its stack have one id, so stage events are on the stack's line too.
 */
@Entity({ schema, name: 'change' })
@Index('change_stack', ['stackId', 'position'], { where: '"stack_id" IS NOT NULL' })
@Index('change_project', ['projectId', 'position'], { where: '"project_id" IS NOT NULL' })
@Index('change_organisation', ['organisationId', 'position'])
export class ChangeRow {
  /** Log position of the event, a decimal string. */
  @PrimaryColumn({ name: 'position', type: 'bigint' }) position: string;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('project_id', { nullable: true }) projectId: string | null;
  @Uuid('deliverable_id', { nullable: true }) deliverableId: string | null;
  @Uuid('stage_id', { nullable: true }) stageId: string | null;
  @Uuid('stack_id', { nullable: true }) stackId: string | null;
  @Uuid('version_id', { nullable: true }) versionId: string | null;
  @Uuid('comment_id', { nullable: true }) commentId: string | null;
  @Uuid('annotation_id', { nullable: true }) annotationId: string | null;
  @Uuid('decision_id', { nullable: true }) decisionId: string | null;
  @Uuid('comparison_id', { nullable: true }) comparisonId: string | null;
  /** The person the event is about (assigned, made a member, changed), not the one who acted. */
  @Uuid('user_id', { nullable: true }) userId: string | null;
  @Text('event_type') eventType: EventType;
  @Uuid('actor_user_id', { nullable: true }) actorUserId: string | null;
  /** The command's time. */
  @Time('at') at: Date;
}

export const feed: ReadModel = {
  name,
  version,
  schema,
  entities: [ChangeRow],
  appendOnly: true,
  categories: [
    'organisation',
    'user',
    'pipelineTemplate',
    'project',
    'deliverable',
    'versionStack',
    'version',
    'versionMedia',
    'comparison',
  ],
};
