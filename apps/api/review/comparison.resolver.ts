import { Args, Context, ID, Mutation, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { comparisonIdOf } from '#libs/application/index.js';
import { versionDecider, versionStackDecider, type CommandData } from '#libs/domain/index.js';
import { refuse, type Refusal } from '#libs/events/catalogue/index.js';
import { LogUnavailable } from '#libs/events/log/index.js';
import {
  ComparedRangeRow,
  ComparisonRow,
  ReferenceRow,
  UserRow,
  VersionRow,
  type UploadedMedia,
} from '#libs/read-models/index.js';
import { User } from '../identity/types.js';
import { visible } from '../platform/access.js';
import { Commands, refusedPayload, unavailable } from '../platform/commands.js';
import { AtLeastArgs, PageArgs, pageOf, type Page } from '../platform/connections.js';
import { requirePermission, viewerOf, type RequestContext } from '../platform/context.js';
import type { ReadSession } from '../platform/read-store.js';
import {
  ComparedCounts,
  ComparedMedium,
  ComparedPair,
  ComparedRange,
  ComparedRangeConnection,
  ComparedRangesArgs,
  CompareVersionsInput,
  Comparison,
  ComparisonConnection,
  ComparisonPayload,
  SignalToNoise,
  Similarity,
} from './comparison.types.js';
import { MediaUrls } from './media-urls.js';
import { toFrameRange, versionById } from './review.resolver.js';
import { MediaFailure, Version } from './types.js';

const REPORT = 'comparison.json';
type Compared = CommandData<'RequestComparison'>['to'];

/** The two that are compared, as the read models have them. */
interface Pair {
  readonly version: VersionRow;
  readonly from: VersionRow;
  readonly reference: ReferenceRow | null;
}

async function pairOf(read: ReadSession, comparison: ComparisonRow): Promise<Pair> {
  const [version, from, reference] = await Promise.all([
    read.byId(VersionRow, comparison.versionId),
    read.byId(VersionRow, comparison.fromVersionId),
    read.byId(ReferenceRow, comparison.fromReferenceId),
  ]);
  return { version: version!, from: from!, reference };
}

const frames = (first: number | null, last: number | null, of: UploadedMedia) =>
  first === null || last === null ? null : toFrameRange({ in: first, out: last }, of);
const frame = (number: number, of: UploadedMedia) => toFrameRange({ in: number, out: number }, of);

@Resolver(() => Version)
export class VersionComparisonsResolver {
  @ResolveField(() => ComparisonConnection, {
    description: 'With what it was compared, as the later or the earlier of the two; newest first.',
  })
  async comparisons(
    @Parent() version: VersionRow,
    @Args() args: PageArgs,
    @Context() { read }: RequestContext,
  ): Promise<Page<ComparisonRow>> {
    const query = (await read.manager())
      .getRepository(ComparisonRow)
      .createQueryBuilder('c')
      .where('(c.version_id = :id OR c.from_version_id = :id)', { id: version.id });
    return pageOf(query, 'c.position', args, ({ position }) => position, true);
  }
}

@Resolver(() => Comparison)
export class ComparisonResolver {
  constructor(private readonly urls: MediaUrls) {}

  @ResolveField(() => ComparedMedium, { description: 'The earlier of the two.' })
  async from(@Parent() comparison: ComparisonRow, @Context() { read }: RequestContext): Promise<ComparedMedium> {
    const { from, reference } = await pairOf(read, comparison);
    return { version: from, reference, frames: comparison.framesFrom };
  }

  @ResolveField(() => ComparedMedium, { description: 'The later of the two.' })
  async to(@Parent() comparison: ComparisonRow, @Context() { read }: RequestContext): Promise<ComparedMedium> {
    return { version: (await pairOf(read, comparison)).version, reference: null, frames: comparison.framesTo };
  }

  @ResolveField(() => User, { nullable: true })
  requestedBy(@Parent() { requestedBy }: ComparisonRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, requestedBy);
  }

  @ResolveField(() => MediaFailure, { nullable: true, description: 'It may be asked for again.' })
  failure(@Parent() { status, failureCode, failureReason }: ComparisonRow): MediaFailure | null {
    return status === 'FAILED' ? { code: failureCode ?? 'NOT_COMPARABLE', reason: failureReason ?? '' } : null;
  }

  @ResolveField(() => Similarity, { nullable: true, description: 'Null when nothing of the two is the same.' })
  ssim(@Parent() { ssimMean, ssimMin }: ComparisonRow): Similarity | null {
    return ssimMean === null || ssimMin === null ? null : { mean: ssimMean, min: ssimMin };
  }

  @ResolveField(() => SignalToNoise, { nullable: true, description: 'Null when all that is paired is identical.' })
  psnr(@Parent() { psnrMean, psnrMin }: ComparisonRow): SignalToNoise | null {
    return psnrMean === null || psnrMin === null ? null : { mean: psnrMean, min: psnrMin };
  }

  @ResolveField(() => [ComparedPair], { description: 'The pairs least alike, worst first; at most ten.' })
  async worst(@Parent() comparison: ComparisonRow, @Context() { read }: RequestContext): Promise<ComparedPair[]> {
    const { version, from, reference } = await pairOf(read, comparison);
    return comparison.worst.map((pair) => ({
      ...pair,
      from: frame(pair.from, reference ?? from),
      to: frame(pair.to, version),
    }));
  }

  @ResolveField(() => ComparedCounts, { nullable: true, description: 'Null until it is there.' })
  async counts(
    @Parent() { id, status }: ComparisonRow,
    @Context() { read }: RequestContext,
  ): Promise<ComparedCounts | null> {
    if (status !== 'READY') return null;
    const ranges = await read.manyBy(ComparedRangeRow, 'comparisonId', { seq: 'ASC' }, id);
    const counts = { same: 0, changed: 0, moved: 0, retimed: 0, replaced: 0, inserted: 0, removed: 0 };
    for (const { kind, fromIn, fromOut, toIn, toOut } of ranges) {
      const [first, last] = kind === 'REMOVED' ? [fromIn, fromOut] : [toIn, toOut];
      counts[kind.toLowerCase() as keyof typeof counts] += last! - first! + 1;
    }
    return counts;
  }

  @ResolveField(() => ComparedRangeConnection, {
    description: 'Every frame of the two, in the order of the later one; what was removed stands where it was.',
  })
  async ranges(
    @Parent() comparison: ComparisonRow,
    @Args() { kinds, ...args }: ComparedRangesArgs,
    @Context() context: RequestContext,
  ): Promise<Page<ComparedRange>> {
    const { read } = context;
    const pair = await pairOf(read, comparison);
    const query = (await read.manager())
      .getRepository(ComparedRangeRow)
      .createQueryBuilder('r')
      .where('r.comparison_id = :id', { id: comparison.id });
    if (kinds) query.andWhere('r.kind = ANY(:kinds)', { kinds });
    const page = await pageOf(query, 'r.seq', args, ({ seq }) => seq);
    return {
      ...page,
      edges: page.edges.map(({ cursor, node }) => ({ cursor, node: this.#range(context, comparison, pair, node) })),
    };
  }

  @ResolveField(() => String, {
    nullable: true,
    description: 'JSON with SSIM and PSNR of every pair (`picturelock.comparison/1`). Signed, relative to the api.',
  })
  async reportUrl(@Parent() comparison: ComparisonRow, @Context() context: RequestContext): Promise<string | null> {
    return this.#url(context, comparison, await pairOf(context.read, comparison), REPORT);
  }

  #range(context: RequestContext, comparison: ComparisonRow, pair: Pair, row: ComparedRangeRow): ComparedRange {
    const [from, to] = [pair.reference ?? pair.from, pair.version];
    const { still, stillFrom, stillTo, ssimMean, ssimMin } = row;
    return {
      kind: row.kind,
      from: frames(row.fromIn, row.fromOut, from),
      to: frames(row.toIn, row.toOut, to),
      ssim: ssimMean === null || ssimMin === null ? null : { mean: ssimMean, min: ssimMin },
      still:
        still === null || stillFrom === null || stillTo === null
          ? null
          : {
              url: this.#url(context, comparison, pair, still),
              from: frame(stillFrom, from),
              to: frame(stillTo, to),
            },
    };
  }

  #url(context: RequestContext, comparison: ComparisonRow, pair: Pair, name: string): string | null {
    return pair.reference?.detached ? null : this.urls.ofComparison(context, comparison, pair, name);
  }
}

@Resolver(() => ComparisonPayload)
export class ComparisonPayloadResolver {
  @ResolveField(() => Comparison, { nullable: true })
  comparison(@Parent() { comparisonId }: ComparisonPayload, @Context() { read }: RequestContext) {
    return read.byId(ComparisonRow, comparisonId);
  }
}

@Resolver()
export class ComparisonsResolver {
  constructor(private readonly commands: Commands) {}

  @Query(() => Comparison, { nullable: true })
  async comparison(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ): Promise<ComparisonRow | null> {
    const viewer = requirePermission(context, 'version.read');
    const { read } = context;
    await read.require(atLeast);
    return visible(read, viewer, await read.byId(ComparisonRow, id), (c) => c.projectId);
  }

  @Mutation(() => ComparisonPayload, {
    description:
      'How a version differs from another one, or from a reference. What is there already is answered; what failed is tried again.',
  })
  async compareVersions(@Args('input') input: CompareVersionsInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId, withVersionId } = input;
    const withReferenceId = input.withReferenceId ?? null;
    const type = 'RequestComparison';
    const lacking = await this.commands.lacks(meta, 'comparison.request', type, `version-${versionId}`);
    if (lacking) return refusedPayload(lacking);
    const to = await this.#medium(context, { versionId, path: 'versionId' });
    if ('refused' in to) return refusedPayload(await this.commands.refused(meta, type, `version-${versionId}`, to));
    const earlier = { versionId: withVersionId, referenceId: withReferenceId, path: 'withVersionId' };
    const from = await this.#medium(context, earlier);
    if ('refused' in from) return refusedPayload(await this.commands.refused(meta, type, `version-${versionId}`, from));
    const comparisonId = comparisonIdOf(meta.organisationId, from, to);
    const outcome = await this.commands.send(meta, type, { comparisonId, from, to });
    if (outcome.ok || !outcome.refusal.path) return this.commands.answer(context, outcome, { comparisonId });
    // The domain knows the two by their sides.
    const earlierField = withReferenceId === null ? 'withVersionId' : 'withReferenceId';
    const path = [outcome.refusal.path[0] === 'from' ? earlierField : 'versionId'];
    return refusedPayload({ ...outcome.refusal, path });
  }

  /** A version that has joined its stack, or a reference beside it: what cannot be seen is not there. */
  async #medium(
    context: RequestContext,
    { versionId, referenceId = null, path }: { versionId: string; referenceId?: string | null; path: string },
  ): Promise<Compared | Refusal> {
    const { read } = context;
    const notFound = refuse('NOT_FOUND', 'There is no such version.', { path: [path] });
    const { executor } = this.commands;
    const opened = await this.#log(() => executor.load(versionDecider, versionId));
    if (!opened.state) return notFound;
    const { stackId } = opened.state;
    const stack = await this.#log(() => executor.load(versionStackDecider, stackId));
    // What was uploaded, attached or withdrawn a moment ago counts.
    await read.require(opened.position);
    await read.require(stack.position);
    const version = await visible(read, viewerOf(context), await versionById(read, versionId), (v) => v.projectId);
    if (!version) return notFound;
    if (version.status === 'WITHDRAWN')
      return refuse('VERSION_WITHDRAWN', 'The version was withdrawn.', { path: [path] });
    const { id, projectId } = version;
    const reference = referenceId === null ? null : await read.byId(ReferenceRow, referenceId);
    if (referenceId !== null && (reference?.versionId !== id || reference.detached))
      return refuse('REFERENCE_NOT_FOUND', 'The version has no such reference.', { path: ['withReferenceId'] });
    const medium = reference ?? version;
    return {
      versionId: id,
      referenceId: reference?.id ?? null,
      stackId,
      projectId,
      number: version.number!,
      filename: medium.filename,
      blob: { hash: medium.blobHash, size: Number(medium.blobSize) },
      kind: medium.mediaKind,
    };
  }

  async #log<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof LogUnavailable ? unavailable() : error;
    }
  }
}
