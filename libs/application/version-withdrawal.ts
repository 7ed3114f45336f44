import type { CommandMeta, Refusal } from '#libs/events/catalogue/index.js';
import type { CommandExecutor } from '#libs/events/log/index.js';
import { versionDecider, versionStackDecider, withdrawnAfter } from '#libs/domain/index.js';
import { step } from './commands.js';

export type VersionWithdrawal =
  | { readonly ok: true; readonly currentVersionId: string | null; readonly position: bigint }
  | { readonly ok: false; readonly refusal: Refusal };

/**
 * Take back a wrong upload: close the version (refused once somebody decided on it), take it off the stack, reopen
 * the one before. Each step is idempotent; the last is repeated by the reaction to `VersionWithdrawn`.
 */
export async function withdrawVersion(
  executor: CommandExecutor,
  meta: CommandMeta,
  { stackId, versionId, reason }: { stackId: string; versionId: string; reason: string },
): Promise<VersionWithdrawal> {
  const stack = await executor.load(versionStackDecider, stackId);
  const listed = stack.state?.versions.find((v) => v.versionId === versionId);
  if (listed && !listed.withdrawn && stack.state?.currentVersionId !== versionId) {
    // A superseded version is history that later versions build on. The stack's decider says so in its own words.
    const refused = await executor.execute(
      versionStackDecider,
      stackId,
      step(meta, 'withdraw', 'WithdrawVersion', { stackId, versionId, reason }),
    );
    if (!refused.ok) return { ok: false, refusal: refused.refusal };
  }
  const closed = await executor.execute(versionDecider, versionId, {
    type: 'CloseVersion',
    data: { versionId, reason: 'WITHDRAWN', by: null, text: reason },
    meta,
  });
  if (!closed.ok) return { ok: false, refusal: closed.refusal };
  const withdrawn = await executor.execute(
    versionStackDecider,
    stackId,
    step(meta, 'withdraw', 'WithdrawVersion', { stackId, versionId, reason }),
  );
  if (!withdrawn.ok) return { ok: false, refusal: withdrawn.refusal };
  const reopened = await reopenCurrent(executor, meta, stackId);
  return reopened.ok
    ? { ...reopened, position: reopened.position > withdrawn.position ? reopened.position : withdrawn.position }
    : reopened;
}

/** After a withdrawal the version before it is current again: open its stream. */
export async function reopenCurrent(
  executor: CommandExecutor,
  meta: CommandMeta,
  stackId: string,
): Promise<VersionWithdrawal> {
  const { state: stack, position } = await executor.load(versionStackDecider, stackId);
  const current = stack?.currentVersionId ?? null;
  const withdrawn = current ? [...withdrawnAfter(stack, current)] : [];
  if (!current || withdrawn.length === 0) return { ok: true, currentVersionId: current, position };
  const reopened = await executor.execute(
    versionDecider,
    current,
    step({ ...meta, minted: true }, `reopen ${current}`, 'ReopenVersion', { versionId: current, withdrawn }),
  );
  if (!reopened.ok) return { ok: false, refusal: reopened.refusal };
  return { ok: true, currentVersionId: current, position: reopened.position > position ? reopened.position : position };
}
