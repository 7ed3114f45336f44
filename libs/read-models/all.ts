import { audit } from './audit.js';
import { comparison } from './comparison.js';
import { feed } from './feed.js';
import { identity } from './identity.js';
import type { ReadModel } from './model.js';
import { production } from './production.js';
import { review } from './review.js';

/** Every read model of this build. */
export const READ_MODELS: readonly ReadModel[] = [identity, production, review, comparison, feed, audit];
