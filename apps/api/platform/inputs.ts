import { Field, ID, InputType, Int, InterfaceType, ObjectType } from '@nestjs/graphql';
import { Position } from './scalars.js';
import { RefusalUnion, type RefusalObject } from './refusals.js';

@InputType({ isAbstract: true })
export abstract class CommandInput {
  @Field(() => ID, {
    nullable: true,
    description: 'UUID. A repeat returns the first result; the same id with other input is COMMAND_ID_REUSED.',
  })
  commandId?: string | null;
}

@InputType({ isAbstract: true })
export abstract class RevisionedInput extends CommandInput {
  @Field(() => Int, {
    nullable: true,
    description: 'Revision you have read; when somebody else changed the thing since, the answer is a Conflict.',
  })
  expectedRevision?: number | null;
}

@ObjectType({ isAbstract: true })
export abstract class Payload {
  @Field(() => Position, { nullable: true, description: 'Log position of what was written; null when refused.' })
  position: string | null;
  @Field(() => [RefusalUnion], { description: 'Empty when the command was accepted.' })
  errors: RefusalObject[];
}

@InterfaceType({
  resolveType: (value: { __typename?: string; constructor: { name: string } }) =>
    value.__typename ?? value.constructor.name.replace(/Row$/, ''),
})
export abstract class Node {
  @Field(() => ID) id: string;
}
