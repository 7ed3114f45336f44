/**
 * What others may use of the projector: running it inside a bench or spec, rebuilding, and comparing
 * with a clean rebuild.
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
