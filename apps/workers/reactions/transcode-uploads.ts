import { transcodeJob, TRANSCODE_QUEUE } from '#libs/application/index.js';
import { jobIdOf } from '#libs/jobs/index.js';
import type { Reaction } from '../reaction.js';

/** Every uploaded version gets review copies; so does one whose transcode somebody asks for again. */
export const transcodeUploads: Reaction = {
  name: 'transcode-uploads',
  categories: ['version', 'versionStack', 'versionMedia'],
  async react(event, { jobs }) {
    const queue = jobs.queue(TRANSCODE_QUEUE, transcodeJob);
    if (event.type === 'VersionUploaded') {
      const { organisationId, projectId, stackId, versionId, blob } = event.data;
      await queue.add(jobIdOf(event.id, TRANSCODE_QUEUE), {
        organisationId,
        projectId,
        stackId,
        versionId,
        source: blob,
        eventId: event.id,
      });
    }
    if (event.type === 'TranscodeRetried') {
      const { organisationId, projectId, stackId, versionId, source } = event.data;
      await queue.add(jobIdOf(event.id, TRANSCODE_QUEUE), {
        organisationId,
        projectId,
        stackId,
        versionId,
        source,
        eventId: event.id,
      });
    }
  },
};
