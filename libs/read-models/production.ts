import 'reflect-metadata';
import { Check, Entity, Index, JoinColumn, ManyToOne, OneToMany, PrimaryColumn, type Relation } from 'typeorm';
import {
  completesOn,
  outcome,
  STAGE_STATES,
  type ApprovalPolicy,
  type Outcome,
  type StageState,
  type TemplateStage,
} from '#libs/events/catalogue/index.js';
import { BigInt64, Bool, Int, Json, Key, oneOf, schemaName, Text, Time, Uuid, UuidList } from './columns.js';
import type { ReadModel } from './model.js';

const name = 'production';
const version = 1;
const schema = schemaName(name, version);

@Entity({ schema, name: 'pipeline_template' })
@Index('pipeline_template_organisation_position', ['organisationId', 'position'])
export class PipelineTemplateRow {
  @Key('id') id: string;
  @Uuid('organisation_id') organisationId: string;
  @Text('name') name: string;
  @Bool('archived', { default: false }) archived: boolean;
  @Json('stages') stages: TemplateStage[];
  /** Log position of the creation: the order of lists. */
  @BigInt64('position') position: string;
  @Time('created_at') createdAt: Date;
  /** Revision of the stream's last event. */
  @Int('revision') revision: number;
}

@Entity({ schema, name: 'project' })
@Index('project_organisation_position', ['organisationId', 'position'])
export class ProjectRow {
  @Key('id') id: string;
  @Uuid('organisation_id') organisationId: string;
  @Text('name') name: string;
  @Text('code') code: string;
  @Uuid('template_id', { nullable: true }) templateId: string | null;
  @Bool('archived', { default: false }) archived: boolean;
  /** Log position of the creation: the order of lists. */
  @BigInt64('position') position: string;
  @Time('created_at') createdAt: Date;
  /** Revision of the stream's last event, for `expectedRevision`. */
  @Int('revision') revision: number;
  @OneToMany(() => ProjectMemberRow, (member) => member.project) members?: Relation<ProjectMemberRow>[];
  @OneToMany(() => DeliverableRow, (deliverable) => deliverable.project) deliverables?: Relation<DeliverableRow>[];
}

@Entity({ schema, name: 'project_member' })
@Index('project_member_user', ['userId'])
export class ProjectMemberRow {
  @Key('project_id') projectId: string;
  @ManyToOne(() => ProjectRow, (project) => project.members)
  @JoinColumn({ name: 'project_id' })
  project?: Relation<ProjectRow>;
  @Key('user_id') userId: string;
  @Uuid('organisation_id') organisationId: string;
  /** Log position of the event that added the member: the order of lists. */
  @BigInt64('position') position: string;
  @Time('added_at') addedAt: Date;
}

@Entity({ schema, name: 'deliverable' })
@Index('deliverable_project_position', ['projectId', 'position'])
export class DeliverableRow {
  @Key('id') id: string;
  @Uuid('project_id') projectId: string;
  @ManyToOne(() => ProjectRow, (project) => project.deliverables)
  @JoinColumn({ name: 'project_id' })
  project?: Relation<ProjectRow>;
  @Uuid('organisation_id') organisationId: string;
  @Uuid('template_id') templateId: string;
  @Text('name') name: string;
  /** Log position of the creation: the order of lists. */
  @BigInt64('position') position: string;
  @Time('created_at') createdAt: Date;
  /** Revision of the stream's last event, for `expectedRevision` of everything about its stages. */
  @Int('revision') revision: number;
  @OneToMany(() => StageRow, (stage) => stage.deliverable) stages?: Relation<StageRow>[];
}

@Entity({ schema, name: 'stage' })
@Check('stage_state', oneOf('state', STAGE_STATES))
@Check('stage_newest_version_outcome', oneOf('newest_version_outcome', outcome.options))
@Check('stage_completes_on', oneOf('completes_on', completesOn.options))
@Index('stage_deliverable_ordinal', ['deliverableId', 'ordinal'], { unique: true })
@Index('stage_project_state', ['projectId', 'state'])
export class StageRow {
  @Key('id') id: string;
  @Uuid('deliverable_id') deliverableId: string;
  @ManyToOne(() => DeliverableRow, (deliverable) => deliverable.stages)
  @JoinColumn({ name: 'deliverable_id' })
  deliverable?: Relation<DeliverableRow>;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  @Text('key') key: string;
  @Text('name') name: string;
  /** Place in the pipeline, from 0. */
  @Int('ordinal') ordinal: number;
  @Text('state') state: StageState;
  @Time('state_changed_at') stateChangedAt: Date;
  /** Ids of the stages that come before. */
  @UuidList('depends_on') dependsOn: string[];
  /** Display names of states, from the template. */
  @Json('labels') labels: Partial<Record<StageState, string>>;
  @Text('completes_on') completesOn: 'UPLOAD' | 'APPROVAL';
  @Json('approval_policy') approvalPolicy: ApprovalPolicy;
  /** The newest version that stands; null while there is none. */
  @Uuid('newest_version_id', { nullable: true }) newestVersionId: string | null;
  /** What the decisions on it come to; null while there is none. */
  @Text('newest_version_outcome', { nullable: true }) newestVersionOutcome: Outcome | null;
  /** Log position of the creation; the stages of a deliverable share it. */
  @BigInt64('position') position: string;
  @OneToMany(() => StageAssignmentRow, (assignment) => assignment.stage) assignments?: Relation<StageAssignmentRow>[];
}

/** Current assignments only. */
@Entity({ schema, name: 'stage_assignment' })
@Index('stage_assignment_user_position', ['userId', 'position'])
@Index('stage_assignment_project_user', ['projectId', 'userId'])
export class StageAssignmentRow {
  @Key('stage_id') stageId: string;
  @ManyToOne(() => StageRow, (stage) => stage.assignments)
  @JoinColumn({ name: 'stage_id' })
  stage?: Relation<StageRow>;
  @Key('user_id') userId: string;
  @Uuid('deliverable_id') deliverableId: string;
  @Uuid('project_id') projectId: string;
  @Uuid('organisation_id') organisationId: string;
  /** Log position of the assignment: the order of “my work”. */
  @BigInt64('position') position: string;
  @Time('assigned_at') assignedAt: Date;
}

/**
 * Who sees a project without seeing all of the organisation (RV-23): the row is there exactly as long as a membership or
 * an assignment grants it. By primary key (user, project) it is one lookup.
 */
@Entity({ schema, name: 'project_access' })
@Check('project_access_grants', '"grants" > 0')
@Index('project_access_project', ['projectId'])
export class ProjectAccessRow {
  @PrimaryColumn({ name: 'user_id', type: 'uuid' }) userId: string;
  @PrimaryColumn({ name: 'project_id', type: 'uuid' }) projectId: string;
  @ManyToOne(() => ProjectRow)
  @JoinColumn({ name: 'project_id' })
  project?: Relation<ProjectRow>;
  @Uuid('organisation_id') organisationId: string;
  /** Memberships and assignments that grant it. */
  @Int('grants') grants: number;
}

export const production: ReadModel = {
  name,
  version,
  schema,
  grantsAccess: true,
  entities: [
    PipelineTemplateRow,
    ProjectRow,
    ProjectMemberRow,
    DeliverableRow,
    StageRow,
    StageAssignmentRow,
    ProjectAccessRow,
  ],
  categories: ['pipelineTemplate', 'project', 'deliverable'],
  lookups: ['stage_assignment_project_user'],
};
