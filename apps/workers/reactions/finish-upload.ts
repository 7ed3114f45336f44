import { finishVersionUpload, reopenCurrent, withdrawVersion } from '#libs/application/index.js';
import { consequence, reaction } from '../reaction.js';
import { insistOn } from './insist.js';

/** An upload or withdrawal that a crash cut in the middle is finished from the events it has written so far. */
export const finishUpload = reaction({
  name: 'finish-upload',
  types: ['VersionOpened', 'VersionClosed', 'VersionWithdrawn'],
  async react(event, { executor, logger }) {
    if (event.type === 'VersionOpened') {
      const { organisationId: _organisation, ...version } = event.data;
      // The same actor and ids as the command that began: whoever is second finds the first one's result.
      const meta = {
        ...consequence(event, 'finish'),
        commandId: event.metadata.commandId,
        actor: event.metadata.actor,
        at: event.metadata.at,
      };
      insistOn(await finishVersionUpload(executor, meta, version), event, logger);
    }
    if (event.type === 'VersionClosed' && event.data.reason === 'WITHDRAWN') {
      // Should who withdrew it have crashed before the stack was told, it is told now, by the same ids.
      const { stackId, versionId, text } = event.data;
      const { commandId, actor, at } = event.metadata;
      const meta = { ...consequence(event, 'withdraw'), commandId, actor, at };
      insistOn(await withdrawVersion(executor, meta, { stackId, versionId, reason: text ?? '' }), event, logger);
    }
    if (event.type === 'VersionWithdrawn' && event.data.current)
      insistOn(await reopenCurrent(executor, consequence(event, 'reopen'), event.data.stackId), event, logger);
  },
});
