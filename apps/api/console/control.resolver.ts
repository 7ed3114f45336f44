import { Args, Context, Int, Mutation, Query, Resolver } from '@nestjs/graphql';
import type { Refusal } from '#libs/events/catalogue/index.js';
import {
  cancelRebuild,
  cancelVerification,
  countParked,
  listParked,
  listRebuilds,
  listVerifications,
  type ParkedEvent as Parked,
  type ParkedState,
  requestRebuild,
  requestVerification,
  retryParked,
  skipParked,
  throttleRebuild,
} from '#libs/read-models/index.js';
import { badPage, MAX_PAGE, type Page, sizeOf } from '../platform/connections.js';
import type { RequestContext } from '../platform/context.js';
import { ParkedStateEnum } from '../platform/enums.js';
import { ReadStore } from '../platform/read-store.js';
import { toRefusalObject } from '../platform/refusals.js';
import { toRebuild, toVerification } from './operations.js';
import { Operators } from './operators.js';
import {
  ParkedEvent,
  ParkedEventConnection,
  ParkedEventPayload,
  ParkedEventRefInput,
  ProjectionRefInput,
  Rebuild,
  RebuildProjectionsInput,
  RebuildsPayload,
  SkipParkedEventInput,
  ThrottleRebuildInput,
  Verification,
  VerificationsPayload,
} from './types.js';

const SHOWN_REBUILDS = 50;

const toParkedEvent = (event: Parked): ParkedEvent => ({ ...event, position: String(event.position) });
const cursorOf = ({ projection, position }: Parked): string =>
  Buffer.from(`${projection} ${position}`).toString('base64url');
function fromCursor(cursor: string): { projection: string; position: bigint } {
  const found = /^(\w+) (\d{1,19})$/.exec(Buffer.from(cursor, 'base64url').toString());
  const position = BigInt(found?.[2] ?? -1);
  if (!found || position !== BigInt.asIntN(64, position)) throw badPage('This cursor is not one of ours.', 'after');
  return { projection: found[1]!, position };
}

const errors = (refusal: Refusal | undefined) =>
  refusal ? [toRefusalObject({ ...refusal, path: refusal.path && ['input', ...refusal.path] })] : [];

/** One each: its newest. */
function newestOf<T extends { projection: string }>(
  all: readonly T[],
  projections: readonly string[] | undefined,
): T[] {
  const newest = new Map(all.toReversed().map((one) => [one.projection, one]));
  return [...newest.values()].filter(({ projection }) => projections?.includes(projection) ?? true);
}

/** What the operator does about projections: rebuild them, and settle what they could not process. */
@Resolver()
export class ControlResolver {
  constructor(
    private readonly operators: Operators,
    private readonly store: ReadStore,
  ) {}

  @Query(() => ParkedEventConnection, { description: 'The operator’s: by projection, then in log order.' })
  async parkedEvents(
    @Args('projection', { type: () => String, nullable: true }) projection: string | null | undefined,
    @Args('states', { type: () => [ParkedStateEnum], nullable: true }) states: ParkedState[] | null | undefined,
    @Args('first', { type: () => Int, nullable: true, description: `At most ${MAX_PAGE}.` })
    first: number | null | undefined,
    @Args('after', { type: () => String, nullable: true }) after: string | null | undefined,
    @Context() context: RequestContext,
  ): Promise<Page<ParkedEvent>> {
    await this.operators.require(context);
    const { size } = sizeOf({ first });
    const filter = { ...(projection ? { projection } : {}), ...(states ? { states } : {}) };
    const found = await listParked(this.store.pool, {
      ...filter,
      ...(after ? { after: fromCursor(after) } : {}),
      limit: size + 1,
    });
    const edges = found.slice(0, size).map((event) => ({ cursor: cursorOf(event), node: toParkedEvent(event) }));
    return {
      edges,
      pageInfo: {
        hasNextPage: found.length > size,
        hasPreviousPage: after != null,
        startCursor: edges[0]?.cursor ?? null,
        endCursor: edges.at(-1)?.cursor ?? null,
      },
      totalCount: () => countParked(this.store.pool, filter),
    };
  }

  @Query(() => [Rebuild], { description: `The operator’s: the newest ${SHOWN_REBUILDS}, newest first.` })
  async rebuilds(
    @Args('projection', { type: () => String, nullable: true }) projection: string | null | undefined,
    @Context() context: RequestContext,
  ): Promise<Rebuild[]> {
    await this.operators.require(context);
    return (await listRebuilds(this.store.pool, projection ?? undefined)).slice(0, SHOWN_REBUILDS).map(toRebuild);
  }

