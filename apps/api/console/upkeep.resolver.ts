import { Inject } from '@nestjs/common';
import { Args, Context, Mutation, Query, Resolver } from '@nestjs/graphql';
import { GraphQLError } from 'graphql';
import { In } from 'typeorm';
import { refuse, type Refusal } from '#libs/events/catalogue/index.js';
import type { Jobs, ParkedReaction as Parked } from '#libs/jobs/index.js';
import { UserRow, type AsOfBuild } from '#libs/read-models/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import { dropSnapshots, snapshotStatistics } from '#libs/snapshots/index.js';
import { AsOfReads } from '../history/as-of-reads.js';
import { Commands, refusedPayload } from '../platform/commands.js';
import type { RequestContext } from '../platform/context.js';
import { isUuid, ReadStore } from '../platform/read-store.js';
import { toRefusalObject } from '../platform/refusals.js';
import { RollCall } from '../platform/roll-call.js';
import { JOBS, SECRETS } from '../platform/tokens.js';
import { Operators } from './operators.js';
import {
  AsOfMoment,
  AsOfMomentPayload,
  BuildAsOfInput,
  DropAsOfInput,
  DropSnapshotsInput,
  DropSnapshotsPayload,
  ForgetPersonInput,
  ForgetPersonPayload,
  ParkedReaction,
  ParkedReactionPayload,
  ReactionEventInput,
  SkipReactionEventInput,
  SnapshotStatistics,
  Subscriber,
} from './upkeep-types.js';

const SHOWN = 200;
const SHOWN_SNAPSHOTS = 50;

const toParkedReaction = (event: Parked): ParkedReaction => ({ ...event, position: String(event.position) });
const toMoment = (build: AsOfBuild & { readonly bytes?: number }): AsOfMoment => ({
  ...build,
  position: String(build.position),
  bytes: String(build.bytes ?? 0),
});
const inInput = (refusal: Refusal) =>
  toRefusalObject({ ...refusal, ...(refusal.path ? { path: ['input', ...refusal.path] } : {}) });

/** What the operator sees and does beside projections: reactions, subscribers, snapshots, moments, erasures. */
@Resolver()
export class UpkeepResolver {
  constructor(
    private readonly operators: Operators,
    private readonly store: ReadStore,
    private readonly rollCall: RollCall,
    private readonly commands: Commands,
    private readonly asOf: AsOfReads,
    @Inject(JOBS) private readonly jobs: Jobs,
    @Inject(SECRETS) private readonly secrets: Secrets,
  ) {}

  @Query(() => [ParkedReaction], {
    description: `The operator’s: by reaction, then in log order; at most ${SHOWN}.`,
  })
  async parkedReactions(
    @Args('reaction', { type: () => String, nullable: true }) reaction: string | null | undefined,
    @Context() context: RequestContext,
  ): Promise<ParkedReaction[]> {
    await this.operators.require(context);
    const found = await this.jobs.parked.list({ ...(reaction ? { reaction } : {}), limit: SHOWN });
    return found.map(toParkedReaction);
  }

  @Mutation(() => ParkedReactionPayload, { description: 'The operator’s: tried again within a second or two.' })
  async retryReaction(
    @Args('input') { reaction, position }: ReactionEventInput,
    @Context() context: RequestContext,
  ): Promise<ParkedReactionPayload> {
    await this.operators.require(context);
    const done = await this.jobs.parked.retry(reaction, BigInt(position));
    return { errors: done ? [] : [notParked(reaction, position)] };
  }

  @Mutation(() => ParkedReactionPayload, {
    description: 'The operator’s: left out for good; what waits for it goes on without.',
  })
  async skipReaction(
    @Args('input') { reaction, position, reason }: SkipReactionEventInput,
    @Context() context: RequestContext,
  ): Promise<ParkedReactionPayload> {
    await this.operators.require(context);
    if (reason.trim() === '')
      return { errors: [inInput(refuse('INVALID_INPUT', 'Say why the event is skipped.', { path: ['reason'] }))] };
    const done = await this.jobs.parked.skip(reaction, BigInt(position), reason);
    return { errors: done ? [] : [notParked(reaction, position)] };
  }

