import { z } from 'zod';
import { blob, id } from '#libs/events/catalogue/index.js';

/** Queue of review transcodes. */
export const TRANSCODE_QUEUE = 'transcode';

/** A job of that queue: everything the worker needs to know, copied from the event it reacts to. */
export const transcodeJob = z.object({
  organisationId: id,
  projectId: id,
  stackId: id,
  versionId: id,
  /** Set when the media is that of a reference beside the version. */
  referenceId: id.optional(),
  source: blob,
  /** Name of the file that was uploaded; absent in jobs of earlier versions and after a retry. */
  filename: z.string().optional(),
  /** The event that asked for it. */
  eventId: id,
});
export type TranscodeJob = z.infer<typeof transcodeJob>;

/** Topic under which the progress of a version's transcode is published. */
export const progressTopic = (versionId: string): string => `transcode.${versionId}`;
