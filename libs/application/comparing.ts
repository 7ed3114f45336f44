import { z } from 'zod';
import { blob, id, NAMESPACE, uuidV5 } from '#libs/events/catalogue/index.js';

/** Queue of comparisons. */
export const COMPARE_QUEUE = 'compare';
/** How often a comparison is tried; what keeps it from being made on the last try is its failure. */
export const COMPARE_ATTEMPTS = 5;

/** A job of that queue: everything the worker needs to know, copied from the event it reacts to. */
export const compareJob = z.object({
  organisationId: id,
  comparisonId: id,
  from: blob,
  to: blob,
  /** The event that asked for it. */
  eventId: id,
});
export type CompareJob = z.infer<typeof compareJob>;

/** The id of the comparison of a version with another one, or with a reference beside that one: always the same. */
export const comparisonIdOf = (
  organisationId: string,
  from: { versionId: string; referenceId: string | null },
  to: { versionId: string },
): string =>
  uuidV5(
    NAMESPACE,
    ['comparison', organisationId, from.versionId, from.referenceId ?? '', to.versionId].join('\0').toLowerCase(),
  );

const TOPIC = 'compare.';
/** Topic under which the progress of a comparison is published. */
export const comparisonTopic = (comparisonId: string): string => `${TOPIC}${comparisonId}`;
