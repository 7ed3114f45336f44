import { timingSafeEqual } from 'node:crypto';
import { Inject } from '@nestjs/common';
import { Args, Context, Field, InputType, Mutation, ObjectType, Parent, ResolveField, Resolver } from '@nestjs/graphql';
import { isRefusal, refuse, type Refusal } from '#libs/events/catalogue/index.js';
import { OrganisationRow, UserRow } from '#libs/read-models/index.js';
import { setupToken, type Config } from '#libs/runtime/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import { Commands, refusedPayload, type MutationResult } from '../platform/commands.js';
import type { RequestContext } from '../platform/context.js';
import { CommandInput, Payload } from '../platform/inputs.js';
import { CONFIG, SECRETS } from '../platform/tokens.js';
import { Organisation, User } from './types.js';

@InputType()
export class AdministratorInput {
  @Field() email: string;
  @Field() name: string;
  @Field() password: string;
}
@InputType()
export class FoundOrganisationInput extends CommandInput {
  @Field({ description: 'Printed by `picturelock setup-token` on the machine that runs the studio.' })
  setupToken: string;
  @Field() name: string;
  @Field(() => AdministratorInput) administrator: AdministratorInput;
}
@ObjectType()
export class OrganisationPayload extends Payload {
  organisationId?: string;
  administratorId?: string;
}

@Resolver(() => OrganisationPayload)
export class OrganisationPayloadResolver {
  @ResolveField(() => Organisation, { nullable: true })
  organisation(@Parent() payload: OrganisationPayload, @Context() { read }: RequestContext) {
    return read.byId(OrganisationRow, payload.organisationId);
  }
  @ResolveField(() => User, { nullable: true })
  administrator(@Parent() payload: OrganisationPayload, @Context() { read }: RequestContext) {
    return read.byId(UserRow, payload.administratorId);
  }
}

const same = (a: string, b: string) => {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
};

/** A refusal about the person, with the path of the input it came in. */
const ofAdministrator = (refusal: Refusal): Refusal => ({
  ...refusal,
  path: ['administrator', ...(refusal.path ?? []).filter((part, i) => i > 0 || part !== 'input')],
});

@Resolver()
export class SetupResolver {
  constructor(
    private readonly commands: Commands,
    @Inject(SECRETS) private readonly secrets: Secrets,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Mutation(() => OrganisationPayload, { description: 'A studio with its first administrator.' })
  async foundOrganisation(
    @Args('input') input: FoundOrganisationInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { organisationId?: string; administratorId?: string }> {
    if (!same(input.setupToken, setupToken(this.config.keys.master)))
      return refusedPayload(refuse('SETUP_TOKEN_INVALID', 'This is not the setup token.', { path: ['setupToken'] }));
    const draft = this.commands.anonymousMeta(context, input);
    const organisationId = this.commands.newId(draft, 'organisation');
    const userId = this.commands.newId(draft, 'administrator');
    const meta = { ...draft, organisationId, actor: { userId, role: 'ADMINISTRATOR' as const } };
    const { email, name, password } = input.administrator;
    const person = { userId, organisationId, email, name, role: 'ADMINISTRATOR' as const };
    // A studio without anybody who could sign in must not come to be.
    const wrong = this.commands.check('RegisterUser', person);
    if (wrong) return refusedPayload(ofAdministrator(wrong));
    const reserved = await this.secrets.credentials.createCredential({ userId, organisationId, email, password });
    if (isRefusal(reserved)) return refusedPayload(ofAdministrator(reserved));
    const founded = await this.commands.send(meta, 'CreateOrganisation', { organisationId, name: input.name });
    const registered = founded.ok
      ? await this.commands.send({ ...meta, commandId: this.commands.newId(meta, 'register') }, 'RegisterUser', person)
      : founded;
    if (!registered.ok) {
      await this.secrets.credentials.releaseCredential(userId);
      return refusedPayload(registered.refusal);
    }
    await this.secrets.credentials.confirmCredential(userId);
    return { ...(await this.commands.written(context, registered.position)), organisationId, administratorId: userId };
  }
}
