import { Args, Context, Mutation, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { isRefusal, refuse, type CommandMeta } from '#libs/events/catalogue/index.js';
import type { CommandInput as DomainInput, CommandType, Permission } from '#libs/domain/index.js';
import { OrganisationRow, UserRow } from '#libs/read-models/index.js';
import type { Secrets, Session as SessionRecord } from '#libs/secrets/index.js';
import { Inject } from '@nestjs/common';
import { Access } from '../platform/access.js';
import { Commands, refusedPayload, type MutationResult } from '../platform/commands.js';
import { AtLeastArgs, PageAtLeastArgs, pageOf, type Page } from '../platform/connections.js';
import { requirePermission, unauthenticated, viewerOf, type RequestContext } from '../platform/context.js';
import { SECRETS } from '../platform/tokens.js';
import {
  ChangePasswordInput,
  ChangePasswordPayload,
  ChangeUserRoleInput,
  DeactivateUserInput,
  ErasePersonInput,
  LoginInput,
  LoginPayload,
  Organisation,
  ReactivateUserInput,
  RegisterUserInput,
  Session,
  TerminateSessionInput,
  TerminateSessionPayload,
  User,
  UserConnection,
  UserPayload,
} from './types.js';

const toSession = (record: SessionRecord, current: string | undefined): Session => ({
  id: record.sessionId,
  device: record.device,
  createdAt: record.createdAt,
  lastActiveAt: record.lastActiveAt,
  expiresAt: record.expiresAt,
  current: record.sessionId === current,
});

@Resolver(() => User)
export class UserResolver {
  @ResolveField(() => String, { nullable: true, description: 'For the person and those who manage people.' })
  email(@Parent() user: UserRow, @Context() context: RequestContext): string | null {
    const viewer = viewerOf(context);
    const may = viewer.userId === user.id || viewer.role === 'ADMINISTRATOR' || viewer.role === 'PRODUCER';
    return may ? user.email : null;
  }
}

@Resolver(() => UserPayload)
export class UserPayloadResolver {
  @ResolveField(() => User, { nullable: true })
  user(@Parent() payload: UserPayload, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, payload.userId);
  }
}

@Resolver(() => LoginPayload)
export class LoginPayloadResolver {
  @ResolveField(() => User, { nullable: true })
  user(@Parent() payload: LoginPayload, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, payload.viewerId);
  }
}

@Resolver()
export class IdentityResolver {
  constructor(
    private readonly commands: Commands,
    private readonly access: Access,
    @Inject(SECRETS) private readonly secrets: Secrets,
  ) {}

  @Query(() => User, { nullable: true, description: 'Who you are; null without a valid token.' })
  viewer(@Context() context: RequestContext): Promise<UserRow | null> | null {
    return context.viewer ? context.read.byId(UserRow, context.viewer.userId) : null;
  }

  @Query(() => [Session], { description: 'Your live sessions.' })
  async sessions(@Context() context: RequestContext): Promise<Session[]> {
    const { userId } = viewerOf(context);
    const sessions = await this.secrets.sessions.list({ userId });
    return sessions.map((s) => toSession(s, context.session?.sessionId));
  }

  @Query(() => Organisation)
  async organisation(@Args() { atLeast }: AtLeastArgs, @Context() context: RequestContext): Promise<OrganisationRow> {
    const viewer = requirePermission(context, 'organisation.read');
    await context.read.require(atLeast);
    const organisation = await context.read.byId(OrganisationRow, viewer.organisationId);
    if (!organisation) throw unauthenticated();
    return organisation;
  }

  @Query(() => UserConnection)
  async users(@Args() args: PageAtLeastArgs, @Context() context: RequestContext): Promise<Page<UserRow>> {
    const { organisationId } = requirePermission(context, 'user.read');
    await context.read.require(args.atLeast);
    const query = (await context.read.manager())
      .getRepository(UserRow)
      .createQueryBuilder('u')
      .where('u.organisation_id = :organisationId', { organisationId });
    return pageOf(query, 'u.position', args, (user) => user.position);
  }

  @Mutation(() => LoginPayload)
  async login(@Args('input') input: LoginInput, @Context() context: RequestContext): Promise<LoginPayload> {
    const verified = await this.secrets.credentials.verifyLogin({
      email: input.email,
      password: input.password,
      ip: context.origin.ip,
      userAgent: context.origin.userAgent,
    });
    if (isRefusal(verified)) return { ...refusedPayload(verified), token: null, session: null };
    const { token, session } = await this.secrets.sessions.createSession({
      ...verified,
      device: input.device ?? context.origin.userAgent?.slice(0, 200),
      ip: context.origin.ip,
    });
    return { token, session: toSession(session, session.sessionId), errors: [], viewerId: verified.userId };
  }

  @Mutation(() => Boolean, { description: 'Ends the session of this request.' })
  async logout(@Context() context: RequestContext): Promise<boolean> {
    if (!context.session) return false;
    return this.secrets.sessions.terminate(context.session.sessionId, 'LOGGED_OUT');
  }

