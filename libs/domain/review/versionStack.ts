/** The versions of a stage and which of them is current. Stream `versionStack-<stackId>`; the stack has its stage's id. */
import { z } from 'zod';
import {
  id,
  VersionUploaded,
  VersionWithdrawn,
  type Command,
  type CommandMeta,
  type Decider,
  type Refusal,
  type VersionStackEvent,
} from '#libs/events/catalogue/index.js';
import { isOf, notFound, refused, type CommandsOf } from '../kit.js';
import { snapshots } from '../snapshot.js';

export const commands = {
  /**
   * `closedVersionId`: the version whose stream the caller has closed to make room; null for the first. The stack
   * takes the new one only when that is its current version, which is how two uploads at once are told apart.
   */
  AddVersion: VersionUploaded.schema
    .omit({ organisationId: true, number: true, supersedes: true })
    .extend({ closedVersionId: id.nullable() }),
  /** Take back a wrong upload. The version's own stream must be closed (`WITHDRAWN`) before. */
  WithdrawVersion: z.object({ stackId: id, versionId: id, reason: VersionWithdrawn.schema.shape.reason }),
};
export type VersionStackCommand = CommandsOf<typeof commands>;

export interface StackedVersion {
  readonly versionId: string;
  readonly number: number;
  readonly withdrawn: boolean;
}

export type VersionStackState = {
  readonly stackId: string;
  readonly deliverableId: string;
  readonly projectId: string;
  readonly organisationId: string;
  /** Oldest first, withdrawn ones too. */
  readonly versions: readonly StackedVersion[];
  readonly currentVersionId: string | null;
} | null;

/**
 * Versions newer than `versionId` that were withdrawn: what `ReopenVersion` wants to know of the stack. Empty for a
 * version that the stack does not have.
 */
export function withdrawnAfter(state: VersionStackState, versionId: string): readonly string[] {
  const versions = state?.versions ?? [];
  const from = versions.findIndex((version) => version.versionId === versionId);
  if (from < 0) return [];
  return versions
    .slice(from + 1)
    .filter(({ withdrawn }) => withdrawn)
    .map((version) => version.versionId);
}

function add(
  { data: { closedVersionId, ...data }, meta }: Extract<VersionStackCommand, Command<'AddVersion'>>,
  state: VersionStackState,
): readonly VersionStackEvent[] | Refusal {
  const versions = state?.versions ?? [];
  const current = state?.currentVersionId ?? null;
  // An interrupted upload is finished by trying again: what has joined has joined.
  if (versions.some(({ versionId }) => versionId === data.versionId)) return [];
  if (current !== closedVersionId) {
    return refused('CURRENT_VERSION_OPEN', 'Another version is current: close it first.', {
      path: ['closedVersionId'],
      details: { currentVersionId: current },
    });
  }
  if (data.revertsTo !== null && !versions.some((v) => v.versionId === data.revertsTo && !v.withdrawn)) {
    return refused('VERSION_NOT_FOUND', 'The stack has no such version to go back to.', { path: ['revertsTo'] });
  }
  // Withdrawn versions keep their numbers.
  const number = (versions.at(-1)?.number ?? 0) + 1;
  return [
    {
      type: 'VersionUploaded',
      data: { ...data, organisationId: meta.organisationId, number, supersedes: closedVersionId },
    },
  ];
}

function withdraw(
  { versionId, reason }: { versionId: string; reason: string },
  state: NonNullable<VersionStackState>,
): readonly VersionStackEvent[] | Refusal {
  const version = state.versions.find((each) => each.versionId === versionId);
  if (!version) return refused('VERSION_NOT_FOUND', 'The stack has no such version.', { path: ['versionId'] });
  if (version.withdrawn) return [];
  if (state.currentVersionId !== versionId) {
    return refused('NOT_CURRENT', 'Only the current version can be withdrawn.', {
      path: ['versionId'],
      details: { currentVersionId: state.currentVersionId },
    });
  }
  const { stackId, deliverableId, projectId, organisationId, versions } = state;
  const current = versions.findLast((each) => each.versionId !== versionId && !each.withdrawn)?.versionId ?? null;
  return [
    {
      type: 'VersionWithdrawn',
      data: { stackId, deliverableId, projectId, organisationId, versionId, number: version.number, reason, current },
    },
  ];
}

/** A stack begins with its first version, so adding never meets `ALREADY_EXISTS`. */
function belongs(state: VersionStackState, data: { deliverableId: string; projectId: string }, meta: CommandMeta) {
  if (state === null) return true;
  return isOf(state, meta) && state.deliverableId === data.deliverableId && state.projectId === data.projectId;
}

export const versionStackDecider: Decider<VersionStackState, VersionStackCommand, VersionStackEvent> = {
  category: 'versionStack',
  initialState: null,
  snapshot: snapshots(1),
  decide(command, state) {
    switch (command.type) {
      case 'AddVersion':
        return belongs(state, command.data, command.meta) ? add(command, state) : notFound('version stack');
      case 'WithdrawVersion':
        return isOf(state, command.meta) ? withdraw(command.data, state) : notFound('version stack');
    }
  },
  evolve(state, event) {
    switch (event.type) {
      case 'VersionUploaded': {
        const { stackId, deliverableId, projectId, organisationId, versionId, number } = event.data;
        const versions = [...(state?.versions ?? []), { versionId, number, withdrawn: false }];
        return { stackId, deliverableId, projectId, organisationId, versions, currentVersionId: versionId };
      }
      case 'VersionWithdrawn': {
        const { versionId, current } = event.data;
        return (
          state && {
            ...state,
            versions: state.versions.map((v) => (v.versionId === versionId ? { ...v, withdrawn: true } : v)),
            currentVersionId: current,
          }
        );
      }
      default:
        return state;
    }
  },
};
