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
  type Command,
  type Decider,
  type DeliverableEvent,
  type Outcome,
  type Refusal,
  type StageState,
} from '#libs/events/catalogue/index.js';
import { can } from '../identity/permissions.js';
import { alreadyThere, isOf, notFound, refused, type CommandsOf } from '../kit.js';
import { snapshots } from '../snapshot.js';
import { checkPipeline, findDuplicate } from './pipeline.js';

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

type Existing = NonNullable<DeliverableState>;
type Cause = Extract<DeliverableEvent, { type: 'StageStateChanged' }>['data']['cause'];

/** Where a card can ever go from a state, whatever moves it. */
export const TRANSITIONS: Readonly<Record<StageState, readonly StageState[]>> = {
  BLOCKED: ['READY', 'ON_HOLD', 'OMITTED'],
  READY: ['BLOCKED', 'IN_PROGRESS', 'IN_REVIEW', 'CHANGES_REQUESTED', 'APPROVED', 'ON_HOLD', 'OMITTED'],
  IN_PROGRESS: ['READY', 'IN_REVIEW', 'CHANGES_REQUESTED', 'APPROVED', 'ON_HOLD', 'OMITTED'],
  IN_REVIEW: ['IN_PROGRESS', 'CHANGES_REQUESTED', 'APPROVED', 'ON_HOLD', 'OMITTED'],
  CHANGES_REQUESTED: ['IN_PROGRESS', 'IN_REVIEW', 'APPROVED', 'ON_HOLD', 'OMITTED'],
  APPROVED: ['IN_PROGRESS', 'IN_REVIEW', 'CHANGES_REQUESTED'],
  ON_HOLD: ['BLOCKED', 'READY', 'IN_PROGRESS', 'IN_REVIEW', 'CHANGES_REQUESTED', 'APPROVED', 'OMITTED'],
  OMITTED: ['BLOCKED', 'READY', 'IN_REVIEW', 'CHANGES_REQUESTED', 'APPROVED'],
};

/** Where a hand can move a card that is neither on hold nor omitted. Blocking and unblocking happen by themselves. */
const BY_HAND: Readonly<Record<Exclude<StageState, 'ON_HOLD' | 'OMITTED'>, readonly StageState[]>> = {
  BLOCKED: ['ON_HOLD', 'OMITTED'],
  READY: ['IN_PROGRESS', 'ON_HOLD', 'OMITTED'],
  IN_PROGRESS: ['READY', 'IN_REVIEW', 'ON_HOLD', 'OMITTED'],
  IN_REVIEW: ['IN_PROGRESS', 'CHANGES_REQUESTED', 'APPROVED', 'ON_HOLD', 'OMITTED'],
  CHANGES_REQUESTED: ['IN_PROGRESS', 'IN_REVIEW', 'APPROVED', 'ON_HOLD', 'OMITTED'],
  APPROVED: ['IN_REVIEW', 'CHANGES_REQUESTED'],
};

/** Whether what depends on a stage may begin. */
export const isDone = (state: StageState): boolean => state === 'APPROVED' || state === 'OMITTED';

/** Uploads and decisions are noted but move nothing here. */
const isParked = (state: StageState): boolean => state === 'BLOCKED' || state === 'ON_HOLD' || state === 'OMITTED';

const isFree = (stage: Stage, stages: readonly Stage[]): boolean =>
  stage.dependsOn.every((on) => isDone(stages.find(({ stageId }) => stageId === on)?.state ?? 'BLOCKED'));

/** Where a started card stands by what was uploaded and decided. */
function reviewState({ versionId, completesOn, outcomes }: Stage): StageState {
  if (versionId === null) return 'IN_PROGRESS';
  switch (outcomes.get(versionId) ?? 'PENDING') {
    case 'APPROVED':
      return 'APPROVED';
    case 'CHANGES_REQUESTED':
    case 'REJECTED':
      return 'CHANGES_REQUESTED';
    case 'PENDING':
      return completesOn === 'UPLOAD' ? 'APPROVED' : 'IN_REVIEW';
  }
}

/** Where a card goes that was parked: to what it waits for, to the start, or to where its review stands. */
function resumeState(stage: Stage, stages: readonly Stage[]): StageState {
  const { state, heldFrom, versionId } = stage;
  const waiting = heldFrom === 'BLOCKED' || heldFrom === 'READY';
  if (state === 'ON_HOLD' && heldFrom && !waiting) return heldFrom;
  // Nobody had started: what it depends on may have changed meanwhile. Omitted cards with a version were started.
  if (state === 'OMITTED' && versionId !== null) return reviewState(stage);
  if (!isFree(stage, stages)) return 'BLOCKED';
  return heldFrom === 'BLOCKED' && versionId !== null ? reviewState(stage) : 'READY';
}

