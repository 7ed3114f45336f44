import { Args, Context, ID, Mutation, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import {
  can,
  legalMoves,
  planStages,
  seesAllProjects,
  type DeliverableState,
  type Permission,
} from '#libs/domain/index.js';
import { deliverableDecider } from '#libs/domain/index.js';
import {
  refuse,
  type ApprovalPolicy as Policy,
  type CommandMeta,
  type Refusal,
  type StageState,
  type TemplateStage as CatalogueStage,
} from '#libs/events/catalogue/index.js';
import {
  DeliverableRow,
  PipelineTemplateRow,
  ProjectAccessRow,
  ProjectMemberRow,
  ProjectRow,
  StageAssignmentRow,
  StageRow,
  UserRow,
} from '#libs/read-models/index.js';
import { User } from '../identity/types.js';
import { Access, visible } from '../platform/access.js';
import { Commands, refusedPayload, type MutationResult } from '../platform/commands.js';
import { AtLeastArgs, PageArgs, PageAtLeastArgs, pageOf, type Page } from '../platform/connections.js';
import { requirePermission, viewerOf, type RequestContext } from '../platform/context.js';
import { StageStateEnum } from '../platform/enums.js';
import {
  ApprovalPolicy,
  ApprovalPolicyInput,
  ArchivePipelineTemplateInput,
  ArchiveProjectInput,
  ChangeStageStateInput,
  CreateDeliverableInput,
  CreatePipelineTemplateInput,
  CreateProjectInput,
  Deliverable,
  DeliverableConnection,
  DeliverablePayload,
  PipelineTemplate,
  PipelineTemplatePayload,
  Project,
  ProjectConnection,
  ProjectMemberInput,
  ProjectPayload,
  RenameProjectInput,
  Stage,
  StageAssignmentInput,
  StageConnection,
  StagePayload,
  TemplateStage,
} from './types.js';

const toPolicy = (policy: Policy): ApprovalPolicy => ({
  kind: policy.kind,
  reviewers: policy.kind === 'ALL_REQUIRED' ? policy.reviewers : [],
  roles: policy.kind === 'ROLES' ? policy.roles : [],
});
const fromPolicy = (input: ApprovalPolicyInput | null | undefined): Policy => {
  switch (input?.kind) {
    case 'ALL_REQUIRED':
      return { kind: 'ALL_REQUIRED', reviewers: input.reviewers ?? [] };
    case 'ROLES':
      return { kind: 'ROLES', roles: input.roles ?? [] };
    default:
      return { kind: 'ANY' };
  }
};

const notFound = (what: string, field: string): Refusal =>
  refuse('NOT_FOUND', `There is no such ${what}.`, { path: [field] });

@Resolver(() => PipelineTemplate)
export class PipelineTemplateResolver {
  @ResolveField(() => [TemplateStage])
  stages(@Parent() template: PipelineTemplateRow): TemplateStage[] {
    return template.stages.map((stage) => ({
      ...stage,
      approvalPolicy: toPolicy(stage.approvalPolicy),
      labels: Object.entries(stage.labels).map(([state, label]) => ({ state: state as StageState, label: label! })),
    }));
  }
}

@Resolver(() => Project)
export class ProjectResolver {
  @ResolveField(() => [User])
  async members(@Parent() project: ProjectRow, @Context() { read }: RequestContext): Promise<UserRow[]> {
    const members = await read.manyBy(ProjectMemberRow, 'projectId', { position: 'ASC' }, project.id);
    const users = await Promise.all(members.map((m) => read.byId(UserRow, m.userId)));
    return users.filter((u): u is UserRow => u !== null);
  }

  @ResolveField(() => DeliverableConnection)
  async deliverables(
    @Parent() project: ProjectRow,
    @Args() args: PageArgs,
    @Context() { read }: RequestContext,
  ): Promise<Page<DeliverableRow>> {
    const query = (await read.manager())
      .getRepository(DeliverableRow)
      .createQueryBuilder('d')
      .where('d.project_id = :projectId', { projectId: project.id });
    return pageOf(query, 'd.position', args, (d) => d.position);
  }
}

@Resolver(() => Deliverable)
export class DeliverableResolver {
  @ResolveField(() => Project)
  project(@Parent() deliverable: DeliverableRow, @Context() { read }: RequestContext): Promise<ProjectRow | null> {
    return read.byId(ProjectRow, deliverable.projectId);
  }

  @ResolveField(() => [Stage], { description: 'In the order of the pipeline.' })
  stages(@Parent() deliverable: DeliverableRow, @Context() { read }: RequestContext): Promise<StageRow[]> {
    return read.manyBy(StageRow, 'deliverableId', { ordinal: 'ASC' }, deliverable.id);
  }
}

@Resolver(() => Stage)
export class StageResolver {
  constructor(private readonly commands: Commands) {}

  @ResolveField(() => String, { description: 'Display name of the state, from the template.' })
  label(@Parent() stage: StageRow): string {
    const words = stage.state.toLowerCase().replaceAll('_', ' ');
    return stage.labels[stage.state] ?? words.charAt(0).toUpperCase() + words.slice(1);
  }

  @ResolveField(() => ApprovalPolicy)
  approvalPolicy(@Parent() stage: StageRow): ApprovalPolicy {
    return toPolicy(stage.approvalPolicy);
  }

  @ResolveField(() => [StageStateEnum], { description: 'Where it may be moved by hand from here.' })
  async legalStates(@Parent() stage: StageRow): Promise<readonly StageState[]> {
    const { state } = await this.commands.executor.load(deliverableDecider, stage.deliverableId);
    const current = state?.stages.find((s) => s.stageId === stage.id);
    return current && state ? legalMoves(current, state.stages) : [];
  }

  @ResolveField(() => Deliverable)
  deliverable(@Parent() stage: StageRow, @Context() { read }: RequestContext): Promise<DeliverableRow | null> {
    return read.byId(DeliverableRow, stage.deliverableId);
  }

  @ResolveField(() => [Stage])
  async dependsOn(@Parent() stage: StageRow, @Context() { read }: RequestContext): Promise<StageRow[]> {
    const stages = await Promise.all(stage.dependsOn.map((id) => read.byId(StageRow, id)));
    return stages.filter((s): s is StageRow => s !== null);
  }

  @ResolveField(() => [User])
  async assignees(@Parent() stage: StageRow, @Context() { read }: RequestContext): Promise<UserRow[]> {
    const assignments = await read.manyBy(StageAssignmentRow, 'stageId', { position: 'ASC' }, stage.id);
    const users = await Promise.all(assignments.map((a) => read.byId(UserRow, a.userId)));
    return users.filter((u): u is UserRow => u !== null);
  }
}

@Resolver(() => PipelineTemplatePayload)
export class PipelineTemplatePayloadResolver {
  @ResolveField(() => PipelineTemplate, { nullable: true })
  pipelineTemplate(@Parent() payload: PipelineTemplatePayload, @Context() { read }: RequestContext) {
    return read.byId(PipelineTemplateRow, payload.templateId);
  }
}
@Resolver(() => ProjectPayload)
export class ProjectPayloadResolver {
  @ResolveField(() => Project, { nullable: true })
  project(@Parent() payload: ProjectPayload, @Context() { read }: RequestContext) {
    return read.byId(ProjectRow, payload.projectId);
  }
}
@Resolver(() => DeliverablePayload)
export class DeliverablePayloadResolver {
  @ResolveField(() => Deliverable, { nullable: true })
  deliverable(@Parent() payload: DeliverablePayload, @Context() { read }: RequestContext) {
    return read.byId(DeliverableRow, payload.deliverableId);
  }
}
@Resolver(() => StagePayload)
export class StagePayloadResolver {
  @ResolveField(() => Stage, { nullable: true })
  stage(@Parent() payload: StagePayload, @Context() { read }: RequestContext) {
    return read.byId(StageRow, payload.stageId);
  }
}

@Resolver()
export class ProductionResolver {
  constructor(
    private readonly commands: Commands,
    private readonly access: Access,
  ) {}

  @Query(() => [PipelineTemplate])
  async pipelineTemplates(@Args() { atLeast }: AtLeastArgs, @Context() context: RequestContext) {
    const { organisationId } = requirePermission(context, 'template.read');
    await context.read.require(atLeast);
    const manager = await context.read.manager();
    return manager
      .getRepository(PipelineTemplateRow)
      .find({ where: { organisationId, archived: false }, order: { position: 'ASC' }, take: 200 });
  }

  @Query(() => ProjectConnection, { description: 'Projects you may see, oldest first.' })
  async projects(@Args() args: PageAtLeastArgs, @Context() context: RequestContext): Promise<Page<ProjectRow>> {
    const viewer = requirePermission(context, 'project.read');
    await context.read.require(args.atLeast);
    const query = (await context.read.manager())
      .getRepository(ProjectRow)
      .createQueryBuilder('p')
      .where('p.organisation_id = :organisationId', { organisationId: viewer.organisationId });
    // The role of the snapshot, not of the request: what is shown and who may see it are equally new.
    const person = await context.read.byId(UserRow, viewer.userId);
    if (!person?.active) query.andWhere('false');
    else if (!seesAllProjects(person.role))
      query.andWhere((q) => {
        const ties = q
          .subQuery()
          .select('1')
          .from(ProjectAccessRow, 'a')
          .where('a.user_id = :userId AND a.project_id = p.id', { userId: viewer.userId });
        return `EXISTS ${ties.getQuery()}`;
      });
    return pageOf(query, 'p.position', args, (p) => p.position);
  }

  @Query(() => Project, { nullable: true })
  async project(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ) {
    const viewer = requirePermission(context, 'project.read');
    await context.read.require(atLeast);
    return visible(context.read, viewer, await context.read.byId(ProjectRow, id), (p) => p.id);
  }

  @Query(() => Deliverable, { nullable: true })
  async deliverable(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ) {
    const viewer = requirePermission(context, 'deliverable.read');
    await context.read.require(atLeast);
    return visible(context.read, viewer, await context.read.byId(DeliverableRow, id), (d) => d.projectId);
  }

  @Query(() => Stage, { nullable: true })
  async stage(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ) {
    const viewer = requirePermission(context, 'deliverable.read');
    await context.read.require(atLeast);
    return visible(context.read, viewer, await context.read.byId(StageRow, id), (s) => s.projectId);
  }

  @Query(() => StageConnection, { description: 'Stages assigned to you, in order of assignment.' })
  async myWork(@Args() args: PageAtLeastArgs, @Context() context: RequestContext): Promise<Page<StageRow>> {
    const viewer = requirePermission(context, 'deliverable.read');
    await context.read.require(args.atLeast);
    const manager = await context.read.manager();
    const query = manager
      .getRepository(StageAssignmentRow)
      .createQueryBuilder('w')
      .where('w.user_id = :userId AND w.organisation_id = :organisationId', viewer);
    const page = await pageOf(query, 'w.position', args, (w) => w.position);
    const edges = await Promise.all(
      page.edges.map(async ({ cursor, node }) => ({
        cursor,
        node: (await context.read.byId(StageRow, node.stageId))!,
      })),
    );
    return { ...page, edges };
  }

  @Mutation(() => PipelineTemplatePayload)
  async createPipelineTemplate(
    @Args('input') input: CreatePipelineTemplateInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { templateId?: string }> {
    const meta = this.commands.meta(context, input);
    const templateId = this.commands.newId(meta, 'pipelineTemplate');
    const lacking = await this.commands.lacks(
      meta,
      'template.manage',
      'CreatePipelineTemplate',
      `pipelineTemplate-${templateId}`,
    );
    if (lacking) return refusedPayload(lacking);
    for (const [i, { approvalPolicy }] of input.stages.entries())
      for (const [j, reviewer] of (approvalPolicy?.reviewers ?? []).entries()) {
        if (await this.access.isPerson(reviewer, meta.organisationId)) continue;
        const path = ['stages', i, 'approvalPolicy', 'reviewers', j];
        const unknown = refuse('NOT_FOUND', 'There is no such person.', { path });
        return refusedPayload(
          await this.commands.refused(meta, 'CreatePipelineTemplate', `pipelineTemplate-${templateId}`, unknown),
        );
      }
    const stages = input.stages.map((stage): CatalogueStage => ({
      key: stage.key,
      name: stage.name,
      dependsOn: stage.dependsOn ?? [],
      completesOn: stage.completesOn ?? 'APPROVAL',
      approvalPolicy: fromPolicy(stage.approvalPolicy),
      labels: Object.fromEntries((stage.labels ?? []).map(({ state, label }) => [state, label])),
    }));
    const outcome = await this.commands.send(meta, 'CreatePipelineTemplate', { templateId, name: input.name, stages });
    return this.commands.answer(context, outcome, { templateId });
  }

  @Mutation(() => PipelineTemplatePayload)
  async archivePipelineTemplate(
    @Args('input') input: ArchivePipelineTemplateInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { templateId?: string }> {
    const meta = this.commands.meta(context, input);
    const { templateId } = input;
    const lacking = await this.commands.lacks(
      meta,
      'template.manage',
      'ArchivePipelineTemplate',
      `pipelineTemplate-${templateId}`,
    );
    if (lacking) return refusedPayload(lacking);
    // Archived ones are known: a repeat changes nothing.
    const template = await context.read.byId(PipelineTemplateRow, templateId);
    if (template?.organisationId !== meta.organisationId)
      return refusedPayload(
        await this.commands.refused(
          meta,
          'ArchivePipelineTemplate',
          `pipelineTemplate-${templateId}`,
          notFound('pipeline template', 'templateId'),
        ),
      );
    const outcome = await this.commands.send(meta, 'ArchivePipelineTemplate', { templateId });
    return this.commands.answer(context, outcome, { templateId });
  }

  @Mutation(() => ProjectPayload)
  async createProject(
    @Args('input') input: CreateProjectInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { projectId?: string }> {
    const meta = this.commands.meta(context, input);
    const projectId = this.commands.newId(meta, 'project');
    const lacking = await this.commands.lacks(meta, 'project.create', 'CreateProject', `project-${projectId}`);
    if (lacking) return refusedPayload(lacking);
    if (input.templateId) {
      const template = await this.#template(context, input.templateId);
      if (!template)
        return refusedPayload(
          await this.commands.refused(
            meta,
            'CreateProject',
            `project-${projectId}`,
            notFound('pipeline template', 'templateId'),
          ),
        );
    }
    const { name, code, templateId = null } = input;
    const outcome = await this.commands.send(meta, 'CreateProject', { projectId, name, code, templateId });
    return this.commands.answer(context, outcome, { projectId });
  }

  @Mutation(() => ProjectPayload)
  async renameProject(
    @Args('input') { projectId, name, ...input }: RenameProjectInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const refusal = await this.#mayOnProject(meta, context, projectId, 'project.update', 'RenameProject');
    if (refusal) return refusedPayload(refusal);
    const outcome = await this.commands.send(meta, 'RenameProject', { projectId, name });
    return this.commands.answer(context, outcome, { projectId });
  }

  @Mutation(() => ProjectPayload)
  async archiveProject(
    @Args('input') { projectId, ...input }: ArchiveProjectInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const refusal = await this.#mayOnProject(meta, context, projectId, 'project.archive', 'ArchiveProject');
    if (refusal) return refusedPayload(refusal);
    const outcome = await this.commands.send(meta, 'ArchiveProject', { projectId });
    return this.commands.answer(context, outcome, { projectId });
  }

  @Mutation(() => ProjectPayload, { description: 'A reviewer or client sees the project from now on.' })
  async addProjectMember(
    @Args('input') { projectId, userId, ...input }: ProjectMemberInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const refusal =
      (await this.#mayOnProject(meta, context, projectId, 'project.members', 'AddProjectMember')) ??
      (await this.#unknownPerson(meta, userId, 'AddProjectMember', `project-${projectId}`));
    if (refusal) return refusedPayload(refusal);
    const outcome = await this.commands.send(meta, 'AddProjectMember', { projectId, userId });
    return this.commands.answer(context, outcome, { projectId });
  }

  @Mutation(() => ProjectPayload)
  async removeProjectMember(
    @Args('input') { projectId, userId, ...input }: ProjectMemberInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const refusal =
      (await this.#mayOnProject(meta, context, projectId, 'project.members', 'RemoveProjectMember')) ??
      (await this.#unknownPerson(meta, userId, 'RemoveProjectMember', `project-${projectId}`, { active: false }));
    if (refusal) return refusedPayload(refusal);
    const outcome = await this.commands.send(meta, 'RemoveProjectMember', { projectId, userId });
    return this.commands.answer(context, outcome, { projectId });
  }

  @Mutation(() => DeliverablePayload, {
    description: 'Instantiates the template: later edits of it change nothing here.',
  })
  async createDeliverable(
    @Args('input') input: CreateDeliverableInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { deliverableId?: string }> {
    const meta = this.commands.meta(context, input);
    const deliverableId = this.commands.newId(meta, 'deliverable');
    const stream = `deliverable-${deliverableId}`;
    const { projectId, name } = input;
    const refusal = await this.#mayOnProject(meta, context, projectId, 'deliverable.create', 'CreateDeliverable');
    if (refusal) return refusedPayload(refusal);
    const project = await context.read.byId(ProjectRow, projectId);
    if (project?.archived)
      return refusedPayload(
        await this.commands.refused(
          meta,
          'CreateDeliverable',
          stream,
          refuse('PROJECT_ARCHIVED', 'The project is archived and can only be read.', { path: ['projectId'] }),
        ),
      );
    const template = await this.#template(context, input.templateId ?? project?.templateId);
    if (!template)
      return refusedPayload(
        await this.commands.refused(meta, 'CreateDeliverable', stream, notFound('pipeline template', 'templateId')),
      );
    const stageIds = Object.fromEntries(
      template.stages.map((s) => [s.key, this.commands.newId(meta, `stage ${s.key}`)]),
    );
    const outcome = await this.commands.send(meta, 'CreateDeliverable', {
      deliverableId,
      projectId,
      name,
      templateId: template.id,
      stages: planStages(template.stages, stageIds),
    });
    return this.commands.answer(context, outcome, { deliverableId });
  }

  @Mutation(() => StagePayload, { description: 'The person sees the project from this moment.' })
  async assignStage(
    @Args('input') { stageId, userId, ...input }: StageAssignmentInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const found = await this.#stage(meta, context, stageId, 'stage.assign', 'AssignStage');
    if ('refused' in found) return refusedPayload(found);
    const unknown = await this.#unknownPerson(meta, userId, 'AssignStage', `deliverable-${found.deliverableId}`);
    if (unknown) return refusedPayload(unknown);
    const outcome = await this.commands.send(meta, 'AssignStage', {
      deliverableId: found.deliverableId,
      stageId,
      userId,
    });
    return this.commands.answer(context, outcome, { stageId });
  }

  @Mutation(() => StagePayload)
  async unassignStage(
    @Args('input') { stageId, userId, ...input }: StageAssignmentInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const found = await this.#stage(meta, context, stageId, 'stage.assign', 'UnassignStage');
    if ('refused' in found) return refusedPayload(found);
    const stream = `deliverable-${found.deliverableId}`;
    const unknown = await this.#unknownPerson(meta, userId, 'UnassignStage', stream, { active: false });
    if (unknown) return refusedPayload(unknown);
    const outcome = await this.commands.send(meta, 'UnassignStage', {
      deliverableId: found.deliverableId,
      stageId,
      userId,
    });
    return this.commands.answer(context, outcome, { stageId });
  }

  @Mutation(() => StagePayload, { description: 'Moves a job card by hand.' })
  async changeStageState(
    @Args('input') { stageId, to, reason, ...input }: ChangeStageStateInput,
    @Context() context: RequestContext,
  ) {
    const meta = this.commands.meta(context, input);
    const found = await this.#stage(meta, context, stageId, 'stage.progress', 'ChangeStageState');
    if ('refused' in found) return refusedPayload(found);
    const own = found.stages.some((s) => s.stageId === stageId && s.assignees.includes(meta.actor.userId ?? ''));
    if (!own && !can(meta.actor.role, 'stage.override'))
      return refusedPayload(
        await this.commands.refused(
          meta,
          'ChangeStageState',
          `deliverable-${found.deliverableId}`,
          refuse('NOT_ASSIGNED', 'Only who is assigned to the stage moves it.', { path: ['stageId'] }),
        ),
      );
    const outcome = await this.commands.send(meta, 'ChangeStageState', {
      deliverableId: found.deliverableId,
      stageId,
      to,
      reason: reason ?? null,
    });
    return this.commands.answer(context, outcome, { stageId });
  }

  /** Templates and stages are looked up in the read models: ids of other organisations are unknown there. */
  async #template(context: RequestContext, templateId: string | null | undefined): Promise<PipelineTemplateRow | null> {
    const template = await context.read.byId(PipelineTemplateRow, templateId);
    const { organisationId } = viewerOf(context);
    return template && template.organisationId === organisationId && !template.archived ? template : null;
  }

  async #mayOnProject(
    meta: CommandMeta,
    context: RequestContext,
    projectId: string,
    permission: Permission,
    type: string,
  ): Promise<Refusal | null> {
    const stream = `project-${projectId}`;
    const lacking = await this.commands.lacks(meta, permission, type, stream);
    if (lacking) return lacking;
    const seen = await visible(
      context.read,
      viewerOf(context),
      await context.read.byId(ProjectRow, projectId),
      (p) => p.id,
    );
    return seen ? null : this.commands.refused(meta, type, stream, notFound('project', 'projectId'));
  }

  /** The stage's deliverable, once the caller may and sees it. */
  async #stage(
    meta: CommandMeta,
    context: RequestContext,
    stageId: string,
    permission: Permission,
    type: string,
  ): Promise<NonNullable<DeliverableState> | Refusal> {
    const lacking = await this.commands.lacks(meta, permission, type, `stage ${stageId}`);
    if (lacking) return lacking;
    const row = await context.read.byId(StageRow, stageId);
    const state = row && (await this.commands.executor.load(deliverableDecider, row.deliverableId)).state;
    if (!state || !(await this.access.seesProject(viewerOf(context), state)))
      return this.commands.refused(meta, type, `stage ${stageId}`, notFound('stage', 'stageId'));
    return state;
  }

  /** Who is given something must be active; who it is taken from need not be. */
  async #unknownPerson(
    meta: CommandMeta,
    userId: string,
    type: string,
    stream: string,
    { active = true } = {},
  ): Promise<Refusal | null> {
    const known =
      (await this.access.isPerson(userId, meta.organisationId)) &&
      (!active || (await this.access.viewer(userId.toLowerCase(), meta.organisationId)) !== null);
    return known ? null : this.commands.refused(meta, type, stream, notFound('person', 'userId'));
  }
}
