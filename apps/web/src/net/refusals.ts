/** Expected refusals as forms show them. Pure. */
import type { RefusalPartsFragment } from '../generated/graphql.js';

export type Refusal = RefusalPartsFragment;

/** The refusal that belongs to a field: its path ends in the field's name. */
export function refusalFor(errors: readonly Refusal[], field: string): Refusal | null {
  return errors.find(({ path }) => path?.includes(field) ?? false) ?? null;
}

/** What doesn't belong to any of the fields shown, in one text. */
export function generalRefusal(errors: readonly Refusal[], fields: readonly string[]): string | null {
  const rest = errors.filter((error) => !fields.some((field) => error.path?.includes(field) ?? false));
  return rest.length === 0 ? null : rest.map(({ message }) => message).join(' ');
}
