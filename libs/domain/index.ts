/** The domain: pure deciders, one per aggregate, their commands, and who may do what. No I/O. */
import type { z } from 'zod';
import type { Command } from '#libs/events/catalogue/index.js';
import * as organisation from './identity/organisation.js';
import * as user from './identity/user.js';
import * as deliverable from './production/deliverable.js';
import * as pipelineTemplate from './production/pipelineTemplate.js';
import * as project from './production/project.js';
import * as comparison from './review/comparison.js';
import * as version from './review/version.js';
import * as versionMedia from './review/versionMedia.js';
import * as versionStack from './review/versionStack.js';

export * from './identity/permissions.js';
export * from './production/pipeline.js';
export * from './refusals.js';
export { changesBetween, plain, type Change, type Plain } from './states.js';
export type { CommandsOf } from './kit.js';

export {
  commands as organisationCommands,
  organisationDecider,
  type OrganisationCommand,
  type OrganisationState,
} from './identity/organisation.js';
export {
  commands as userCommands,
  personRole,
  userDecider,
  type UserCommand,
  type UserState,
} from './identity/user.js';
export {
  commands as pipelineTemplateCommands,
  pipelineTemplateDecider,
  type PipelineTemplateCommand,
  type PipelineTemplateState,
} from './production/pipelineTemplate.js';
export {
  commands as projectCommands,
  projectDecider,
  type ProjectCommand,
  type ProjectState,
} from './production/project.js';
export {
  commands as deliverableCommands,
  deliverableDecider,
  isDone,
  legalMoves,
  TRANSITIONS,
  type DeliverableCommand,
  type DeliverableState,
  type Stage,
} from './production/deliverable.js';
export {
  commands as versionStackCommands,
  versionStackDecider,
  withdrawnAfter,
  type StackedVersion,
  type VersionStackCommand,
  type VersionStackState,
} from './review/versionStack.js';
export {
  commands as versionCommands,
  outcomeOf,
  versionDecider,
  MAX_REFERENCES,
  type Annotation,
  type Comment,
  type Decision,
  type Reference,
  type VersionCommand,
  type VersionState,
} from './review/version.js';
export {
  commands as versionMediaCommands,
  versionMediaDecider,
  type VersionMediaCommand,
  type VersionMediaState,
} from './review/versionMedia.js';
export {
  commands as comparisonCommands,
  comparisonDecider,
  type ComparisonCommand,
  type ComparisonState,
} from './review/comparison.js';

/** Every decider by the category of its streams. */
export const deciders = {
  organisation: organisation.organisationDecider,
  user: user.userDecider,
  pipelineTemplate: pipelineTemplate.pipelineTemplateDecider,
  project: project.projectDecider,
  deliverable: deliverable.deliverableDecider,
  versionStack: versionStack.versionStackDecider,
  version: version.versionDecider,
  versionMedia: versionMedia.versionMediaDecider,
  comparison: comparison.comparisonDecider,
} as const;
export type Category = keyof typeof deciders;

/** Every command's input schema by its type. */
export const commandSchemas = {
  ...organisation.commands,
  ...user.commands,
  ...pipelineTemplate.commands,
  ...project.commands,
  ...deliverable.commands,
  ...versionStack.commands,
  ...version.commands,
  ...versionMedia.commands,
  ...comparison.commands,
};
export type CommandType = keyof typeof commandSchemas;
/** What a command's schema puts out: the data a decider sees. */
export type CommandData<T extends CommandType> = z.output<(typeof commandSchemas)[T]>;
/** What a caller hands to a command's schema: fields with defaults may be left out. */
export type CommandInput<T extends CommandType> = z.input<(typeof commandSchemas)[T]>;

export type AnyCommand =
  | organisation.OrganisationCommand
  | user.UserCommand
  | pipelineTemplate.PipelineTemplateCommand
  | project.ProjectCommand
  | deliverable.DeliverableCommand
  | versionStack.VersionStackCommand
  | version.VersionCommand
  | versionMedia.VersionMediaCommand
  | comparison.ComparisonCommand;

const tables: Readonly<Record<Category, object>> = {
  organisation: organisation.commands,
  user: user.commands,
  pipelineTemplate: pipelineTemplate.commands,
  project: project.commands,
  deliverable: deliverable.commands,
  versionStack: versionStack.commands,
  version: version.commands,
  versionMedia: versionMedia.commands,
  comparison: comparison.commands,
};
/** The fields of a command's data that may name its stream; the first that is there does. */
const idFields = {
  organisation: ['organisationId'],
  user: ['userId'],
  pipelineTemplate: ['templateId'],
  project: ['projectId'],
  deliverable: ['deliverableId'],
  versionStack: ['stackId'],
  version: ['versionId'],
  versionMedia: ['referenceId', 'versionId'],
  comparison: ['comparisonId'],
} as const satisfies Record<Category, readonly string[]>;

const categoryByType: ReadonlyMap<string, Category> = new Map(
  (Object.keys(tables) as Category[]).flatMap((category) =>
    Object.keys(tables[category]).map((type) => [type, category] as const),
  ),
);

/** Which aggregate a command is for. Throws TypeError for a type the domain does not have. */
export function categoryOf(type: string): Category {
  const category = categoryByType.get(type);
  if (!category) throw new TypeError(`The domain has no command ${type}`);
  return category;
}

/** The id after the category in the name of the stream a command is for: `version-<id>` for those of a version. */
export const streamIdOf = ({ type, data }: Pick<Command, 'type' | 'data'>): string => {
  const named = data as Record<string, string | undefined>;
  return idFields[categoryOf(type)].map((field) => named[field]).find((id) => id !== undefined)!;
};
