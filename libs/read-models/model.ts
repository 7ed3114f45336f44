/** A class with TypeORM's `@Entity`: the single definition of its table. */
export type EntityClass<T extends object = object> = new () => T;

/** One read model: its tables, in a Postgres schema of their own named with the version, and what it reads. */
export interface ReadModel {
  readonly name: string;
  /** Grows with every change of tables or handlers: the new version is filled beside the old one. */
  readonly version: number;
  /** Postgres schema. */
  readonly schema: string;
  /** Parents before children, as foreign keys go. */
  readonly entities: readonly EntityClass[];
  /**
   * It says who may see what. Written before the others of the same batch, so that no reader sees something newer than
   * the permissions it is checked against.
   */
  readonly grantsAccess?: boolean;
  /** Stream categories. */
  readonly categories: readonly string[];
  /** Names of indexes that handlers look rows up by; the others are made only when a new model has been filled. */
  readonly lookups?: readonly string[];
  /**
   * Rows are only ever inserted, and no handler looks one up or knows of another: a new model gets its primary keys, too,
   * when it has been filled.
   */
  readonly appendOnly?: boolean;
  /** Name of the read model that this one is a scratch copy of. */
  readonly copyOf?: string;
}

/** The same read model in a schema and with a checkpoint of its own, to compare a clean rebuild with the live rows. */
export const scratchCopy = (model: ReadModel, suffix = 'verify'): ReadModel => ({
  ...model,
  name: `${model.name}_${suffix}`,
  schema: `${model.schema}_${suffix}`,
  copyOf: model.name,
});
