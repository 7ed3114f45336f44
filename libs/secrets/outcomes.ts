import type { Pool } from '#libs/postgres/index.js';
import type { CommandOutcome, CommandOutcomes } from './types.js';

const KEEP_MS = 7 * 24 * 3_600_000;
/** Stands for the outcome of a command whose id was taken: it is under way, or what it wrote tells. No outcome is a string. */
const OPEN = 'OPEN';

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
    const { rows } = await this.deps.pool.query<Row>({
      name: 'remember_outcome',
      text: `INSERT INTO secrets.command_outcomes AS o (organisation_id, command_id, command_hash, stream, outcome, at)
       VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (organisation_id, command_id) DO UPDATE SET (command_hash, stream, outcome, at) = (
         SELECT n.command_hash, n.stream, n.outcome, n.at
         FROM (VALUES (true, EXCLUDED.command_hash, EXCLUDED.stream, EXCLUDED.outcome, EXCLUDED.at),
                      (false, o.command_hash, o.stream, o.outcome, o.at)) AS n (is_new, command_hash, stream, outcome, at)
         WHERE n.is_new = (o.at <= $7 OR (o.outcome = '"${OPEN}"'
           AND o.command_hash = EXCLUDED.command_hash AND o.stream = EXCLUDED.stream)))
       RETURNING *`,
      values: [
        outcome.organisationId,
        outcome.commandId,
        outcome.commandHash,
        outcome.stream,
        JSON.stringify(outcome.outcome ?? null),
        now,
        this.horizon(now),
      ],
    });
    return toOutcome(rows[0]!);
  }

  async claimId(of: Omit<CommandOutcome, 'at' | 'outcome'>): Promise<CommandOutcome | undefined> {
    const found = await this.rememberOutcome({ ...of, outcome: OPEN });
    if (found.outcome !== OPEN) return found;
    const same = found.commandHash === of.commandHash && found.stream === of.stream;
    return same ? undefined : { ...found, outcome: null };
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
