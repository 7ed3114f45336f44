import { Field, ID, InputType, ObjectType } from '@nestjs/graphql';
import type { Role } from '#libs/events/catalogue/index.js';
import { ConnectionOf } from '../platform/connections.js';
import { RoleEnum } from '../platform/enums.js';
import { CommandInput, Node, Payload } from '../platform/inputs.js';
import { RefusalUnion, type RefusalObject } from '../platform/refusals.js';

@ObjectType({ implements: () => Node })
export class Organisation extends Node {
  @Field() name: string;
}

@ObjectType({ implements: () => Node })
export class User extends Node {
  @Field() name: string;
  @Field(() => RoleEnum) role: Role;
  @Field() active: boolean;
}
export const UserConnection = ConnectionOf(User, 'User');

@ObjectType()
export class Session {
  @Field(() => ID) id: string;
  @Field(() => String, { nullable: true, description: 'What the person signed in with.' }) device: string | null;
  @Field() createdAt: Date;
  @Field({ description: 'Exact to a minute.' }) lastActiveAt: Date;
  @Field() expiresAt: Date;
  @Field({ description: 'The session of this request.' }) current: boolean;
}

@InputType()
export class LoginInput {
  @Field() email: string;
  @Field() password: string;
  @Field(() => String, { nullable: true }) device?: string | null;
}

@ObjectType()
export class LoginPayload {
  @Field(() => String, { nullable: true, description: 'Send it as `Authorization: Bearer …`. Shown this once.' })
  token: string | null;
  @Field(() => Session, { nullable: true }) session: Session | null;
  @Field(() => [RefusalUnion]) errors: RefusalObject[];
  viewerId?: string;
}

@InputType()
export class TerminateSessionInput {
  @Field(() => ID) sessionId: string;
}
@ObjectType()
export class TerminateSessionPayload {
  @Field() terminated: boolean;
  @Field(() => [RefusalUnion]) errors: RefusalObject[];
}

@InputType()
export class ChangePasswordInput {
  @Field() currentPassword: string;
  @Field() newPassword: string;
}
@ObjectType()
export class ChangePasswordPayload {
  @Field() changed: boolean;
  @Field(() => [RefusalUnion]) errors: RefusalObject[];
}

@InputType()
export class RegisterUserInput extends CommandInput {
  @Field() email: string;
  @Field() name: string;
  @Field(() => RoleEnum) role: Role;
  @Field() password: string;
}
@InputType()
export class ChangeUserRoleInput extends CommandInput {
  @Field(() => ID) userId: string;
  @Field(() => RoleEnum) role: Role;
}
@InputType()
export class DeactivateUserInput extends CommandInput {
  @Field(() => ID) userId: string;
  @Field() reason: string;
}
@InputType()
export class ReactivateUserInput extends CommandInput {
  @Field(() => ID) userId: string;
}
@InputType()
export class ErasePersonInput extends CommandInput {
  @Field(() => ID) userId: string;
}
@ObjectType()
export class UserPayload extends Payload {
  userId?: string;
}
