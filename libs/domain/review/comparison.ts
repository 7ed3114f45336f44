/**
 * How a version differs from another one, or from a reference. Stream `comparison-<id>`; the id follows from the two, so
 * that asking for the same again finds what is there.
 */
import { z } from 'zod';
import {
  ComparisonCompleted,
  ComparisonFailed,
  ComparisonRequested,
  id,
  mediaFacts,
  type ComparisonEvent,
  type Decider,
  type Refusal,
} from '#libs/events/catalogue/index.js';
import { isOf, notFound, refused, type CommandsOf } from '../kit.js';

/** One of the two, with what decides whether they can be compared. */
const medium = ComparisonRequested.schema.shape.to.extend({ projectId: id, kind: mediaFacts.shape.kind });
const ofResult = { organisationId: true, versionId: true, stackId: true, projectId: true } as const;

export const commands = {
  RequestComparison: z.object({ comparisonId: id, from: medium, to: medium }),
  /** Whose comparison it is, the stream knows. */
  CompleteComparison: ComparisonCompleted.schema.omit(ofResult),
  FailComparison: ComparisonFailed.schema.omit(ofResult),
};
export type ComparisonCommand = CommandsOf<typeof commands>;
type Medium = z.infer<typeof medium>;

export type ComparisonState = {
  readonly comparisonId: string;
  readonly versionId: string;
  readonly stackId: string;
  readonly projectId: string;
  readonly organisationId: string;
  readonly status: 'REQUESTED' | 'COMPLETED' | 'FAILED';
  readonly failure: { readonly code: string; readonly reason: string } | null;
} | null;

/** Whose comparison it is, and where it is shown. */
const refOf = ({
  comparisonId,
  versionId,
  stackId,
  projectId,
  organisationId,
}: NonNullable<ComparisonState> | ComparisonEvent['data']) => ({
  comparisonId,
  versionId,
  stackId,
  projectId,
  organisationId,
});

const named = ({ versionId, referenceId, stackId, number, filename, blob }: Medium) => ({
  ...{ versionId, referenceId, stackId, number, filename, blob },
});

function incomparable(from: Medium, to: Medium): Refusal | null {
  if (from.versionId === to.versionId && from.referenceId === to.referenceId)
    return refused('SAME_MEDIUM', 'These are one and the same.', { path: ['from'] });
  if (from.projectId !== to.projectId)
    return refused('OTHER_PROJECT', 'They are of different projects.', { path: ['from'] });
  for (const [side, { kind }] of [['from', from] as const, ['to', to] as const])
    if (kind !== 'VIDEO') return refused('NO_MOVING_PICTURE', 'It has no moving picture.', { path: [side] });
  return null;
}

/**
 * Jobs may run twice, so results are taken as they come: the first success stands for good, and wins over a failure
 * whatever their order.
 */
export const comparisonDecider: Decider<ComparisonState, ComparisonCommand, ComparisonEvent> = {
  category: 'comparison',
  initialState: null,
  decide(command, state) {
    const { meta } = command;
    if (state && !isOf(state, meta)) return notFound('comparison');
    if (command.type === 'RequestComparison') {
      const { comparisonId, from, to } = command.data;
      const refusal = incomparable(from, to);
      if (refusal) return refusal;
      if (state && state.status !== 'FAILED') return [];
      const { versionId, stackId, projectId } = to;
      const { organisationId } = meta;
      return [
        {
          type: 'ComparisonRequested',
          data: { comparisonId, versionId, stackId, projectId, organisationId, from: named(from), to: named(to) },
        },
      ];
    }
    if (!state) return notFound('comparison');
    if (state.status === 'COMPLETED') return [];
    if (command.type === 'CompleteComparison')
      return [{ type: 'ComparisonCompleted', data: { ...command.data, ...refOf(state) } }];
    const { code, reason } = command.data;
    if (state.failure?.code === code && state.failure.reason === reason) return [];
    return [{ type: 'ComparisonFailed', data: { ...refOf(state), code, reason } }];
  },
  evolve(state, event) {
    switch (event.type) {
      case 'ComparisonRequested':
        return { ...refOf(event.data), status: 'REQUESTED', failure: null };
      case 'ComparisonCompleted':
        return { ...refOf(event.data), status: 'COMPLETED', failure: null };
      case 'ComparisonFailed': {
        const { code, reason } = event.data;
        return { ...refOf(event.data), status: 'FAILED', failure: { code, reason } };
      }
      default:
        return state;
    }
  },
};
