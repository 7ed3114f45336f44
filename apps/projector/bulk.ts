import { createHash } from 'node:crypto';
import pg from 'pg';
import { type EntityClass, type Row, type Table, type TableColumn, tableOf } from '#libs/read-models/index.js';

/** What a statement needs of a connection. */
export interface Queryable {
  query(query: pg.QueryConfig): Promise<{ rowCount: number | null }>;
}

type Value = unknown;
type Values = Record<string, Value>;
type Key<T> = Partial<Row<T>>;
/** Columns that can be counted up and down. */
type Counters<T> = { [K in keyof Row<T> as Row<T>[K] extends number ? K : never]?: number };

/** What is to become of one row. `insert` and `replace` hold all of it. */
type Pending =
  | { kind: 'insert'; row: Values }
  | { kind: 'replace'; row: Values }
  | { kind: 'update'; key: Values; set: Values; add: Record<string, number> }
  | { kind: 'delete'; key: Values };

/** The rows are not as the events before should have left them: an event was skipped, or written twice. */
export class RowMismatch extends Error {
  readonly code = 'ROW_MISMATCH';
}

/**
 * Collects changes of rows and writes them with few statements. What happens to one row between two flushes becomes one
 * change, so the result is that of applying the changes one by one. Rows are addressed by primary key only. Written are
 * deletes first (children before parents), then inserts (parents before children), then updates; a value that is unique
 * besides the primary key must not move between rows.
 *
 * An update of a row that isn't there and an insert of one that is are errors, never silence; a delete is lenient.
 */
export class Bulk {
  readonly #schema: string;
  readonly #tables: readonly Table[];
  readonly #pending = new Map<EntityClass, Map<string, Pending>>();
  readonly #later: { text: string; values: Value[] }[] = [];

  /** @param entities parents before children, as foreign keys go */
  constructor(schema: string, entities: readonly EntityClass[]) {
    this.#schema = schema;
    this.#tables = entities.map(tableOf);
    for (const entity of entities) this.#pending.set(entity, new Map());
  }

  insert<T extends object>(entity: EntityClass<T>, row: Row<T>): void {
    const { rows, id } = this.#find(entity, row as Values);
    const before = rows.get(id);
    if (!before) rows.set(id, { kind: 'insert', row: { ...(row as Values) } });
    else if (before.kind === 'delete') rows.set(id, { kind: 'replace', row: { ...(row as Values) } });
    else throw new RowMismatch(`${tableOf(entity).name} has the row ${id} already`);
  }

  /** `add` counts up or down on what `set` and earlier changes left. */
  update<T extends object>(
    entity: EntityClass<T>,
    key: Key<T>,
    set: Partial<Row<T>>,
    add: Counters<T> = {} as Counters<T>,
  ): void {
    const { rows, id, table } = this.#find(entity, key as Values);
    const before = rows.get(id);
    if (before?.kind === 'delete') throw new RowMismatch(`${table.name} has no row ${id} any more`);
    if (!before) {
      const set_ = { ...(set as Values) };
      const counts: Record<string, number> = {};
      for (const [column, n] of Object.entries(add as Record<string, number>))
        if (column in set_) set_[column] = (set_[column] as number) + n;
        else counts[column] = n;
      rows.set(id, { kind: 'update', key: keyOf(table, key as Values), set: set_, add: counts });
      return;
    }
    const target = before.kind === 'update' ? before.set : before.row;
    for (const [column, value] of Object.entries(set)) {
      target[column] = value;
      if (before.kind === 'update') delete before.add[column];
    }
    for (const [column, n] of Object.entries(add as Record<string, number>))
      if (before.kind !== 'update' || column in target) target[column] = (target[column] as number) + n;
      else before.add[column] = (before.add[column] ?? 0) + n;
  }

  delete<T extends object>(entity: EntityClass<T>, key: Key<T>): void {
    const { rows, id, table } = this.#find(entity, key as Values);
    if (rows.get(id)?.kind === 'insert') rows.delete(id);
    else rows.set(id, { kind: 'delete', key: keyOf(table, key as Values) });
  }

