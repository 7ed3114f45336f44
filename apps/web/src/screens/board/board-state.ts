/** The deliverables of one project, kept up to date by `projectChanged`. Pure. */
import type {
  DeliverablePartsFragment,
  ProjectChangedSubscription,
  StagePartsFragment,
} from '../../generated/graphql.js';
import { isAfter } from '../room/state.js';

export type Deliverable = DeliverablePartsFragment;
export type Stage = StagePartsFragment;
export type ProjectMessage = ProjectChangedSubscription['projectChanged'];

export interface BoardState {
  readonly position: string | null;
  readonly deliverables: readonly Deliverable[];
}

export const EMPTY_BOARD: BoardState = { position: null, deliverables: [] };

export type BoardAction =
  | { type: 'snapshot'; position: string; deliverables: readonly Deliverable[] }
  | { type: 'message'; message: ProjectMessage };

export function boardReducer(state: BoardState, action: BoardAction): BoardState {
  if (action.type === 'snapshot') return { position: action.position, deliverables: action.deliverables };
  const { position, deliverable, stage } = action.message;
  if (!isAfter(position, state.position)) return state;
  let deliverables = state.deliverables;
  if (deliverable) {
    deliverables = deliverables.some(({ id }) => id === deliverable.id)
      ? deliverables.map((one) => (one.id === deliverable.id ? deliverable : one))
      : [...deliverables, deliverable];
  }
  if (stage) {
    deliverables = deliverables.map((one) =>
      one.stages.some(({ id }) => id === stage.id)
        ? { ...one, stages: one.stages.map((other) => (other.id === stage.id ? stage : other)) }
        : one,
    );
  }
  return { position, deliverables };
}

/** What somebody who opens the app most likely came for: work that waits for eyes, else the furthest that is done. */
export function stageToOpen(deliverables: readonly Deliverable[]): Stage | null {
  const stages = deliverables.flatMap((deliverable) => deliverable.stages);
  return (
    stages.find(({ state }) => state === 'IN_REVIEW') ??
    stages.find(({ state }) => state === 'CHANGES_REQUESTED') ??
    stages.findLast(({ state }) => state === 'APPROVED') ??
    stages.find(({ state }) => state === 'IN_PROGRESS') ??
    stages.find(({ state }) => state === 'READY') ??
    stages[0] ??
    null
  );
}
