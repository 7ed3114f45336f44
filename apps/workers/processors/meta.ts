import { deriveCommandId, type CommandMeta } from '#libs/events/catalogue/index.js';

/**
 * What a job's commands carry: their ids follow from the event that the job is for, so that a job that runs twice gives each
 * of them once.
 */
export const metaOf =
  ({ eventId, organisationId }: { readonly eventId: string; readonly organisationId: string }) =>
  (name: string): CommandMeta => ({
    commandId: deriveCommandId(eventId, name),
    minted: true,
    organisationId,
    actor: { userId: null, role: 'SERVICE' },
    at: new Date().toISOString(),
    correlationId: eventId,
    causationId: eventId,
  });
