import type { Pool } from '#libs/postgres/index.js';
import type { CommandOutcome, CommandOutcomes } from './types.js';

const KEEP_MS = 7 * 24 * 3_600_000;

interface Row {
  organisation_id: string;
  command_id: string;
  command_hash: string;
  stream: string;
  outcome: unknown;
  at: Date;
}

const toOutcome = (row: Row): CommandOutcome => ({
  organisationId: row.organisation_id,
  commandId: row.command_id,
  commandHash: row.command_hash,
  stream: row.stream,
  outcome: row.outcome,
  at: row.at,
});

export class PostgresOutcomes implements CommandOutcomes {
  constructor(private readonly deps: { pool: Pool; clock: () => Date }) {}

  async rememberOutcome(outcome: Omit<CommandOutcome, 'at'>): Promise<CommandOutcome> {
    const now = this.deps.clock();
    // An expired one counts as never seen. The no-op update makes the row that is there come back.
    const { rows } = await this.deps.pool.query<Row>(
      `INSERT INTO secrets.command_outcomes AS o (organisation_id, command_id, command_hash, stream, outcome, at)
       VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (organisation_id, command_id) DO UPDATE SET
         command_hash = CASE WHEN o.at <= $7 THEN EXCLUDED.command_hash ELSE o.command_hash END,
         stream = CASE WHEN o.at <= $7 THEN EXCLUDED.stream ELSE o.stream END,
         outcome = CASE WHEN o.at <= $7 THEN EXCLUDED.outcome ELSE o.outcome END,
         at = CASE WHEN o.at <= $7 THEN EXCLUDED.at ELSE o.at END
       RETURNING *`,
      [
        outcome.organisationId,
        outcome.commandId,
        outcome.commandHash,
        outcome.stream,
        JSON.stringify(outcome.outcome ?? null),
        now,
        this.horizon(now),
      ],
    );
    return toOutcome(rows[0]!);
  }

  async recallOutcome(organisationId: string, commandId: string): Promise<CommandOutcome | undefined> {
    const { rows } = await this.deps.pool.query<Row>(
      `SELECT * FROM secrets.command_outcomes WHERE organisation_id = $1 AND command_id = $2 AND at > $3`,
      [organisationId, commandId, this.horizon(this.deps.clock())],
    );
    return rows[0] && toOutcome(rows[0]);
  }

  async expireOutcomes(): Promise<number> {
    const { rowCount } = await this.deps.pool.query(`DELETE FROM secrets.command_outcomes WHERE at <= $1`, [
      this.horizon(this.deps.clock()),
    ]);
    return rowCount ?? 0;
  }

  private horizon(now: Date): Date {
    return new Date(now.getTime() - KEEP_MS);
  }
}
