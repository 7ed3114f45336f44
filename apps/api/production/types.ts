import { Field, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { Role, StageState } from '#libs/events/catalogue/index.js';
import { ConnectionOf } from '../platform/connections.js';
import { CompletesOnEnum, PolicyKindEnum, RoleEnum, StageStateEnum } from '../platform/enums.js';
import { CommandInput, Node, Payload, RevisionedInput } from '../platform/inputs.js';

type PolicyKind = keyof typeof PolicyKindEnum;
type CompletesOn = keyof typeof CompletesOnEnum;

@ObjectType({ description: 'Whose approval completes a stage.' })
export class ApprovalPolicy {
  @Field(() => PolicyKindEnum) kind: PolicyKind;
  @Field(() => [ID]) reviewers: string[];
  @Field(() => [RoleEnum]) roles: Role[];
}
@ObjectType({ description: 'Display name of a state.' })
export class StageLabel {
  @Field(() => StageStateEnum) state: StageState;
  @Field() label: string;
}
@ObjectType()
export class TemplateStage {
  @Field() key: string;
  @Field() name: string;
  @Field(() => [String]) dependsOn: string[];
  @Field(() => CompletesOnEnum) completesOn: CompletesOn;
  @Field(() => ApprovalPolicy) approvalPolicy: ApprovalPolicy;
  @Field(() => [StageLabel]) labels: StageLabel[];
}
@ObjectType({ implements: () => Node })
export class PipelineTemplate extends Node {
  @Field() name: string;
  @Field() archived: boolean;
}
@ObjectType({ implements: () => Node })
export class Project extends Node {
  @Field() name: string;
  @Field() code: string;
  @Field() archived: boolean;
  @Field() createdAt: Date;
  @Field(() => Int) revision: number;
}
@ObjectType({ implements: () => Node })
export class Deliverable extends Node {
  @Field() name: string;
  @Field() createdAt: Date;
  @Field(() => Int, { description: 'For `expectedRevision` of everything about its stages.' }) revision: number;
}
@ObjectType({ implements: () => Node, description: 'A job card: one task type of a deliverable.' })
export class Stage extends Node {
  @Field() key: string;
  @Field() name: string;
  @Field(() => StageStateEnum) state: StageState;
  @Field(() => CompletesOnEnum) completesOn: CompletesOn;
}
export const ProjectConnection = ConnectionOf(Project, 'Project');
export const DeliverableConnection = ConnectionOf(Deliverable, 'Deliverable');
export const StageConnection = ConnectionOf(Stage, 'Stage');

@InputType()
export class ApprovalPolicyInput {
  @Field(() => PolicyKindEnum) kind: PolicyKind;
  @Field(() => [ID], { nullable: true, description: 'For ALL_REQUIRED.' }) reviewers?: string[] | null;
  @Field(() => [RoleEnum], { nullable: true, description: 'For ROLES.' }) roles?: Role[] | null;
}
@InputType()
export class StageLabelInput {
  @Field(() => StageStateEnum) state: StageState;
  @Field() label: string;
}
@InputType()
export class TemplateStageInput {
  @Field({ description: 'Lower-case letters, digits and hyphens; unique in the template.' }) key: string;
  @Field() name: string;
  @Field(() => [String], { nullable: true, description: 'Keys of the stages that come before.' }) dependsOn?:
    string[] | null;
  @Field(() => CompletesOnEnum, { nullable: true, description: 'Default APPROVAL.' }) completesOn?: CompletesOn | null;
  @Field(() => ApprovalPolicyInput, { nullable: true, description: 'Default ANY.' })
  approvalPolicy?: ApprovalPolicyInput | null;
  @Field(() => [StageLabelInput], { nullable: true }) labels?: StageLabelInput[] | null;
}
@InputType()
export class CreatePipelineTemplateInput extends CommandInput {
  @Field() name: string;
  @Field(() => [TemplateStageInput]) stages: TemplateStageInput[];
}
@InputType()
export class ArchivePipelineTemplateInput extends CommandInput {
  @Field(() => ID) templateId: string;
}
@InputType()
export class CreateProjectInput extends CommandInput {
  @Field() name: string;
  @Field({ description: 'Short code in capitals, as on slates and file names.' }) code: string;
  @Field(() => ID, { nullable: true, description: 'Template of its deliverables.' }) templateId?: string | null;
}
@InputType()
export class RenameProjectInput extends RevisionedInput {
  @Field(() => ID) projectId: string;
  @Field() name: string;
}
@InputType()
export class ArchiveProjectInput extends RevisionedInput {
  @Field(() => ID) projectId: string;
}
@InputType()
export class ProjectMemberInput extends CommandInput {
  @Field(() => ID) projectId: string;
  @Field(() => ID) userId: string;
}
@InputType()
export class CreateDeliverableInput extends CommandInput {
  @Field(() => ID) projectId: string;
  @Field() name: string;
  @Field(() => ID, { nullable: true, description: 'Default: the project’s.' }) templateId?: string | null;
}
@InputType()
export class StageAssignmentInput extends RevisionedInput {
  @Field(() => ID) stageId: string;
  @Field(() => ID) userId: string;
}
@InputType()
export class ChangeStageStateInput extends RevisionedInput {
  @Field(() => ID) stageId: string;
  @Field(() => StageStateEnum) to: StageState;
  @Field(() => String, { nullable: true }) reason?: string | null;
}

@ObjectType()
export class PipelineTemplatePayload extends Payload {
  templateId?: string;
}
@ObjectType()
export class ProjectPayload extends Payload {
  projectId?: string;
}
@ObjectType()
export class DeliverablePayload extends Payload {
  deliverableId?: string;
}
@ObjectType()
export class StagePayload extends Payload {
  stageId?: string;
}