/** States a person can move the stage to now, in no particular order; those of `ILLEGAL_TRANSITION`’s `details.legal`. */
export function legalMoves(stage: Stage, stages: readonly Stage[]): readonly StageState[] {
  if (stage.state === 'ON_HOLD') return [resumeState(stage, stages), 'OMITTED'];
  if (stage.state === 'OMITTED') return [resumeState(stage, stages)];
  return BY_HAND[stage.state];
}

/** Moves that set aside what decisions say; the rest is an artist's daily work. */
function needsOverride(from: StageState, to: StageState): boolean {
  if (to === 'OMITTED' || from === 'OMITTED' || from === 'APPROVED') return true;
  return from !== 'ON_HOLD' && (to === 'APPROVED' || to === 'CHANGES_REQUESTED');
}

/** The events of one append, with the state that each leaves for the next. */
class Append {
  readonly events: DeliverableEvent[] = [];
  constructor(public state: Existing) {}

  push(event: DeliverableEvent): this {
    this.events.push(event);
    this.state = evolve(this.state, event) as Existing;
    return this;
  }

  stage(stageId: string): Stage {
    return this.state.stages.find((stage) => stage.stageId === stageId)!;
  }

  record(stageId: string, versionId: string | null, result: Outcome): this {
    return this.push({
      type: 'StageVersionRecorded',
      data: { ...this.#ref(stageId), versionId, outcome: result },
    });
  }

  /** Moves a card and whatever waits for it. A move to where the card is does nothing. */
  move(stageId: string, to: StageState, cause: Cause, versionId: string | null, reason: string | null = null): this {
    const { state: from } = this.stage(stageId);
    if (from === to) return this;
    this.push({
      type: 'StageStateChanged',
      data: { ...this.#ref(stageId), from, to, cause, versionId, reason },
    });
    for (const waiting of this.state.stages.filter(({ dependsOn }) => dependsOn.includes(stageId))) {
      this.#settle(waiting.stageId);
    }
    // A card put back on the pile goes further back when what it depends on was un-approved meanwhile.
    if (to === 'READY') this.#settle(stageId);
    return this;
  }

  /** Ends: dependencies have no circle, and every move settles only what comes after. */
  #settle(stageId: string): void {
    const stage = this.stage(stageId);
    const free = isFree(stage, this.state.stages);
    if (stage.state === 'READY' && !free) this.move(stageId, 'BLOCKED', 'DEPENDENCY', null);
    if (stage.state !== 'BLOCKED' || !free) return;
    this.move(stageId, 'READY', 'DEPENDENCY', null);
    // Somebody uploaded while it was blocked.
    const { versionId, outcomes } = stage;
    if (versionId === null) return;
    const cause = (outcomes.get(versionId) ?? 'PENDING') === 'PENDING' ? 'UPLOAD' : 'DECISION';
    this.move(stageId, reviewState(stage), cause, versionId);
  }

  #ref(stageId: string) {
    const { deliverableId, projectId, organisationId } = this.state;
    return { deliverableId, projectId, organisationId, stageId };
  }
}

function create({
  data,
  meta,
}: Extract<DeliverableCommand, Command<'CreateDeliverable'>>): readonly DeliverableEvent[] | Refusal {
  const { stages } = data;
  const twice = findDuplicate(stages.map(({ stageId }) => stageId));
  if (twice !== null) {
    return refused('DUPLICATE_STAGE', 'Two stages have the same id.', { path: ['stages', twice, 'stageId'] });
  }
  // Checked by key, so that a refusal speaks of stages as people know them.
  const keys = new Map(stages.map(({ stageId, key }) => [stageId, key]));
  const refusal = checkPipeline(
    stages.map(({ key, dependsOn }) => ({ key, dependsOn: dependsOn.map((on) => keys.get(on) ?? on) })),
  );
  if (refusal) return refusal;
  return [
    {
      type: 'DeliverableCreated',
      data: {
        ...data,
        organisationId: meta.organisationId,
        stages: stages.map((stage) => ({ ...stage, state: stage.dependsOn.length === 0 ? 'READY' : 'BLOCKED' })),
      },
    },
  ];
}

