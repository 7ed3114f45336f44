import { Context, Query, Resolver, Subscription } from '@nestjs/graphql';
import { Access } from '../platform/access.js';
import type { RequestContext } from '../platform/context.js';
import { ending } from '../platform/generators.js';
import { OperationsFeed, OperationsView } from './operations.js';
import { Operators } from './operators.js';
import { LogStatistics, Operations } from './types.js';

/** What the operator of the installation sees and does; the command line asks here too. */
@Resolver()
export class ConsoleResolver {
  constructor(
    private readonly operators: Operators,
    private readonly access: Access,
    private readonly view: OperationsView,
    private readonly feed: OperationsFeed,
  ) {}

  @Query(() => Operations, { description: 'The operator’s: how the installation is right now.' })
  async operations(@Context() context: RequestContext): Promise<Operations> {
    await this.operators.require(context);
    return this.view.look();
  }

  @Query(() => LogStatistics, {
    description: 'The operator’s: what is in the log. Counts everything: not for every second.',
  })
  async logStatistics(@Context() context: RequestContext): Promise<LogStatistics> {
    await this.operators.require(context);
    return this.view.statistics();
  }

  @Subscription(() => Operations, {
    description: 'The operator’s: the same, once a second.',
    resolve: (message: Operations) => message,
  })
  async operationsLooked(@Context() context: RequestContext): Promise<AsyncGenerator<Operations>> {
    await this.operators.require(context);
    return ending((signal) => this.#watch(context, signal));
  }

  /** Who is no administrator any more sees no further look. */
  async *#watch(context: RequestContext, signal: AbortSignal): AsyncGenerator<Operations> {
    for await (const seen of this.feed.watch(signal)) {
      const { viewer } = context;
      const now = viewer && (await this.access.viewer(viewer.userId, viewer.organisationId));
      await this.operators.require({ ...context, viewer: now });
      yield seen;
    }
  }
}
