import { Inject } from '@nestjs/common';
import { Args, Context, Query, Resolver } from '@nestjs/graphql';
import { changesBetween, deciders, plain } from '#libs/domain/index.js';
import type { Command, Decider, DomainEvent } from '#libs/events/catalogue/index.js';
import { LogUnavailable, type EventLog } from '#libs/events/log/index.js';
import { UserRow } from '#libs/read-models/index.js';
import { Access } from '../platform/access.js';
import { Commands, unavailable } from '../platform/commands.js';
import { keysetOf, type Page } from '../platform/connections.js';
import { requirePermission, type RequestContext, type Viewer } from '../platform/context.js';
import { isUuid } from '../platform/read-store.js';
import { LOG } from '../platform/tokens.js';
import { momentOf, type Moment } from './as-of.js';
import { peopleIn, sentenceOf } from './sentences.js';
import { timeline, type Step } from './timeline.js';
import {
  ENTITY_TYPES,
  EntityAsOfArgs,
  EntityDiff,
  EntityDiffArgs,
  EntityState,
  HistoryArgs,
  HistoryEntry,
  HistoryEntryConnection,
  type EntityRef,
} from './types.js';

type AnyDecider = Decider<unknown, Command, DomainEvent>;
interface Owned {
  readonly organisationId?: string;
  readonly projectId?: string;
}
interface Found {
  readonly category: (typeof ENTITY_TYPES)[EntityRef['type']];
  readonly id: string;
  /** Of its last event. */
  readonly revision: number;
}
interface At {
  readonly state: unknown;
  readonly step: Step | undefined;
}

/** What became of one thing, and how it was. Who may see it is asked of today. */
@Resolver()
export class HistoryResolver {
  constructor(
    @Inject(LOG) private readonly log: EventLog,
    private readonly commands: Commands,
    private readonly access: Access,
  ) {}

  @Query(() => HistoryEntryConnection, {
    nullable: true,
    description: 'Everything that happened to an entity, in words, oldest first. Null when there is no such entity.',
  })
  async history(@Args() args: HistoryArgs, @Context() context: RequestContext): Promise<Page<HistoryEntry> | null> {
    return this.#answered(async () => {
      const entity = await this.#find(context, args.entity);
      if (!entity) return null;
      await context.read.require(args.atLeast);
      return keysetOf(args, entity.revision + 1, async (from, to) => {
        const steps: Step[] = [];
        for await (const step of timeline(this.log, entity.category, entity.id, to))
          if (step.event.revision >= from) steps.push(step);
        return this.#told(steps, context);
      });
    });
  }

  @Query(() => EntityState, {
    nullable: true,
    description: 'An entity as it was. Null when there is none, or it had not begun.',
  })
  async entityAsOf(@Args() args: EntityAsOfArgs, @Context() context: RequestContext): Promise<EntityState | null> {
    return this.#answered(async () => {
      const entity = await this.#find(context, args.entity);
      const moment = await momentOf(args.asOf, this.log);
      return entity && stateOf((await this.#at(entity, [moment]))[0]!);
    });
  }

  @Query(() => EntityDiff, { nullable: true, description: 'What differs between two moments of one entity.' })
  async entityDiff(@Args() args: EntityDiffArgs, @Context() context: RequestContext): Promise<EntityDiff | null> {
    return this.#answered(async () => {
      const entity = await this.#find(context, args.entity);
      const moments = [await momentOf(args.from, this.log), await momentOf(args.to, this.log)];
      if (!entity) return null;
      const [from, to] = await this.#at(entity, moments);
      return { from: stateOf(from!), to: stateOf(to!), changes: changesBetween(from!.state, to!.state) };
    });
  }

  /** The entity, when it is there and may be seen. @throws UNAUTHENTICATED, FORBIDDEN */
  async #find(context: RequestContext, { type, id }: EntityRef): Promise<Found | null> {
    const viewer = requirePermission(context, 'history.read');
    if (!isUuid(id)) return null;
    const category = ENTITY_TYPES[type];
    const decider = deciders[category] as unknown as AnyDecider;
    const { state, revision } = await this.commands.executor.load(decider, id.toLowerCase());
    return (await this.#sees(viewer, state as Owned | null)) ? { category, id: id.toLowerCase(), revision } : null;
  }

  async #sees(viewer: Viewer, state: Owned | null): Promise<boolean> {
    if (state?.organisationId !== viewer.organisationId) return false;
    const { projectId, organisationId } = state;
    return projectId === undefined || this.access.seesProject(viewer, { projectId, organisationId });
  }

  /** The states at several moments, by one fold. */
  async #at({ category, id }: Found, moments: readonly Moment[]): Promise<At[]> {
    const decider = deciders[category] as unknown as AnyDecider;
    const found: At[] = moments.map(() => ({ state: decider.initialState, step: undefined }));
    for await (const step of timeline(this.log, category, id)) {
      const open = moments.map((moment) => moment.includes(step.event));
      if (!open.includes(true)) break;
      for (const [i, includes] of open.entries()) if (includes) found[i] = { state: step.after, step };
    }
    return found;
  }

  async #told(steps: readonly Step[], { read }: RequestContext): Promise<HistoryEntry[]> {
    const ids = [...new Set(steps.flatMap(({ event }) => peopleIn(event)))];
    const names = new Map(
      await Promise.all(ids.map(async (id) => [id, (await read.byId(UserRow, id))?.name] as const)),
    );
    return steps.map((step) => ({
      revision: step.event.revision,
      position: String(step.event.position),
      at: step.event.created,
      eventType: step.event.type,
      actorUserId: step.event.metadata.actor.userId,
      sentence: sentenceOf(step, (id) => names.get(id)),
      changes: changesBetween(step.before, step.after),
    }));
  }

  async #answered<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw error instanceof LogUnavailable ? unavailable() : error;
    }
  }
}

const stateOf = ({ state, step }: At): EntityState | null =>
  step
    ? {
        revision: step.event.revision,
        position: String(step.event.position),
        at: step.event.created,
        state: plain(state),
      }
    : null;
