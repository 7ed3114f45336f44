import type { Projection } from '../projection.js';
import { audit } from './audit.js';
import { comparison } from './comparison.js';
import { feed } from './feed.js';
import { identity } from './identity.js';
import { production } from './production.js';
import { review } from './review.js';

export { audit, comparison, feed, identity, production, review };

/** Every projection of this build. */
export const PROJECTIONS: readonly Projection[] = [identity, production, review, comparison, feed, audit];