  /** A statement for when everything collected so far is in the tables. `$schema` stands for the model's schema. */
  later(text: string, values: Value[]): void {
    this.#later.push({ text: text.replaceAll('$schema', pg.escapeIdentifier(this.#schema)), values });
  }

  /** Nothing is waiting to be written. */
  get empty(): boolean {
    return this.#later.length === 0 && [...this.#pending.values()].every((rows) => rows.size === 0);
  }

  /** Writes everything that was collected. */
  async flush(connection: Queryable): Promise<void> {
    for (const table of this.#tables.toReversed()) {
      const keys: Values[] = [];
      for (const change of this.#of(table).values())
        if (change.kind === 'delete') keys.push(change.key);
        else if (change.kind === 'replace') keys.push(keyOf(table, change.row));
      if (keys.length > 0) await this.#run(connection, this.#deleteText(table), toArrays(keys, table.primaryKey));
    }
    for (const table of this.#tables) {
      const rows: Values[] = [];
      for (const change of this.#of(table).values())
        if (change.kind === 'insert' || change.kind === 'replace') rows.push(change.row);
      if (rows.length > 0) await this.#run(connection, this.#insertText(table), toArrays(rows, table.columns));
    }
    for (const table of this.#tables) await this.#flushUpdates(connection, table);
    for (const rows of this.#pending.values()) rows.clear();
    for (const { text, values } of this.#later) await connection.query(prepared(text, values));
    this.#later.length = 0;
  }

  async #flushUpdates(connection: Queryable, table: Table): Promise<void> {
    // One statement for all rows in which the same columns change.
    const groups = new Map<string, Extract<Pending, { kind: 'update' }>[]>();
    for (const change of this.#of(table).values()) {
      if (change.kind !== 'update') continue;
      const set = Object.keys(change.set).sort();
      const add = Object.keys(change.add).sort();
      if (set.length + add.length === 0) continue;
      const signature = `${set.join(',')}|${add.join(',')}`;
      const group = groups.get(signature);
      if (group) group.push(change);
      else groups.set(signature, [change]);
    }
    for (const changes of groups.values()) {
      const set = columnsOf(table, Object.keys(changes[0]!.set));
      const add = columnsOf(table, Object.keys(changes[0]!.add));
      const arrays = toArrays(
        changes.map((change) => ({ ...change.key, ...change.set, ...change.add })),
        [...table.primaryKey, ...set, ...add],
      );
      const written = await this.#run(connection, this.#updateText(table, set, add), arrays);
      if (written !== changes.length)
        throw new RowMismatch(
          `${changes.length - written} of ${changes.length} rows to update are not in ${table.name}, among ${changes
            .slice(0, 5)
            .map(({ key }) => Object.values(key).join(' '))
            .join(', ')}`,
        );
    }
  }

  async #run(connection: Queryable, text: string, arrays: string[]): Promise<number> {
    const { rowCount } = await connection.query(prepared(text, arrays));
    return rowCount ?? 0;
  }

  #of(table: Table): Map<string, Pending> {
    return this.#pending.get(table.entity)!;
  }

  #find(entity: EntityClass, values: Values): { rows: Map<string, Pending>; id: string; table: Table } {
    const rows = this.#pending.get(entity);
    if (!rows) throw new TypeError(`${entity.name} is not a table of this read model`);
    const table = tableOf(entity);
    const id =
      table.primaryKey.length === 1
        ? String(values[table.primaryKey[0]!.property])
        : table.primaryKey.map(({ property }) => String(values[property])).join(' ');
    return { rows, id, table };
  }

  #name(table: Table): string {
    return `${pg.escapeIdentifier(this.#schema)}.${pg.escapeIdentifier(table.name)}`;
  }

