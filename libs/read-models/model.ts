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
  /**
   * How many runners may fill it side by side, each with its share of the streams; default 1. Only where no row depends on
   * events of several streams and no reader takes for granted that rows appear in the order of the log. Part of the version.
   */
  readonly partitions?: number;
  /** Name of the read model that this one is a scratch copy of. */
  readonly copyOf?: string;
}

export const partitionsOf = ({ partitions = 1 }: ReadModel): number => partitions;

/**
 * Which partition of so many a stream belongs to: FNV-1a over its UTF-16 code units, modulo their number. Checkpoints depend
 * on it, so it never changes.
 */
export function partitionOf(stream: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < stream.length; i++) hash = Math.imul(hash ^ stream.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % partitions;
}

/**
 * The same read model in a schema and with a checkpoint of its own, filled by one, to compare a clean rebuild with the live
 * rows.
 */
export const scratchCopy = (model: ReadModel, suffix = 'verify'): ReadModel => ({
  ...model,
  partitions: 1,
  name: `${model.name}_${suffix}`,
  schema: `${model.schema}_${suffix}`,
  copyOf: model.name,
});
