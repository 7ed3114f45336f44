import { z } from 'zod';

/** Bounded contexts that own events. */
export type Context = 'identity' | 'production' | 'review' | 'platform';

export interface EventDefinition<T extends string = string, S extends z.ZodObject = z.ZodObject> {
  readonly type: T;
  /** Current schema version; starts at 1 and grows by one with each changed shape. */
  readonly version: number;
  readonly context: Context;
  /** Stream category the event is written to, as in `version` for `version-<id>`. */
  readonly category: string;
  readonly description: string;
  readonly schema: S;
  readonly example: z.infer<S>;
  /** `upcasters[n]` turns data of version n into data of version n + 1. Small steps, pure. */
  readonly upcasters: Readonly<Record<number, (data: Record<string, unknown>) => Record<string, unknown>>>;
  /** Top-level personal fields → the field of the same event that names the person whose key encrypts them. */
  readonly personal: Readonly<Record<string, string>>;
}

type PersonalMeta = { personalOf?: string };

/**
 * Marks a string field as personal: it is encrypted under the key of the person named by `personField` of the same
 * event before it reaches the log, and reads as {@link REDACTED} after that person is forgotten.
 */
export const personal = (personField: string, schema: z.ZodString | z.ZodEmail = z.string()) =>
  schema.meta({ personalOf: personField } satisfies PersonalMeta);

/** What a personal field reads as once its key is destroyed. */
export const REDACTED = '[redacted]';

/** What people see in place of the name of a person who was forgotten. */
export const ERASED_PERSON = 'Erased person';

export function defineEvent<const T extends string, S extends z.ZodObject>(definition: {
  type: T;
  version?: number;
  context: Context;
  category: string;
  description: string;
  schema: S;
  example: z.infer<S>;
  upcasters?: EventDefinition['upcasters'];
}): EventDefinition<T, S> {
  const personalFields: Record<string, string> = {};
  for (const [name, field] of Object.entries(definition.schema.shape)) {
    const bare = field instanceof z.ZodNullable ? field.unwrap() : field;
    const meta = (bare as z.ZodType).meta() as PersonalMeta | undefined;
    if (meta?.personalOf) personalFields[name] = meta.personalOf;
  }
  return { version: 1, upcasters: {}, ...definition, personal: personalFields };
}

/** The domain event union of a list of definitions. */
export type EventsOf<D extends readonly EventDefinition[]> = {
  [I in keyof D]: D[I] extends EventDefinition<infer T, infer S>
    ? { readonly type: T; readonly data: z.infer<S> }
    : never;
}[number];