  @Query(() => [Subscriber], {
    description: 'The operator’s: who follows changes, in whichever api process, longest first; at most 1,000.',
  })
  async subscribers(@Context() context: RequestContext): Promise<Subscriber[]> {
    await this.operators.require(context);
    const all = (await this.rollCall.subscribers()).slice(0, 1000);
    const people = await this.store.manager
      .getRepository(UserRow)
      .findBy({ id: In([...new Set(all.map(({ userId }) => userId))]) });
    const names = new Map(people.map(({ id, name }) => [id, name]));
    return all.map((one) => ({ ...one, position: String(one.position), name: names.get(one.userId) ?? null }));
  }

  @Query(() => SnapshotStatistics, { description: 'The operator’s.' })
  async streamSnapshots(@Context() context: RequestContext): Promise<SnapshotStatistics> {
    await this.operators.require(context);
    const { snapshots, bytes, largest } = await snapshotStatistics(this.store.pool, SHOWN_SNAPSHOTS);
    return { snapshots, bytes: String(bytes), largest: [...largest] };
  }

  @Mutation(() => DropSnapshotsPayload, {
    description: 'The operator’s: streams are folded from their first event until they have new ones.',
  })
  async dropStreamSnapshots(
    @Args('input') { stream }: DropSnapshotsInput,
    @Context() context: RequestContext,
  ): Promise<DropSnapshotsPayload> {
    await this.operators.require(context);
    const dropped = await dropSnapshots(this.store.pool, stream ?? undefined);
    const none = stream && dropped === 0;
    const errors = none
      ? [inInput(refuse('NOT_FOUND', 'There is no snapshot of that stream.', { path: ['stream'] }))]
      : [];
    return { dropped, errors };
  }

  @Query(() => [AsOfMoment], { description: 'The operator’s: moments that are built or being built.' })
  async asOfMoments(@Context() context: RequestContext): Promise<AsOfMoment[]> {
    await this.operators.require(context);
    return (await this.asOf.builds.list()).map(toMoment);
  }

  @Mutation(() => AsOfMomentPayload, {
    description: 'The operator’s: has an organisation’s read models of a moment built, or kept for longer.',
  })
  async buildAsOf(
    @Args('input') { organisationId, moment }: BuildAsOfInput,
    @Context() context: RequestContext,
  ): Promise<AsOfMomentPayload> {
    await this.operators.require(context);
    try {
      if (!isUuid(organisationId))
        return {
          moment: null,
          errors: [inInput(refuse('NOT_FOUND', 'There is no such organisation.', { path: ['organisationId'] }))],
        };
      return { moment: toMoment(await this.asOf.request(moment, organisationId.toLowerCase())), errors: [] };
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      const code = String(error.extensions['code']);
      return { moment: null, errors: [inInput(refuse(code, error.message, { path: ['moment'] }))] };
    }
  }

  @Mutation(() => AsOfMomentPayload, {
    description: 'The operator’s: nobody reads it any more; its tables go within seconds.',
  })
  async dropAsOf(@Args('input') { id }: DropAsOfInput, @Context() context: RequestContext): Promise<AsOfMomentPayload> {
    await this.operators.require(context);
    const done = isUuid(id) && (await this.asOf.builds.expire(id));
    const errors = done ? [] : [inInput(refuse('NOT_FOUND', 'There is no such moment.', { path: ['id'] }))];
    return { moment: null, errors };
  }

  @Mutation(() => ForgetPersonPayload, {
    description: 'The operator’s: erases a person of any organisation, as `erasePerson` does. Cannot be undone.',
  })
  async forgetPerson(
    @Args('input') { userId }: ForgetPersonInput,
    @Context() context: RequestContext,
  ): Promise<ForgetPersonPayload> {
    await this.operators.require(context);
    const person = isUuid(userId) ? await this.store.manager.getRepository(UserRow).findOneBy({ id: userId }) : null;
    if (!person) return refusedPayload(refuse('NOT_FOUND', 'There is no such person.', { path: ['userId'] }));
    const { organisationId, id } = person;
    // An operator with a session is on record by name; the token is the installation's own.
    const actor = context.viewer
      ? { userId: context.viewer.userId, role: context.viewer.role }
      : { userId: null, role: 'SERVICE' as const };
    const meta = { ...this.commands.anonymousMeta(context, {}), organisationId, actor };
    const outcome = await this.commands.send(meta, 'ErasePerson', { userId: id });
    if (!outcome.ok) return refusedPayload(outcome.refusal);
    await this.secrets.erasePerson(id);
    return this.commands.written(context, outcome.position);
  }
}

const notParked = (reaction: string, position: string) =>
  toRefusalObject(
    refuse('NOT_PARKED', `There is no parked event of ${reaction} at that position.`, {
      details: { reaction, position },
    }),
  );
