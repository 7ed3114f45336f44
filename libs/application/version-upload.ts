import { setTimeout as sleep } from 'node:timers/promises';
import {
  isRefusal,
  type Command,
  type CommandMeta,
  type EventsOf,
  type Refusal,
} from '#libs/events/catalogue/index.js';
import type { VersionOpened } from '#libs/events/catalogue/index.js';
import type { CommandExecutor } from '#libs/events/log/index.js';
import { versionDecider, versionStackDecider } from '#libs/domain/index.js';
import { step } from './commands.js';

type Opened = EventsOf<[typeof VersionOpened]>['data'];

export type VersionAdded =
  | { readonly ok: true; readonly versionId: string; readonly number: number; readonly position: bigint }
  | { readonly ok: false; readonly refusal: Refusal };

/** Two uploads at once race for the stack; each loss means another version got in, so this is generous. */
const MAX_RACES = 50;
/** How often a withdrawal that has closed the current version may be waited for before it is finished in its place. */
const PATIENCE = 8;

/**
 * A new version of a stack, in three appends: the version's own stream is opened (which is also the record of what was
 * meant), the version that is current is closed, the new one joins the stack and is current. Nothing is accepted on
 * the old version from its close on, so the lock needs no look across streams. A crash in between is finished by
 * whoever repeats the command or by the reaction to `VersionOpened`.
 */
export async function addVersion(
  executor: CommandExecutor,
  meta: CommandMeta,
  version: Omit<Opened, 'organisationId'>,
): Promise<VersionAdded> {
  const open: Command<'OpenVersion', typeof version> = { type: 'OpenVersion', data: version, meta };
  const opened = await executor.execute(versionDecider, version.versionId, open);
  if (!opened.ok) return { ok: false, refusal: opened.refusal };
  return finishVersionUpload(executor, meta, version);
}

/** The steps after `VersionOpened`. May run any number of times, at the same time too. */
export async function finishVersionUpload(
  executor: CommandExecutor,
  meta: CommandMeta,
  version: Omit<Opened, 'organisationId'>,
): Promise<VersionAdded> {
  const { versionId, stackId } = version;
  const { approvalPolicy: _policy, ...uploaded } = version;
  let refusal: Refusal | undefined;
  let patience = PATIENCE;
  for (let race = 0; race < MAX_RACES; race++) {
    const { state: stack, position } = await executor.load(versionStackDecider, stackId);
    const joined = stack?.versions.find((v) => v.versionId === versionId);
    if (joined) return { ok: true, versionId, number: joined.number, position };
    const current = stack?.currentVersionId ?? null;
    const add = step({ ...meta, minted: true }, `add after ${current ?? 'none'}`, 'AddVersion', {
      ...uploaded,
      closedVersionId: current,
    });
    // What the stack won't take must not lock the version that is current.
    const willJoin = !isRefusal(versionStackDecider.decide(add, stack));
    if (current && willJoin) {
      const closed = await executor.execute(
        versionDecider,
        current,
        step(meta, `close ${current}`, 'CloseVersion', {
          versionId: current,
          reason: 'SUPERSEDED',
          by: versionId,
          text: null,
        }),
      );
      if (!closed.ok && closed.refusal.code === 'VERSION_WITHDRAWN') {
        // It is being withdrawn: in a moment another version is current, or none. Unless who withdrew it crashed.
        if (patience-- > 0) await sleep((PATIENCE - patience) * 5);
        else
          await executor.execute(
            versionStackDecider,
            stackId,
            step(meta, `finish withdrawal of ${current}`, 'WithdrawVersion', {
              stackId,
              versionId: current,
              reason: 'Withdrawn',
            }),
          );
        continue;
      }
      if (!closed.ok) return { ok: false, refusal: closed.refusal };
    }
    const added = await executor.execute(versionStackDecider, stackId, add);
    if (added.ok) {
      const number = added.state?.versions.find((v) => v.versionId === versionId)?.number;
      if (number !== undefined) return { ok: true, versionId, number, position: added.position };
    } else {
      refusal = added.refusal;
      if (refusal.code !== 'CURRENT_VERSION_OPEN') break;
    }
  }
  return { ok: false, refusal: refusal ?? { refused: true, code: 'CONFLICT', message: 'Too many uploads at once.' } };
}
