/** A deliverable and its job cards, the stages. Stream `deliverable-<deliverableId>`. */
import { z } from 'zod';
import {
  completesOn,
  DeliverableCreated,
  deliverableStage,
  id,
  outcome,
  stageState,
  StageStateChanged,
  type Outcome,
  type StageState,
} from '#libs/events/catalogue/index.js';
import type { CommandsOf } from '../kit.js';

const stageRef = { deliverableId: id, stageId: id };

export const commands = {
  /** Stages as {@link planStages} makes them: ids already given, dependencies as ids, no state yet. */
  CreateDeliverable: DeliverableCreated.schema.omit({ organisationId: true }).extend({
    stages: z
      .array(deliverableStage.omit({ state: true }))
      .min(1)
      .max(50),
  }),
  AssignStage: z.object({ ...stageRef, userId: id }),
  UnassignStage: z.object({ ...stageRef, userId: id }),
  /** A move by hand. */
  ChangeStageState: z.object({
    ...stageRef,
    to: stageState,
    reason: StageStateChanged.schema.shape.reason.default(null),
  }),
  /** System: a version joined the stage's stack. */
  RecordStageUpload: z.object({ ...stageRef, versionId: id }),
  /** System: the decisions on a version come to another result. */
  RecordStageOutcome: z.object({ ...stageRef, versionId: id, outcome }),
  /** System: a version was withdrawn; `currentVersionId` is current again, null when none is left. */
  RecordStageWithdrawal: z.object({ ...stageRef, versionId: id, currentVersionId: id.nullable() }),
};
export type DeliverableCommand = CommandsOf<typeof commands>;

export interface Stage {
  readonly stageId: string;
  readonly name: string;
  /** Ids of the stages that must be APPROVED or OMITTED before this one is READY. */
  readonly dependsOn: readonly string[];
  readonly completesOn: z.infer<typeof completesOn>;
  readonly state: StageState;
  /** Where the card goes when it leaves ON_HOLD; null while it is not on hold. */
  readonly heldFrom: StageState | null;
  readonly assignees: readonly string[];
  /** The newest version that stands; null when there is none. */
  readonly versionId: string | null;
  /** Every version ever recorded with the last outcome known, withdrawn ones too. */
  readonly outcomes: ReadonlyMap<string, Outcome>;
}

export type DeliverableState = {
  readonly deliverableId: string;
  readonly projectId: string;
  readonly organisationId: string;
  /** In the order of the pipeline template. */
  readonly stages: readonly Stage[];
} | null;