  @Query(() => [Verification], { description: `The operator’s: the newest ${SHOWN_REBUILDS}, newest first.` })
  async verifications(
    @Args('projection', { type: () => String, nullable: true }) projection: string | null | undefined,
    @Context() context: RequestContext,
  ): Promise<Verification[]> {
    await this.operators.require(context);
    const all = await listVerifications(this.store.pool, projection ?? undefined);
    return all.slice(0, SHOWN_REBUILDS).map(toVerification);
  }

  @Mutation(() => VerificationsPayload, {
    description:
      'The operator’s: fills the tables anew beside those that are read, and compares the two row by row. Changes nothing.',
  })
  async verifyProjections(
    @Args('input') { projections, throttle }: RebuildProjectionsInput,
    @Context() context: RequestContext,
  ): Promise<VerificationsPayload> {
    await this.operators.require(context);
    const refusal = await requestVerification(this.store.pool, projections ?? undefined, {
      throttle: throttle ?? null,
    });
    return this.#verifications(refusal, projections ?? undefined);
  }

  @Mutation(() => VerificationsPayload, { description: 'The operator’s.' })
  async cancelVerification(
    @Args('input') { projection }: ProjectionRefInput,
    @Context() context: RequestContext,
  ): Promise<VerificationsPayload> {
    await this.operators.require(context);
    return this.#verifications(await cancelVerification(this.store.pool, projection), [projection]);
  }

  @Mutation(() => RebuildsPayload, {
    description:
      'The operator’s: fills the tables anew beside those that are read, and swaps when they have caught up.',
  })
  async rebuildProjections(
    @Args('input') { projections, throttle }: RebuildProjectionsInput,
    @Context() context: RequestContext,
  ): Promise<RebuildsPayload> {
    await this.operators.require(context);
    const refusal = await requestRebuild(this.store.pool, projections ?? undefined, { throttle: throttle ?? null });
    return this.#rebuilds(refusal, projections ?? undefined);
  }

  @Mutation(() => RebuildsPayload, { description: 'The operator’s: what is read stays.' })
  async cancelRebuild(
    @Args('input') { projection }: ProjectionRefInput,
    @Context() context: RequestContext,
  ): Promise<RebuildsPayload> {
    await this.operators.require(context);
    return this.#rebuilds(await cancelRebuild(this.store.pool, projection), [projection]);
  }

  @Mutation(() => RebuildsPayload, { description: 'The operator’s: from the next moment on.' })
  async throttleRebuild(
    @Args('input') { projection, throttle }: ThrottleRebuildInput,
    @Context() context: RequestContext,
  ): Promise<RebuildsPayload> {
    await this.operators.require(context);
    return this.#rebuilds(await throttleRebuild(this.store.pool, projection, throttle ?? null), [projection]);
  }

  @Mutation(() => ParkedEventPayload, {
    description: 'The operator’s: tried again within a second or two, with what waits for it.',
  })
  async retryParkedEvent(
    @Args('input') { projection, position }: ParkedEventRefInput,
    @Context() context: RequestContext,
  ): Promise<ParkedEventPayload> {
    await this.operators.require(context);
    return this.#parked(await retryParked(this.store.pool, projection, BigInt(position)), projection, position);
  }

  @Mutation(() => ParkedEventPayload, {
    description: 'The operator’s: left out for good, of later rebuilds too; what waits for it goes on without.',
  })
  async skipParkedEvent(
    @Args('input') { projection, position, reason }: SkipParkedEventInput,
    @Context() context: RequestContext,
  ): Promise<ParkedEventPayload> {
    await this.operators.require(context);
    return this.#parked(await skipParked(this.store.pool, projection, BigInt(position), reason), projection, position);
  }

  async #rebuilds(refusal: Refusal | undefined, projections: readonly string[] | undefined): Promise<RebuildsPayload> {
    const all = refusal ? [] : await listRebuilds(this.store.pool);
    return { rebuilds: newestOf(all, projections).map(toRebuild), errors: errors(refusal) };
  }

  async #verifications(
    refusal: Refusal | undefined,
    projections: readonly string[] | undefined,
  ): Promise<VerificationsPayload> {
    const all = refusal ? [] : await listVerifications(this.store.pool);
    return { verifications: newestOf(all, projections).map(toVerification), errors: errors(refusal) };
  }

  async #parked(refusal: Refusal | undefined, projection: string, position: string): Promise<ParkedEventPayload> {
    const [event] = refusal
      ? []
      : await listParked(this.store.pool, {
          projection,
          after: { projection, position: BigInt(position) - 1n },
          limit: 1,
        });
    return {
      event: event && String(event.position) === position ? toParkedEvent(event) : null,
      errors: errors(refusal),
    };
  }
}
