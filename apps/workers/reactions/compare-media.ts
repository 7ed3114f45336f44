import { COMPARE_ATTEMPTS, COMPARE_QUEUE, compareJob } from '#libs/application/index.js';
import { jobIdOf } from '#libs/jobs/index.js';
import { reaction } from '../reaction.js';

/** What somebody wants compared is compared, again when they ask again after a failure. */
export const compareMedia = reaction({
  name: 'compare-media',
  types: ['ComparisonRequested'],
  async react({ id: eventId, data }, { jobs }) {
    const { organisationId, comparisonId, from, to } = data;
    await jobs
      .queue(COMPARE_QUEUE, compareJob)
      .add(
        jobIdOf(eventId, COMPARE_QUEUE),
        { organisationId, comparisonId, from: from.blob, to: to.blob, eventId },
        { attempts: COMPARE_ATTEMPTS },
      );
  },
});