function decide(command: DeliverableCommand, state: DeliverableState): readonly DeliverableEvent[] | Refusal {
  const { meta } = command;
  if (command.type === 'CreateDeliverable') {
    return state ? alreadyThere('deliverable', state, meta) : create(command);
  }
  if (!isOf(state, meta)) return notFound('deliverable');
  const { stageId } = command.data;
  const stage = state.stages.find((each) => each.stageId === stageId);
  if (!stage) return refused('STAGE_NOT_FOUND', 'The deliverable has no such stage.', { path: ['stageId'] });
  const { deliverableId, projectId, organisationId } = state;
  const ref = { deliverableId, projectId, organisationId, stageId };
  const append = new Append(state);

  switch (command.type) {
    case 'AssignStage': {
      const { userId } = command.data;
      return stage.assignees.includes(userId) ? [] : [{ type: 'StageAssigned', data: { ...ref, userId } }];
    }
    case 'UnassignStage': {
      const { userId } = command.data;
      return stage.assignees.includes(userId) ? [{ type: 'StageUnassigned', data: { ...ref, userId } }] : [];
    }
    case 'ChangeStageState': {
      const { to, reason } = command.data;
      const from = stage.state;
      if (from === to) return [];
      const legal = legalMoves(stage, state.stages);
      if (!legal.includes(to)) {
        return refused('ILLEGAL_TRANSITION', `“${stage.name}” is ${from} and cannot go to ${to}.`, {
          path: ['to'],
          details: { from, to, legal },
        });
      }
      if (needsOverride(from, to) && !can(meta.actor.role, 'stage.override')) {
        return refused('FORBIDDEN', 'Only producers and administrators may make this move.', {
          path: ['to'],
          details: { permission: 'stage.override' },
        });
      }
      return append.move(stageId, to, 'MANUAL', null, reason).events;
    }
    case 'RecordStageUpload': {
      const { versionId } = command.data;
      if (stage.outcomes.has(versionId)) return [];
      append.record(stageId, versionId, 'PENDING');
      if (!isParked(stage.state)) append.move(stageId, reviewState(append.stage(stageId)), 'UPLOAD', versionId);
      return append.events;
    }
    case 'RecordStageOutcome': {
      const { versionId, outcome: result } = command.data;
      if (stage.versionId !== versionId || stage.outcomes.get(versionId) === result) return [];
      append.record(stageId, versionId, result);
      if (!isParked(stage.state)) append.move(stageId, reviewState(append.stage(stageId)), 'DECISION', versionId);
      return append.events;
    }
    case 'RecordStageWithdrawal': {
      const { versionId, currentVersionId } = command.data;
      if (stage.versionId !== versionId || currentVersionId === versionId) return [];
      const result = (currentVersionId && stage.outcomes.get(currentVersionId)) || 'PENDING';
      append.record(stageId, currentVersionId, result);
      // Who has begun to work again, or has not begun, is not moved by a withdrawal.
      if (stage.state === 'IN_REVIEW' || stage.state === 'CHANGES_REQUESTED' || stage.state === 'APPROVED') {
        append.move(stageId, reviewState(append.stage(stageId)), 'WITHDRAWAL', versionId);
      }
      return append.events;
    }
  }
}

function evolve(state: DeliverableState, event: DeliverableEvent): DeliverableState {
  if (event.type === 'DeliverableCreated') {
    const { deliverableId, projectId, organisationId, stages } = event.data;
    return {
      deliverableId,
      projectId,
      organisationId,
      stages: stages.map(({ stageId, name, dependsOn, completesOn: done, state: first }) => ({
        stageId,
        name,
        dependsOn,
        completesOn: done,
        state: first,
        heldFrom: null,
        assignees: [],
        versionId: null,
        outcomes: new Map(),
      })),
    };
  }
  return state && { ...state, stages: state.stages.map((stage) => evolveStage(stage, event)) };
}

function evolveStage(stage: Stage, event: Exclude<DeliverableEvent, { type: 'DeliverableCreated' }>): Stage {
  if (stage.stageId !== event.data.stageId) return stage;
  switch (event.type) {
    case 'StageAssigned':
      return { ...stage, assignees: [...stage.assignees, event.data.userId] };
    case 'StageUnassigned':
      return { ...stage, assignees: stage.assignees.filter((userId) => userId !== event.data.userId) };
    case 'StageStateChanged': {
      const { from, to } = event.data;
      return { ...stage, state: to, heldFrom: to === 'ON_HOLD' ? from : null };
    }
    case 'StageVersionRecorded': {
      const { versionId, outcome: result } = event.data;
      const outcomes = versionId === null ? stage.outcomes : new Map(stage.outcomes).set(versionId, result);
      const next = { ...stage, versionId, outcomes };
      // What happened while the card was held counts when it is released; a blocked one stays blocked.
      const released = stage.state === 'ON_HOLD' && stage.heldFrom !== 'BLOCKED';
      return released ? { ...next, heldFrom: reviewState(next) } : next;
    }
    default:
      return stage;
  }
}

export const deliverableDecider: Decider<DeliverableState, DeliverableCommand, DeliverableEvent> = {
  category: 'deliverable',
  initialState: null,
  snapshot: snapshots(1),
  decide,
  evolve,
};
