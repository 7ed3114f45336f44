import { Inject } from '@nestjs/common';
import { Args, Context, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { openOrigin, type EventLog } from '#libs/events/log/index.js';
import { AuditRow, UserRow } from '#libs/read-models/index.js';
import type { Config } from '#libs/runtime/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import { User } from '../identity/types.js';
import { pageOf, type Page } from '../platform/connections.js';
import { AuditOutcomeEnum } from '../platform/enums.js';
import { requirePermission, type RequestContext } from '../platform/context.js';
import { CONFIG, LOG, SECRETS } from '../platform/tokens.js';
import { effectsOf, narrow, shownSince, type Effects } from './trail.js';
import { AuditArgs, AuditEntry, AuditEntryConnection, Change, WrittenEvent } from './types.js';

@Resolver(() => AuditEntry)
export class AuditEntryResolver {
  constructor(
    @Inject(LOG) private readonly log: EventLog,
    @Inject(SECRETS) private readonly secrets: Secrets,
  ) {}

  @ResolveField(() => AuditOutcomeEnum)
  outcome(@Parent() { code }: AuditRow): string {
    return code === null ? 'ACCEPTED' : 'REFUSED';
  }

  @ResolveField(() => [String], { nullable: true, description: 'Path of the input field at fault.' })
  path(@Parent() { path }: AuditRow): string[] | null {
    return path?.map(String) ?? null;
  }

  @ResolveField(() => User, { nullable: true, description: 'As they are now; null for the system itself.' })
  actor(@Parent() { actorUserId }: AuditRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, actorUserId);
  }

  @ResolveField(() => String, {
    nullable: true,
    description: 'Address the command came from; null for the system itself and for people who were forgotten.',
  })
  origin(@Parent() { origin, actorUserId }: AuditRow): Promise<string | null> {
    return openOrigin(origin, actorUserId, this.secrets.keys);
  }

  @ResolveField(() => [WrittenEvent], { description: 'What the command wrote; empty when it was refused.' })
  async events(@Parent() row: AuditRow, @Context() context: RequestContext): Promise<Effects['events']> {
    return (await this.#effects(row, context)).events;
  }

  @ResolveField(() => [Change], { description: 'Old and new values of its entity; empty when it was refused.' })
  async changes(@Parent() row: AuditRow, @Context() context: RequestContext): Promise<Effects['changes']> {
    return (await this.#effects(row, context)).changes;
  }

  #effects(row: AuditRow, { read }: RequestContext): Promise<Effects> {
    return read.loader<AuditRow, Effects>('audit effects', (rows) => effectsOf(this.log, rows)).load(row);
  }
}

@Resolver()
export class AuditResolver {
  constructor(@Inject(CONFIG) private readonly config: Config) {}

  @Query(() => AuditEntryConnection, {
    description: 'Every command of the organisation, accepted or refused, newest first.',
  })
  async auditTrail(@Args() args: AuditArgs, @Context() context: RequestContext): Promise<Page<AuditRow>> {
    const { organisationId } = requirePermission(context, 'audit.read');
    await context.read.require(args.atLeast);
    const query = (await context.read.manager()).getRepository(AuditRow).createQueryBuilder('e');
    narrow(query, organisationId, args.filter ?? {}, shownSince(this.config.audit.retentionDays));
    return pageOf(query, 'e.position', args, ({ position }) => position, true);
  }
}
