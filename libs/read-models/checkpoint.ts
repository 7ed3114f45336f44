import 'reflect-metadata';
import { Entity, PrimaryColumn } from 'typeorm';
import { BigInt64, Time } from './columns.js';
import type { ReadModel } from './model.js';

/** Channel of the projector's NOTIFY; the payload is `<name>:<position>`, only ever a hint. */
export const PROJECTION_CHANNEL = 'picturelock_projection';

/** How far a projection is; changed in the transaction that changes its rows, by compare-and-swap. */
@Entity({ schema: 'projection', name: 'checkpoint' })
export class CheckpointRow {
  @PrimaryColumn({ name: 'name', type: 'text' }) name: string;
  @PrimaryColumn({ name: 'version', type: 'integer' }) version: number;
  /** Log position up to which everything is in the rows, a decimal string; −1 before the first event. */
  @BigInt64('position', { default: -1 }) position: string;
  @Time('updated_at', { default: () => 'now()' }) updatedAt: Date;
}

/** Not a read model of the log, but its tables are made by the same means. */
export const checkpoints: ReadModel = {
  name: 'projection',
  version: 1,
  schema: 'projection',
  entities: [CheckpointRow],
  categories: [],
};
