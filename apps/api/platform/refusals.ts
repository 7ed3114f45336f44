import { createUnionType, Field, ID, Int, InterfaceType, ObjectType } from '@nestjs/graphql';
import { GraphQLError } from 'graphql';
import { STAGE_STATES, type Refusal, type StageState } from '#libs/events/catalogue/index.js';
import { StageStateEnum } from './enums.js';

@InterfaceType({ description: 'An expected refusal: nothing was changed.' })
export abstract class RefusalInfo {
  @Field({ description: 'Stable, SCREAMING_SNAKE; listed in docs/errors.md.' }) code: string;
  @Field() message: string;
  @Field(() => [String], { nullable: true, description: 'Path of the input field at fault.' }) path?: string[] | null;
}

@ObjectType({ implements: () => RefusalInfo })
export class InvalidInput extends RefusalInfo {}

@ObjectType({ implements: () => RefusalInfo, description: 'The version is read-only because a newer one is current.' })
export class VersionLocked extends RefusalInfo {
  @Field(() => ID, { nullable: true }) currentVersionId?: string | null;
  @Field(() => Int, { nullable: true }) currentVersionNumber?: number | null;
}

@ObjectType({ implements: () => RefusalInfo, description: 'Somebody else changed it since you read it.' })
export class Conflict extends RefusalInfo {
  @Field(() => Int, { nullable: true }) expectedRevision?: number | null;
  @Field(() => Int, { nullable: true }) currentRevision?: number | null;
}

@ObjectType({ implements: () => RefusalInfo })
export class IllegalTransition extends RefusalInfo {
  @Field(() => [StageStateEnum], { description: 'The states it may change to.' }) legal: StageState[];
}

@ObjectType({ implements: () => RefusalInfo })
export class GenericRefusal extends RefusalInfo {}

export type RefusalObject = InvalidInput | VersionLocked | Conflict | IllegalTransition | GenericRefusal;

export const RefusalUnion = createUnionType({
  name: 'Refusal',
  types: () => [InvalidInput, VersionLocked, Conflict, IllegalTransition, GenericRefusal] as const,
});

const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null);
const stringOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** A refusal as the member of the union that says most about it. */
export function toRefusalObject(refusal: Refusal): RefusalObject {
  const base = { code: refusal.code, message: refusal.message, path: refusal.path?.map(String) ?? null };
  const details = refusal.details ?? {};
  switch (refusal.code) {
    case 'VERSION_LOCKED':
      return Object.assign(new VersionLocked(), base, {
        currentVersionId: stringOf(details['currentVersionId']) ?? stringOf(details['by']),
        currentVersionNumber: numberOf(details['currentVersionNumber']),
      });
    case 'CONFLICT':
      return Object.assign(new Conflict(), base, {
        expectedRevision: numberOf(details['expectedRevision']),
        currentRevision: numberOf(details['currentRevision']),
      });
    case 'ILLEGAL_TRANSITION': {
      const legal = Array.isArray(details['legal']) ? (details['legal'] as unknown[]) : [];
      return Object.assign(new IllegalTransition(), base, {
        legal: legal.filter((s): s is StageState => STAGE_STATES.includes(s as StageState)),
      });
    }
    case 'COMMAND_ID_REUSED':
    case 'NOT_FOUND':
    case 'FORBIDDEN':
      return Object.assign(new GenericRefusal(), base);
    default:
      return base.path ? Object.assign(new InvalidInput(), base) : Object.assign(new GenericRefusal(), base);
  }
}

/** A refusal outside a mutation's payload: an error with its code. */
export const refusalError = (refusal: Refusal): GraphQLError =>
  new GraphQLError(refusal.message, { extensions: { code: refusal.code, path: refusal.path, ...refusal.details } });