  @Mutation(() => TerminateSessionPayload)
  async terminateSession(
    @Args('input') { sessionId }: TerminateSessionInput,
    @Context() context: RequestContext,
  ): Promise<TerminateSessionPayload> {
    const viewer = viewerOf(context);
    const mine = await this.secrets.sessions.list({ userId: viewer.userId });
    const own = mine.some((s) => s.sessionId === sessionId);
    const managed =
      !own && viewer.role === 'ADMINISTRATOR'
        ? (await this.secrets.sessions.list({ organisationId: viewer.organisationId })).some(
            (s) => s.sessionId === sessionId,
          )
        : false;
    if (!own && !managed)
      return {
        terminated: false,
        errors: refusedPayload({
          refused: true,
          code: 'NOT_FOUND',
          message: 'There is no such session.',
          path: ['sessionId'],
        }).errors,
      };
    return { terminated: await this.secrets.sessions.terminate(sessionId, 'TERMINATED'), errors: [] };
  }

  @Mutation(() => ChangePasswordPayload, { description: 'Ends all your other sessions.' })
  async changePassword(
    @Args('input') input: ChangePasswordInput,
    @Context() context: RequestContext,
  ): Promise<ChangePasswordPayload> {
    const { userId } = viewerOf(context);
    const changed = await this.secrets.credentials.changePassword({
      userId,
      currentPassword: input.currentPassword,
      newPassword: input.newPassword,
      keepSessionId: context.session?.sessionId,
    });
    return isRefusal(changed)
      ? { changed: false, errors: refusedPayload(changed).errors }
      : { changed: true, errors: [] };
  }

  @Mutation(() => UserPayload)
  async registerUser(
    @Args('input') input: RegisterUserInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { userId?: string }> {
    const meta = this.commands.meta(context, input);
    const userId = this.commands.newId(meta, 'user');
    const lacking = await this.commands.lacks(meta, 'user.manage', 'RegisterUser', `user-${userId}`);
    if (lacking) return refusedPayload(lacking);
    const { organisationId } = meta;
    // The address is reserved first: two people can't have one, and the log never holds it in the clear.
    const reserved = await this.secrets.credentials.createCredential({
      userId,
      organisationId,
      email: input.email,
      password: input.password,
    });
    if (isRefusal(reserved))
      return refusedPayload(await this.commands.refused(meta, 'RegisterUser', `user-${userId}`, reserved));
    const outcome = await this.commands.send(meta, 'RegisterUser', {
      userId,
      organisationId,
      email: input.email,
      name: input.name,
      role: input.role as never,
    });
    if (!outcome.ok) {
      await this.secrets.credentials.releaseCredential(userId);
      return refusedPayload(outcome.refusal);
    }
    await this.secrets.credentials.confirmCredential(userId);
    return { ...(await this.commands.written(context, outcome.position)), userId };
  }

  @Mutation(() => UserPayload)
  changeUserRole(@Args('input') input: ChangeUserRoleInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    return this.#manage(context, meta, 'user.manage', 'ChangeUserRole', {
      userId: input.userId,
      role: input.role as never,
    });
  }

  @Mutation(() => UserPayload, { description: 'Ends all sessions of the person.' })
  async deactivateUser(@Args('input') input: DeactivateUserInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const result = await this.#manage(context, meta, 'user.manage', 'DeactivateUser', {
      userId: input.userId,
      reason: input.reason,
    });
    if (result.errors.length === 0) await this.secrets.credentials.disableUser(input.userId);
    return result;
  }

  @Mutation(() => UserPayload)
  async reactivateUser(@Args('input') input: ReactivateUserInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const result = await this.#manage(context, meta, 'user.manage', 'ReactivateUser', { userId: input.userId });
    if (result.errors.length === 0) await this.secrets.credentials.enableUser(input.userId);
    return result;
  }

  @Mutation(() => UserPayload, {
    description:
      'Forgets a person for ever: name, e-mail and addresses read as redacted everywhere, what they did stays. For administrators, and for people about themselves. Cannot be undone.',
  })
  async erasePerson(@Args('input') input: ErasePersonInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const own = meta.actor.userId === input.userId.toLowerCase();
    const result = await this.#manage(context, meta, own ? null : 'person.erase', 'ErasePerson', {
      userId: input.userId,
    });
    // Whatever of it a crash leaves undone, and the traces on disk, are the reaction's.
    if (result.errors.length === 0) await this.secrets.erasePerson(input.userId.toLowerCase());
    return result;
  }

  async #manage<T extends CommandType>(
    context: RequestContext,
    meta: CommandMeta,
    permission: Permission | null,
    type: T,
    data: DomainInput<T> & { userId: string },
  ): Promise<MutationResult & { userId?: string }> {
    const stream = `user-${data.userId}`;
    const lacking = permission && (await this.commands.lacks(meta, permission, type, stream));
    if (lacking) return refusedPayload(lacking);
    if (!(await this.access.isPerson(data.userId, meta.organisationId))) {
      const unknown = refuse('NOT_FOUND', 'There is no such person.', { path: ['userId'] });
      return refusedPayload(await this.commands.refused(meta, type, stream, unknown));
    }
    const outcome = await this.commands.send(meta, type, data);
    return this.commands.answer(context, outcome, { userId: data.userId });
  }
}