  #insertText(table: Table): string {
    const columns = table.columns.map(quote).join(', ');
    return `INSERT INTO ${this.#name(table)} (${columns}) SELECT * FROM ${recordset(table.columns)}`;
  }

  #deleteText(table: Table): string {
    return `DELETE FROM ${this.#name(table)} AS t USING ${recordset(table.primaryKey)} WHERE ${matching(table)}`;
  }

  #updateText(table: Table, set: readonly TableColumn[], add: readonly TableColumn[]): string {
    const assignments = [
      ...set.map((column) => `${quote(column)} = r.${quote(column)}`),
      ...add.map((column) => `${quote(column)} = t.${quote(column)} + r.${quote(column)}`),
    ];
    return `UPDATE ${this.#name(table)} AS t SET ${assignments.join(', ')} FROM ${recordset([
      ...table.primaryKey,
      ...set,
      ...add,
    ])} WHERE ${matching(table)}`;
  }
}

const quote = ({ name }: TableColumn): string => pg.escapeIdentifier(name);
/** The parameters as a table `r`: one array for each column. What has no array of its own goes as text and is cast. */
const recordset = (columns: readonly TableColumn[]): string => {
  const names = columns.map(quote).join(', ');
  const arrays = columns.map(({ type }, index) => `$${index + 1}::${travelsAsText(type) ? 'text' : type}[]`).join(', ');
  const typed = columns.map(
    (column) => `${quote(column)}${travelsAsText(column.type) ? `::${column.type}` : ''} AS ${quote(column)}`,
  );
  return `(SELECT ${typed.join(', ')} FROM unnest(${arrays}) AS u(${names})) AS r`;
};
const travelsAsText = (type: string): boolean => type === 'jsonb' || type.endsWith('[]');
const matching = (table: Table): string =>
  table.primaryKey.map((column) => `t.${quote(column)} = r.${quote(column)}`).join(' AND ');

const keyOf = (table: Table, values: Values): Values =>
  Object.fromEntries(table.primaryKey.map(({ property }) => [property, values[property]]));

function columnsOf(table: Table, properties: readonly string[]): TableColumn[] {
  return [...properties].sort().map((property) => {
    const column = table.columns.find((candidate) => candidate.property === property);
    if (!column) throw new TypeError(`${table.name} has no column for ${property}`);
    return column;
  });
}

/** Postgres text holds neither NUL nor half a surrogate pair; an author's slip of this kind must not stop a projection. */
const storable = (text: string): string =>
  text.replace(/\0|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD');

/** Quoted, as elements of Postgres array literals are. */
const quoted = (text: string): string =>
  `"${/["\\\0]/.test(text) ? text.replaceAll('\0', '\uFFFD').replace(/["\\]/g, '\\$&') : text}"`;

/** JSON text that Postgres takes. `JSON.stringify` escapes exactly what it would refuse; the escapes are cheap to find. */
function jsonText(value: unknown): string {
  const json = JSON.stringify(value);
  if (!/\\u(?:0000|d[89a-f])/.test(json)) return json;
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'string' ? storable(part) : part));
}

function literal(type: string, value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  switch (type) {
    case 'text':
      return quoted(value as string);
    case 'jsonb':
      return quoted(jsonText(value));
    case 'timestamptz':
      return (value as Date).toISOString();
    case 'uuid[]':
      return quoted(`{${(value as string[]).join(',')}}`);
    default:
      return String(value);
  }
}

/** One Postgres array literal for each column. */
export function toArrays(rows: readonly Values[], columns: readonly TableColumn[]): string[] {
  return columns.map(({ property, type }) => {
    let out = '{';
    for (let i = 0; i < rows.length; i++) out += (i === 0 ? '' : ',') + literal(type, rows[i]![property]);
    return out + '}';
  });
}

const names = new Map<string, string>();

/** A query that the server parses and plans once per connection. */
function prepared(text: string, values: Value[]): pg.QueryConfig {
  let name = names.get(text);
  if (!name) {
    name = `projector_${createHash('sha1').update(text).digest('hex').slice(0, 24)}`;
    names.set(text, name);
  }
  return { name, text, values };
}
