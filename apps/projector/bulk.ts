import { createHash } from 'node:crypto';
import pg from 'pg';
import { CopyRows, jsonText } from './copy.js';
import { type EntityClass, type Row, type Table, type TableColumn, tableOf } from '#libs/read-models/index.js';

/** What a statement needs of a connection. */
export interface Queryable {
  query(query: pg.QueryConfig): Promise<{ rowCount: number | null }>;
}

/** What many new rows need of it: COPY, cheaper than inserting, and dearer for a few. */
export interface Copyable extends Queryable {
  /** @param messages from {@link CopyRows} */
  copy(text: string, messages: readonly Buffer[]): Promise<void>;
}

type Value = unknown;
type Values = Record<string, Value>;
type Key<T> = Partial<Row<T>>;
/** Columns that can be counted up and down. */
type Counters<T> = { [K in keyof Row<T> as Row<T>[K] extends number ? K : never]?: number };

interface Changes {
  readonly key: Values;
  readonly set: Values;
  readonly add: Record<string, number>;
}

/** What is to become of one row. `row` is all of it; `at` says which row of the table's COPY it is. */
type Pending =
  | { readonly kind: 'insert'; readonly row: Values; readonly replaces: boolean }
  | { readonly kind: 'copy'; readonly at: number; readonly replaces: boolean; changes: Changes | undefined }
  | ({ readonly kind: 'update' } & Changes)
  | { readonly kind: 'delete'; readonly key: Values };

interface Collected {
  readonly table: Table;
  readonly rows: Map<string, Pending>;
  /** New rows of a bulk that copies. */
  copy: CopyRows;
}

/** The rows are not as the events before should have left them: an event was skipped, or written twice. */
export class RowMismatch extends Error {
  readonly code = 'ROW_MISMATCH';
}

export interface BulkOptions {
  /**
   * For many new rows: each becomes bytes for COPY at once, and is no object that has to live until the rows are written.
   * Changes to such a row are written as an update after it. The connection must be able to copy.
   */
  readonly copy?: boolean;
  /** Rows are only inserted: with `copy`, nothing is kept of them but those bytes. Two rows of one key are the database's to find. */
  readonly appendOnly?: boolean;
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
  readonly #copy: boolean;
  readonly #appendOnly: boolean;
  readonly #collected: readonly Collected[];
  readonly #byEntity = new Map<EntityClass, Collected>();
  readonly #later: { text: string; values: Value[] }[] = [];

