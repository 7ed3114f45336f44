import { deriveCommandId, type Command, type CommandMeta } from '#libs/events/catalogue/index.js';

/** A following step of a command: same actor and correlation, caused by the first, an id derived from it. */
export function step<const T extends string, const D>(
  meta: CommandMeta,
  name: string,
  type: T,
  data: D,
): Command<T, D> {
  return {
    type,
    data,
    meta: {
      ...meta,
      commandId: deriveCommandId(meta.commandId, name),
      causationId: meta.commandId,
      expectedRevision: undefined,
    },
  };
}
