/**
 * What others may use of the projector: running it inside a bench or spec, rebuilding, comparing with a clean rebuild, and
 * what a console does with parked events and rebuilds.
 */
export { startProjector, type ProjectionStatus, type Projector, type ProjectorOptions } from './projector.js';
export {
  rebuild,
  rebuildAll,
  verifyReadModels,
  type RebuildOptions,
  type RebuildReport,
  type Verification,
} from './rebuild.js';
export { PROJECTIONS } from './projections/index.js';
export {
  listParked,
  retryParked,
  skipParked,
  type ParkedEvent,
  type ParkedFilter,
  type ParkedState,
} from './parking.js';
export {
  cancelRebuild,
  listRebuilds,
  requestRebuild,
  throttleRebuild,
  type Rebuild,
  type RebuildState,
} from './rebuilds.js';
