import { Column, PrimaryColumn, type ColumnOptions } from 'typeorm';

/** Name of the Postgres schema that holds one version of a read model. */
export const schemaName = (name: string, version: number): string => `${name}_v${version}`;

/** SQL of a check that keeps a text column within a closed set. */
export const oneOf = (column: string, values: readonly string[]): string =>
  `"${column}" IS NULL OR "${column}" IN (${values.map((value) => `'${value}'`).join(', ')})`;

type Options = Pick<ColumnOptions, 'nullable' | 'default'>;
/** Part of a primary key. */
export const Key = (name: string): PropertyDecorator => PrimaryColumn({ name, type: 'uuid' });
export const Uuid = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'uuid', ...options });
export const UuidList = (name: string): PropertyDecorator =>
  Column({ name, type: 'uuid', array: true, default: () => `'{}'` });
export const Text = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'text', ...options });
export const Int = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'integer', ...options });
/** 64 bits; read as a decimal string. */
export const BigInt64 = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'bigint', ...options });
export const Double = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'double precision', ...options });
export const Bool = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'boolean', ...options });
export const Time = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'timestamptz', ...options });
export const Json = (name: string, options: Options = {}): PropertyDecorator =>
  Column({ name, type: 'jsonb', ...options });
