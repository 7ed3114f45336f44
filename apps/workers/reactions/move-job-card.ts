import { deliverableDecider, type DeliverableCommand } from '#libs/domain/index.js';
import { consequence, reaction } from '../reaction.js';
import { insistOn } from './insist.js';

/** Uploads, withdrawals and decisions move the job card by themselves (RV-22). */
export const moveJobCard = reaction({
  name: 'move-job-card',
  types: ['VersionUploaded', 'VersionWithdrawn', 'VersionOutcomeChanged'],
  // A card that follows an upload must not be moved back by an earlier one that comes late.
  inOrder: (event) => event.data.stackId,
  async react(event, { executor, logger }) {
    let command: Pick<DeliverableCommand, 'type' | 'data'>;
    switch (event.type) {
      case 'VersionUploaded': {
        const { deliverableId, stackId, versionId } = event.data;
        command = { type: 'RecordStageUpload', data: { deliverableId, stageId: stackId, versionId } };
        break;
      }
      case 'VersionWithdrawn': {
        const { deliverableId, stackId, versionId, current } = event.data;
        command = {
          type: 'RecordStageWithdrawal',
          data: { deliverableId, stageId: stackId, versionId, currentVersionId: current },
        };
        break;
      }
      case 'VersionOutcomeChanged': {
        const { deliverableId, stackId, versionId, to } = event.data;
        command = {
          type: 'RecordStageOutcome',
          data: { deliverableId, stageId: stackId, versionId, outcome: to },
        };
        break;
      }
    }
    const meta = consequence(event, 'move job card');
    const outcome = await executor.execute(deliverableDecider, command.data.deliverableId, {
      ...command,
      meta,
    } as DeliverableCommand);
    insistOn(outcome, event, logger);
  },
});
