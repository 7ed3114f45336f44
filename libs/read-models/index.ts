export * from './model.js';
export { AS_OF_MODELS, asOfCopy, AsOfBuilds, type AsOfBuild, type AsOfLimits, type AsOfState } from './as-of.js';
export { audit, AuditRow } from './audit.js';
export { ComparedRangeRow, comparison, ComparisonRow, type ComparedPair, type ComparisonFile } from './comparison.js';
export { ChangeRow, feed } from './feed.js';
export { identity, OrganisationRow, UserRow } from './identity.js';
export {
  production,
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
  ReferenceMediaRow,
  ReferenceRow,
  review,
  MEDIA_STATUSES,
  VERSION_STATUSES,
  VersionMediaRow,
  VersionRow,
  VersionStackRow,
  type MediaFile,
  type MediaStatus,
  type TranscodedMedia,
  type UploadedMedia,
  type VersionStatus,
} from './review.js';

export { READ_MODELS } from './all.js';
export { ensureControl, originalName, PROJECTION_CHANNEL, reachedEnd } from './checkpoint.js';
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
export {
  countParked,
  listParked,
  PARKED_STATES,
  retryParked,
  skipParked,
  toParked,
  type ParkedEvent,
  type ParkedFilter,
  type ParkedRow,
  type ParkedState,
} from './parked.js';
export { compareReadModels, type TableDifference } from './compare.js';
export {
  cancelRebuild,
  cancelVerification,
  listRebuilds,
  listVerifications,
  openRebuilds,
  REBUILD_STATES,
  requestRebuild,
  requestVerification,
  throttleRebuild,
  type Rebuild,
  type RebuildOrder,
  type RebuildState,
  type Verification,
} from './rebuilds.js';
