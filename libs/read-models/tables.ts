import 'reflect-metadata';
import { getMetadataArgsStorage } from 'typeorm';
import type { EntityClass } from './model.js';

/**
 * A row of an entity, complete: every column, no relations. Columns are never `undefined`; nullable ones are `null`. Times
 * may also be written as ISO 8601.
 */
export type Row<T> = { [K in keyof T as undefined extends T[K] ? never : K]: Date extends T[K] ? T[K] | string : T[K] };

export interface TableColumn {
  /** Property of the entity. */
  readonly property: string;
  /** Column in Postgres. */
  readonly name: string;
  /** Postgres type, as in `uuid[]`. */
  readonly type: string;
}

/** A table as its entity describes it, with what it inherits, without a connection. */
export interface Table {
  readonly entity: EntityClass;
  readonly name: string;
  readonly columns: readonly TableColumn[];
  readonly primaryKey: readonly TableColumn[];
}

const tables = new WeakMap<EntityClass, Table>();

export function tableOf(entity: EntityClass): Table {
  const known = tables.get(entity);
  if (known) return known;
  const storage = getMetadataArgsStorage();
  const name = storage.tables.find(({ target }) => target === entity)?.name;
  if (name === undefined) throw new TypeError(`${entity.name} is not an entity with a table name`);
  const declarers = new Set<unknown>();
  for (let of: unknown = entity; typeof of === 'function'; of = Object.getPrototypeOf(of)) declarers.add(of);
  const described = storage.columns
    .filter(({ target }) => declarers.has(target))
    .map(({ propertyName, options }) => ({
      property: propertyName,
      name: options.name ?? propertyName,
      type: `${String(options.type)}${options.array ? '[]' : ''}`,
      primary: options.primary === true,
    }));
  const table: Table = {
    entity,
    name,
    columns: described.map(({ primary: _, ...column }) => column),
    primaryKey: described.filter(({ primary }) => primary).map(({ primary: _, ...column }) => column),
  };
  tables.set(entity, table);
  return table;
}
