import { Inject } from '@nestjs/common';
import {
  Args,
  ArgsType,
  Context,
  Field,
  ID,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import type { Jobs } from '#libs/jobs/index.js';
import {
  AnnotationRow,
  CommentRow,
  ComparisonRow,
  DecisionRow,
  DeliverableRow,
  OrganisationRow,
  PipelineTemplateRow,
  ProjectRow,
  StageAssignmentRow,
  StageRow,
  UserRow,
  VersionRow,
  VersionStackRow,
  type ChangeRow,
} from '#libs/read-models/index.js';
import {
  Annotation,
  Comment,
  Decision,
  ProjectChange,
  StackChange,
  TranscodeProgress,
  Version,
  VersionStack,
  WorkChange,
} from '../review/types.js';
import { Comparison, ComparisonProgress } from '../review/comparison.types.js';
import { versionById } from '../review/review.resolver.js';
import { Deliverable, Project, Stage } from '../production/types.js';
import { User } from '../identity/types.js';
import { seesProjectIn, visible } from '../platform/access.js';
import { Changes, isOn, type Topic } from '../platform/changes.js';
import { AtLeastArgs } from '../platform/connections.js';
import { deliveredIn, SharedReads } from '../platform/deliveries.js';
import { ending } from '../platform/generators.js';
import { requirePermission, unauthenticated, viewerOf, type RequestContext } from '../platform/context.js';
import { Node } from '../platform/inputs.js';
import { ReadStore, type ReadSession } from '../platform/read-store.js';
import { refusalError } from '../platform/refusals.js';
import { Position } from '../platform/scalars.js';
import { JOBS } from '../platform/tokens.js';
import { comparisonTopic, progressTopic } from '#libs/application/index.js';

@ArgsType()
export class AfterArgs {
  @Field(() => Position, {
    nullable: true,
    description: 'Resume after this position: nothing is missed and nothing doubled. Default: from now.',
  })
  after?: string | null;
}

/** Events after which a person sees another part of the studio. */
const OWN_TIES: ReadonlySet<string> = new Set([
  'StageAssigned',
  'StageUnassigned',
  'ProjectMemberAdded',
  'ProjectMemberRemoved',
]);

const notVisible = (what: string) =>
  refusalError({ refused: true, code: 'NOT_FOUND', message: `There is no such ${what}.` });

/** Fields that every message has. */
function messageFields<T extends StackChange | ProjectChange | WorkChange>(change: ChangeRow): T {
  return { ...change } as unknown as T;
}

@Resolver(() => StackChange)
export class StackChangeResolver {
  @ResolveField(() => User, { nullable: true })
  actor(@Parent() { actorUserId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(UserRow, actorUserId);
  }
  @ResolveField(() => VersionStack)
  stack(@Parent() { stackId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(VersionStackRow, stackId);
  }
  @ResolveField(() => Version, { nullable: true })
  version(@Parent() { versionId }: StackChange, @Context() { read }: RequestContext) {
    return versionById(read, versionId);
  }
  @ResolveField(() => Comment, { nullable: true })
  comment(@Parent() { commentId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(CommentRow, commentId);
  }
  @ResolveField(() => Annotation, { nullable: true })
  annotation(@Parent() { annotationId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(AnnotationRow, annotationId);
  }
  @ResolveField(() => Decision, { nullable: true })
  decision(@Parent() { decisionId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(DecisionRow, decisionId);
  }
  @ResolveField(() => Comparison, { nullable: true })
  comparison(@Parent() { comparisonId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(ComparisonRow, comparisonId);
  }
  @ResolveField(() => Stage, { nullable: true })
  stage(@Parent() { stageId, stackId }: StackChange, @Context() { read }: RequestContext) {
    return read.byId(StageRow, stageId ?? stackId);
  }
}

@Resolver(() => ProjectChange)
export class ProjectChangeResolver {
  @ResolveField(() => User, { nullable: true })
  actor(@Parent() { actorUserId }: ProjectChange, @Context() { read }: RequestContext) {
    return read.byId(UserRow, actorUserId);
  }
  @ResolveField(() => Project)
  project(@Parent() { projectId }: ProjectChange, @Context() { read }: RequestContext) {
    return read.byId(ProjectRow, projectId);
  }
  @ResolveField(() => Deliverable, { nullable: true })
  deliverable(@Parent() { deliverableId }: ProjectChange, @Context() { read }: RequestContext) {
    return read.byId(DeliverableRow, deliverableId);
  }
  @ResolveField(() => Stage, { nullable: true })
  stage(@Parent() { stageId, stackId }: ProjectChange, @Context() { read }: RequestContext) {
    return read.byId(StageRow, stageId ?? stackId);
  }
  @ResolveField(() => Version, { nullable: true })
  version(@Parent() { versionId }: ProjectChange, @Context() { read }: RequestContext) {
    return versionById(read, versionId);
  }
  @ResolveField(() => Comparison, { nullable: true })
  comparison(@Parent() { comparisonId }: ProjectChange, @Context() { read }: RequestContext) {
    return read.byId(ComparisonRow, comparisonId);
  }
}

@Resolver(() => WorkChange)
export class WorkChangeResolver {
  @ResolveField(() => Stage, { nullable: true, description: 'Null once you no longer see it.' })
  async stage(@Parent() { stageId }: WorkChange, @Context() context: RequestContext) {
    return visible(context.read, viewerOf(context), await context.read.byId(StageRow, stageId), (s) => s.projectId);
  }
  @ResolveField(() => Project, { nullable: true })
  async project(@Parent() { projectId }: WorkChange, @Context() context: RequestContext) {
    return visible(context.read, viewerOf(context), await context.read.byId(ProjectRow, projectId), (p) => p.id);
  }
}

@Resolver()
export class LiveResolver {
  constructor(
    private readonly changes: Changes,
    private readonly store: ReadStore,
    private readonly reads: SharedReads,
    @Inject(JOBS) private readonly jobs: Jobs,
  ) {}

  @Query(() => Position, {
    description:
      'What the read models have reached. Asked with a snapshot, it is the `after` of the subscription that follows.',
  })
  async position(@Args() { atLeast }: AtLeastArgs, @Context() context: RequestContext): Promise<string> {
    viewerOf(context);
    const { read } = context;
    await read.require(atLeast);
    const position = await read.position();
    return String(position < 0n ? 0n : position);
  }

  @Query(() => Node, { nullable: true })
  async node(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ): Promise<object | null> {
    const viewer = requirePermission(context, 'organisation.read');
    const { read } = context;
    await read.require(atLeast);
    for (const [entity, name] of [
      [OrganisationRow, 'Organisation'],
      [UserRow, 'User'],
      [PipelineTemplateRow, 'PipelineTemplate'],
    ] as const) {
      const row = await read.byId<OrganisationRow | UserRow | PipelineTemplateRow>(entity, id);
      if (!row) continue;
      const owner = 'organisationId' in row ? row.organisationId : row.id;
      return owner === viewer.organisationId ? Object.assign(row, { __typename: name }) : null;
    }
    for (const [entity, name] of [
      [ProjectRow, 'Project'],
      [DeliverableRow, 'Deliverable'],
      [StageRow, 'Stage'],
      [VersionRow, 'Version'],
      [CommentRow, 'Comment'],
      [AnnotationRow, 'Annotation'],
      [DecisionRow, 'Decision'],
      [ComparisonRow, 'Comparison'],
    ] as const) {
      const row = await read.byId<
        ProjectRow | DeliverableRow | StageRow | VersionRow | CommentRow | AnnotationRow | DecisionRow | ComparisonRow
      >(entity, id);
      if (!row) continue;
      const seen = await visible(read, viewer, row, (r) => ('projectId' in r ? r.projectId : r.id));
      const finished = !(seen instanceof VersionRow) || seen.number !== null;
      return seen && finished ? Object.assign(seen, { __typename: name }) : null;
    }
    return null;
  }

  @Subscription(() => StackChange, {
    description: 'Everything that happens in a stack: one message per event, in log order.',
    resolve: (change: StackChange) => change,
  })
  async stackChanged(
    @Args('stackId', { type: () => ID }) stackId: string,
    @Args() { after }: AfterArgs,
    @Context() context: RequestContext,
  ): Promise<AsyncGenerator<StackChange>> {
    const viewer = requirePermission(context, 'version.read');
    const read = this.store.session();
    try {
      await read.require(after);
      const stack = await visible(read, viewer, await read.byId(VersionStackRow, stackId), (s) => s.projectId);
      if (!stack) throw notVisible('version stack');
      return ending((signal) => this.#messages<StackChange>(context, { stackId: stack.id }, after, signal));
    } finally {
      await read.release();
    }
  }

  @Subscription(() => ProjectChange, { resolve: (change: ProjectChange) => change })
  async projectChanged(
    @Args('projectId', { type: () => ID }) projectId: string,
    @Args() { after }: AfterArgs,
    @Context() context: RequestContext,
  ): Promise<AsyncGenerator<ProjectChange>> {
    const viewer = requirePermission(context, 'project.read');
    const read = this.store.session();
    try {
      await read.require(after);
      const project = await visible(read, viewer, await read.byId(ProjectRow, projectId), (p) => p.id);
      if (!project) throw notVisible('project');
      return ending((signal) => this.#messages<ProjectChange>(context, { projectId: project.id }, after, signal));
    } finally {
      await read.release();
    }
  }

  @Subscription(() => WorkChange, {
    description: 'Assignments and memberships given and taken, and moves of the stages assigned to you.',
    resolve: (change: WorkChange) => change,
  })
  async myWorkChanged(
    @Args() { after }: AfterArgs,
    @Context() context: RequestContext,
  ): Promise<AsyncGenerator<WorkChange>> {
    const { userId, organisationId } = requirePermission(context, 'deliverable.read');
    const read = this.store.session();
    try {
      await read.require(after);
      // Nothing of the log is read yet: whether the position is one of it shows in a snapshot.
      if (after != null) await read.position();
    } finally {
      await read.release();
    }
    return ending((signal) =>
      this.#messages<WorkChange>(context, { organisationId }, after, signal, {
        wanted: ({ eventType, userId: about, stageId }) =>
          OWN_TIES.has(eventType) ? about === userId : eventType === 'StageStateChanged' && stageId !== null,
        concerns: async ({ eventType, stageId }, read) => {
          if (OWN_TIES.has(eventType)) return true;
          if (!stageId) return false;
          const assigned = await read.manyBy(StageAssignmentRow, 'stageId', { position: 'ASC' }, stageId);
          return assigned.some((a) => a.userId === userId);
        },
      }),
    );
  }

  @Subscription(() => TranscodeProgress, {
    description: 'Live progress of a transcode. The result comes as an event of the stack.',
    resolve: (progress: TranscodeProgress) => progress,
  })
  async transcodeProgress(
    @Args('versionId', { type: () => ID }) versionId: string,
    @Context() context: RequestContext,
  ): Promise<AsyncGenerator<TranscodeProgress>> {
    const viewer = requirePermission(context, 'version.read');
    const read = this.store.session();
    try {
      const version = await visible(read, viewer, await versionById(read, versionId), (v) => v.projectId);
      if (!version) throw notVisible('version');
      const topic = progressTopic(version.id);
      return ending((signal) =>
        this.#progress(context, version, topic, signal, ({ fraction, fps = null, frame = null }) => ({
          ...{ versionId: version.id, fraction, fps, frame, done: fraction >= 1 },
        })),
      );
    } finally {
      await read.release();
    }
  }

  @Subscription(() => ComparisonProgress, {
    description: 'Live progress of a comparison. The result comes as an event of the stack.',
    resolve: (progress: ComparisonProgress) => progress,
  })
  async comparisonProgress(
    @Args('comparisonId', { type: () => ID }) comparisonId: string,
    @Context() context: RequestContext,
  ): Promise<AsyncGenerator<ComparisonProgress>> {
    const viewer = requirePermission(context, 'version.read');
    const read = this.store.session();
    try {
      const found = await read.byId(ComparisonRow, comparisonId);
      const comparison = await visible(read, viewer, found, (c) => c.projectId);
      if (!comparison) throw notVisible('comparison');
      const topic = comparisonTopic(comparison.id);
      return ending((signal) =>
        this.#progress(context, comparison, topic, signal, ({ fraction }) => ({
          ...{ comparisonId: comparison.id, fraction, done: fraction >= 1 },
        })),
      );
    } finally {
      await read.release();
    }
  }

  async *#messages<T extends StackChange | ProjectChange | WorkChange>(
    context: RequestContext,
    topic: Topic,
    after: string | null | undefined,
    signal: AbortSignal,
    {
      wanted,
      concerns = () => true,
    }: {
      /** Without a look at any row. */
      wanted?: (change: ChangeRow) => boolean;
      concerns?: (change: ChangeRow, read: ReadSession) => boolean | Promise<boolean>;
    } = {},
  ): AsyncGenerator<T> {
    const viewer = viewerOf(context);
    const start = after == null ? await this.changes.now() : BigInt(after);
    const by = { userId: viewer.userId, socket: context.socket ?? '', ...(wanted ? { wanted } : {}) };
    const changes = this.changes.follow(topic, start, by, signal);
    try {
      for await (const change of changes) {
        // A snapshot per message, as new as the message; permissions are asked in it.
        const hold = await this.reads.take(BigInt(change.position));
        const { read } = hold;
        try {
          if (topic.organisationId === undefined) {
            const project = { projectId: change.projectId ?? '', organisationId: change.organisationId };
            if (!(await seesProjectIn(read, viewer, project))) throw notVisible('project');
          } else {
            const person = await read.byId(UserRow, viewer.userId);
            if (!person?.active) throw unauthenticated();
          }
          if (!isOn(topic, change) || !(await concerns(change, read))) continue;
          const message = messageFields<T>(change);
          deliveredIn(message, hold);
          yield message;
        } finally {
          hold.release();
        }
      }
    } finally {
      await changes.return(undefined);
    }
  }

  async *#progress<T extends { readonly done: boolean }>(
    context: RequestContext,
    of: { readonly projectId: string; readonly organisationId: string },
    topic: string,
    signal: AbortSignal,
    toMessage: (payload: { fraction: number; fps?: number; frame?: number }) => T,
  ): AsyncGenerator<T> {
    const viewer = viewerOf(context);
    let latest: T | undefined;
    let wake: (() => void) | undefined;
    const stop = this.jobs.onProgress(({ topic: told, payload }) => {
      if (told !== topic) return;
      latest = toMessage(payload as { fraction: number });
      wake?.();
    });
    const end = () => wake?.();
    signal.addEventListener('abort', end, { once: true });
    try {
      while (!signal.aborted) {
        if (!latest) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        const message = latest;
        latest = undefined;
        const read = this.store.session();
        const seen = await seesProjectIn(read, viewer, of).finally(() => read.release());
        if (!seen) throw notVisible('version');
        yield message;
        if (message.done) return;
      }
    } finally {
      stop();
    }
  }
}
