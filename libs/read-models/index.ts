import { audit } from './audit.js';
import { feed } from './feed.js';
import { identity } from './identity.js';
import type { ReadModel } from './model.js';
import { production } from './production.js';
import { review } from './review.js';

export { audit, feed, identity, production, review };
export * from './model.js';
export { AuditRow } from './audit.js';
export { AS_OF_MODELS, asOfCopy, AsOfBuilds, type AsOfBuild, type AsOfLimits, type AsOfState } from './as-of.js';
export { ChangeRow } from './feed.js';
export { OrganisationRow, UserRow } from './identity.js';
export {
  DeliverableRow,
  PipelineTemplateRow,
  ProjectAccessRow,
  ProjectMemberRow,
  ProjectRow,
  StageAssignmentRow,
  StageRow,
} from './production.js';
export {
  AnnotationRow,
  CommentRow,
  DecisionRow,
  MEDIA_STATUSES,
  VERSION_STATUSES,
  VersionMediaRow,
  VersionRow,
  VersionStackRow,
  type MediaFile,
  type MediaStatus,
  type VersionStatus,
} from './review.js';

/** Every read model of this build. */
export const READ_MODELS: readonly ReadModel[] = [identity, production, review, feed, audit];
export { ensureControl, originalName, PROJECTION_CHANNEL } from './checkpoint.js';
export { digestReadModels } from './digest.js';
export { dropOldVersions, dropReplaced, leaseStatement, replaceReadModel, type Standing } from './replace.js';
export {
  completeReadModel,
  dropReadModel,
  ensureReadModel,
  readCheckpoint,
  ReadModelChanged,
  type EnsureOptions,
  type ReadModelState,
} from './schema.js';
export { tableOf, type Row, type Table, type TableColumn } from './tables.js';
