/** The versions of a stage and which of them is current. Stream `versionStack-<stackId>`; the stack has its stage's id. */
import { z } from 'zod';
import { id, VersionUploaded, VersionWithdrawn } from '#libs/events/catalogue/index.js';
import type { CommandsOf } from '../kit.js';

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