  /** @param entities parents before children, as foreign keys go */
  constructor(
    schema: string,
    entities: readonly EntityClass[],
    { copy = false, appendOnly = false }: BulkOptions = {},
  ) {
    this.#schema = schema;
    this.#copy = copy;
    this.#appendOnly = appendOnly;
    this.#collected = entities.map((entity) => ({
      table: tableOf(entity),
      rows: new Map(),
      copy: new CopyRows(tableOf(entity).columns),
    }));
    entities.forEach((entity, index) => this.#byEntity.set(entity, this.#collected[index]!));
  }

  /** The row is the bulk's from then on: later changes are made to it. */
  insert<T extends object>(entity: EntityClass<T>, row: Row<T>): void {
    const collected = this.#of(entity);
    const { rows, table, copy } = collected;
    if (this.#copy && this.#appendOnly) {
      copy.add(row as Values);
      return;
    }
    const id = idOf(table, row as Values);
    const before = rows.get(id);
    if (before && before.kind !== 'delete') throw new RowMismatch(`${table.name} has the row ${id} already`);
    const replaces = before !== undefined;
    if (!this.#copy) rows.set(id, { kind: 'insert', row: row as Values, replaces });
    else rows.set(id, { kind: 'copy', at: copy.add(row as Values), replaces, changes: undefined });
  }

  /** `add` counts up or down on what `set` and earlier changes left. */
  update<T extends object>(
    entity: EntityClass<T>,
    key: Key<T>,
    set: Partial<Row<T>>,
    add: Counters<T> = {} as Counters<T>,
  ): void {
    const { rows, table } = this.#changeable(entity);
    const id = idOf(table, key as Values);
    const before = rows.get(id);
    switch (before?.kind) {
      case 'delete':
        throw new RowMismatch(`${table.name} has no row ${id} any more`);
      case 'insert': {
        const { row } = before;
        Object.assign(row, set);
        for (const column in add) row[column] = (row[column] as number) + (add as Record<string, number>)[column]!;
        return;
      }
      case 'update':
        return merge(before, set, add);
      case 'copy':
        if (before.changes) merge(before.changes, set, add);
        else merge((before.changes = { key: keyOf(table, key as Values), set: {}, add: {} }), set, add);
        return;
      default: {
        const change = { kind: 'update', key: keyOf(table, key as Values), set: {}, add: {} } as const;
        merge(change, set, add);
        rows.set(id, change);
      }
    }
  }

  delete<T extends object>(entity: EntityClass<T>, key: Key<T>): void {
    const { rows, table, copy } = this.#changeable(entity);
    const id = idOf(table, key as Values);
    const before = rows.get(id);
    if (before?.kind === 'copy') copy.remove(before.at);
    if ((before?.kind === 'copy' || before?.kind === 'insert') && !before.replaces) rows.delete(id);
    else rows.set(id, { kind: 'delete', key: keyOf(table, key as Values) });
  }

  /** A statement for when everything collected so far is in the tables. `$schema` stands for the model's schema. */
  later(text: string, values: Value[]): void {
    this.#later.push({ text: text.replaceAll('$schema', pg.escapeIdentifier(this.#schema)), values });
  }

  /** Nothing is waiting to be written. */
  get empty(): boolean {
    return this.#later.length === 0 && this.#collected.every(({ rows }) => rows.size === 0);
  }

  /** Writes everything that was collected. Statements follow each other without waiting for the answers in between. */
  async flush(connection: Queryable | Copyable): Promise<void> {
    const statements: Promise<unknown>[] = [];
    for (const { table, rows } of this.#collected.toReversed()) {
      const keys: Values[] = [];
      for (const [id, change] of rows)
        if (change.kind === 'delete') keys.push(change.key);
        else if (change.kind === 'insert' && change.replaces) keys.push(keyOf(table, change.row));
        else if (change.kind === 'copy' && change.replaces) keys.push(keyFrom(table, id));
      if (keys.length > 0) statements.push(run(connection, this.#deleteText(table), toArrays(keys, table.primaryKey)));
    }
    for (const collected of this.#collected) {
      const { table, rows } = collected;
      const messages = collected.copy.messages();
      if (messages.length > 0) statements.push((connection as Copyable).copy(this.#copyText(table), messages));
      if (messages.length > 0) collected.copy = new CopyRows(table.columns);
      const inserted: Values[] = [];
      for (const change of rows.values()) if (change.kind === 'insert') inserted.push(change.row);
      if (inserted.length > 0)
        statements.push(run(connection, this.#insertText(table), toArrays(inserted, table.columns)));
    }
    for (const { table, rows } of this.#collected) statements.push(...this.#updates(connection, table, rows.values()));
    for (const { rows } of this.#collected) rows.clear();
    for (const { text, values } of this.#later) statements.push(connection.query(prepared(text, values)));
    this.#later.length = 0;
    await allDone(statements);
  }

  #updates(connection: Queryable, table: Table, rows: Iterable<Pending>): Promise<void>[] {
    // One statement for all rows in which the same columns change.
    const groups = new Map<string, Changes[]>();
    for (const row of rows) {
      const change = row.kind === 'update' ? row : row.kind === 'copy' ? row.changes : undefined;
      if (!change) continue;
      const set = Object.keys(change.set).sort();
      const add = Object.keys(change.add).sort();
      if (set.length + add.length === 0) continue;
      const signature = `${set.join(',')}|${add.join(',')}`;
      const group = groups.get(signature);
      if (group) group.push(change);
      else groups.set(signature, [change]);
    }
    return [...groups.values()].map(async (changes) => {
      const set = columnsOf(table, Object.keys(changes[0]!.set));
      const add = columnsOf(table, Object.keys(changes[0]!.add));
      const arrays = toArrays(
        changes.map((change) => ({ ...change.key, ...change.set, ...change.add })),
        [...table.primaryKey, ...set, ...add],
      );
      const written = await run(connection, this.#updateText(table, set, add), arrays);
      if (written !== changes.length)
        throw new RowMismatch(
          `${changes.length - written} of ${changes.length} rows to update are not in ${table.name}, among ${changes
            .slice(0, 5)
            .map(({ key }) => Object.values(key).join(' '))
            .join(', ')}`,
        );
    });
  }

  #of(entity: EntityClass): Collected {
    const collected = this.#byEntity.get(entity);
    if (!collected) throw new TypeError(`${entity.name} is not a table of this read model`);
    return collected;
  }

  #changeable(entity: EntityClass): Collected {
    const collected = this.#of(entity);
    if (this.#appendOnly) throw new TypeError(`Rows of ${collected.table.name} are only ever inserted`);
    return collected;
  }

  #name(table: Table): string {
    return `${pg.escapeIdentifier(this.#schema)}.${pg.escapeIdentifier(table.name)}`;
  }

  #insertText(table: Table): string {
    const columns = table.columns.map(quote).join(', ');
    return `INSERT INTO ${this.#name(table)} (${columns}) SELECT * FROM ${recordset(table.columns)}`;
  }

  #copyText(table: Table): string {
    return `COPY ${this.#name(table)} (${table.columns.map(quote).join(', ')}) FROM STDIN WITH (FORMAT binary)`;
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

function merge({ set, add }: Changes, setting: object, adding: object): void {
  for (const column in setting) {
    set[column] = (setting as Values)[column];
    if (column in add) delete add[column];
  }
  for (const column in adding) {
    const n = (adding as Record<string, number>)[column]!;
    if (column in set) set[column] = (set[column] as number) + n;
    else add[column] = (add[column] ?? 0) + n;
  }
}

const idOf = ({ primaryKey }: Table, values: Values): string =>
  primaryKey.length === 1
    ? String(values[primaryKey[0]!.property])
    : primaryKey.map(({ property }) => String(values[property])).join(' ');
/** Keys are ids and numbers: there is no space in them. */
const keyFrom = ({ primaryKey }: Table, id: string): Values =>
  Object.fromEntries(id.split(' ').map((part, index) => [primaryKey[index]!.property, part]));

async function run(connection: Queryable, text: string, arrays: string[]): Promise<number> {
  const { rowCount } = await connection.query(prepared(text, arrays));
  return rowCount ?? 0;
}

/** Waits for all of them, and throws what went wrong first: in a failed transaction the others fail of themselves. */
async function allDone(statements: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(statements)) if (result.status === 'rejected') throw result.reason;
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

/** Quoted, as elements of Postgres array literals are. */
const quoted = (text: string): string =>
  `"${/["\\\0]/.test(text) ? text.replaceAll('\0', '\uFFFD').replace(/["\\]/g, '\\$&') : text}"`;

type Encode = (value: unknown) => string;

/** Text of a value that is not null, as Postgres' input functions take it; the container's quoting comes on top. */
const encoders: Readonly<Record<string, Encode>> = {
  text: (value) => value as string,
  jsonb: jsonText,
  timestamptz: (value) => (typeof value === 'string' ? value : (value as Date).toISOString()),
  'uuid[]': (value) => `{${(value as string[]).join(',')}}`,
};
const encoderOf = ({ type }: TableColumn): Encode => encoders[type] ?? String;
/** Types whose text may hold what needs quoting in an array literal. */
const QUOTED = new Set(['text', 'jsonb', 'uuid[]']);

/** One Postgres array literal for each column. */
export function toArrays(rows: readonly Values[], columns: readonly TableColumn[]): string[] {
  return columns.map((column) => {
    const { property } = column;
    const encode = encoderOf(column);
    const element: Encode = QUOTED.has(column.type) ? (value) => quoted(encode(value)) : encode;
    let out = '{';
    for (let i = 0; i < rows.length; i++) {
      const value = rows[i]![property];
      if (i > 0) out += ',';
      out += value === null || value === undefined ? 'NULL' : element(value);
    }
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
