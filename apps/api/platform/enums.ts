import { registerEnumType } from '@nestjs/graphql';
import { comparedKind, completesOn, outcome, ROLES, STAGE_STATES, verdict } from '#libs/events/catalogue/index.js';
import { USES } from '#libs/media/index.js';
import { MEDIA_STATUSES, PARKED_STATES, REBUILD_STATES, VERSION_STATUSES } from '#libs/read-models/index.js';

/** A GraphQL enum whose names and values are the catalogue's. */
function enumOf<const T extends readonly string[]>(name: string, values: T): { [K in T[number]]: K } {
  const object = Object.fromEntries(values.map((v) => [v, v])) as { [K in T[number]]: K };
  registerEnumType(object, { name });
  return object;
}

export const AuditOutcomeEnum = enumOf('AuditOutcome', ['ACCEPTED', 'REFUSED']);
export const EntityTypeEnum = enumOf('EntityType', [
  'ORGANISATION',
  'USER',
  'PIPELINE_TEMPLATE',
  'PROJECT',
  'DELIVERABLE',
  'VERSION_STACK',
  'VERSION',
  'VERSION_MEDIA',
  'COMPARISON',
]);
export const AsOfStateEnum = enumOf('AsOfState', ['REQUESTED', 'BUILDING', 'READY', 'FAILED']);
export const ParkedReactionStateEnum = enumOf('ParkedReactionState', ['PARKED', 'WAITING', 'SKIPPED']);
export const ParkedStateEnum = enumOf('ParkedState', PARKED_STATES);
export const RebuildStateEnum = enumOf('RebuildState', REBUILD_STATES);
export const RoleEnum = enumOf('Role', ROLES);
export const StageStateEnum = enumOf('StageState', STAGE_STATES);
export const CompletesOnEnum = enumOf('CompletesOn', completesOn.options);
export const PolicyKindEnum = enumOf('PolicyKind', ['ANY', 'ALL_REQUIRED', 'ROLES']);
export const VersionStatusEnum = enumOf('VersionStatus', VERSION_STATUSES);
export const MediaStatusEnum = enumOf('MediaStatus', MEDIA_STATUSES);
export const VerdictEnum = enumOf('Verdict', verdict.options);
export const MediaUseEnum = enumOf('MediaUse', USES);
export const OutcomeEnum = enumOf('Outcome', outcome.options);
export const ComparedKindEnum = enumOf('ComparedKind', comparedKind.options);
export const ShapeKindEnum = enumOf('ShapeKind', [
  'RECTANGLE',
  'ELLIPSE',
  'HIGHLIGHT',
  'CALLOUT',
  'ARROW',
  'FREEHAND',
  'TEXT',
  'PIN',
]);
export const MediaKindEnum = enumOf('MediaKind', ['VIDEO', 'AUDIO', 'IMAGE']);
export const UploadStateEnum = enumOf('UploadState', ['RECEIVING', 'VERIFYING', 'READY', 'REFUSED']);
