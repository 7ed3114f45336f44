/** What every aggregate of the domain is made with. Pure. */
import type { z } from 'zod';
import { refuse, type Command, type CommandMeta, type Refusal } from '#libs/events/catalogue/index.js';
import type { RefusalCode } from './refusals.js';

/** The union of commands of a `{ CommandType: zodSchema }` table. Data is what the schema puts out (defaults applied). */
export type CommandsOf<T extends Readonly<Record<string, z.ZodType>>> = {
  [K in keyof T & string]: Command<K, z.infer<T[K]>>;
}[keyof T & string];

/** A refusal whose code stands in {@link REFUSALS}. */
export const refused = (
  code: RefusalCode,
  message: string,
  more: { path?: readonly (string | number)[]; details?: Record<string, unknown> } = {},
): Refusal => refuse(code, message, more);

/**
 * Whether the thing may be spoken of to the caller's organisation. What another organisation owns is answered like
 * what was never made, so that nothing leaks.
 */
export const isOf = <S extends { readonly organisationId: string }>(state: S | null, meta: CommandMeta): state is S =>
  state !== null && state.organisationId === meta.organisationId;

export const notFound = (what: string): Refusal => refused('NOT_FOUND', `There is no such ${what}.`);

/** The answer to a creating command when the stream has begun already. */
export const alreadyThere = (what: string, state: { readonly organisationId: string }, meta: CommandMeta): Refusal =>
  isOf(state, meta) ? refused('ALREADY_EXISTS', `This ${what} exists already.`) : notFound(what);

export const isBlank = (text: string): boolean => text.trim() === '';
