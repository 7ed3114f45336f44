import { transcodeJob, TRANSCODE_QUEUE, type TranscodeJob } from '#libs/application/index.js';
import { jobIdOf } from '#libs/jobs/index.js';
import { reaction } from '../reaction.js';

/** Every uploaded version and every reference gets review copies; so does what somebody asks for again. */
export const transcodeUploads = reaction({
  name: 'transcode-uploads',
  types: ['VersionUploaded', 'ReferenceAttached', 'TranscodeRetried'],
  async react(event, { jobs }) {
    let source: TranscodeJob['source'];
    let referenceId: string | undefined;
    let filename: string | undefined;
    switch (event.type) {
      case 'VersionUploaded':
        ({ blob: source, filename } = event.data);
        break;
      case 'ReferenceAttached':
        ({ blob: source, referenceId, filename } = event.data);
        break;
      case 'TranscodeRetried':
        ({ source, referenceId } = event.data);
        break;
    }
    const { organisationId, projectId, stackId, versionId } = event.data;
    await jobs.queue(TRANSCODE_QUEUE, transcodeJob).add(jobIdOf(event.id, TRANSCODE_QUEUE), {
      organisationId,
      projectId,
      stackId,
      versionId,
      referenceId,
      source,
      filename,
      eventId: event.id,
    });
  },
});
