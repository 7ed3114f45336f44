/** Pure rules: names, ids, waiting times. */

const HOUR_MS = 3_600_000;

/**
 * Id of the job that a reaction starts for an event: the event's id, with the purpose when one event starts several jobs.
 *
 * @throws RangeError when the result is no legal id
 */
export function jobIdOf(eventId: string, purpose?: string): string {
  const jobId = purpose === undefined ? eventId : `${purpose}-${eventId}`;
  assertJobId(jobId);
  return jobId;
}

/** BullMQ splits ids at colons and takes numbers for its own. */
export function assertJobId(jobId: string): void {
  if (!/^[A-Za-z0-9_.=-]{1,200}$/.test(jobId) || /^-?\d+$/.test(jobId)) {
    throw new RangeError(`Not a legal job id: ${JSON.stringify(jobId)}`);
  }
}

export function assertQueueName(name: string): void {
  if (!/^[a-z][a-z0-9-]{0,59}$/.test(name)) throw new RangeError(`Not a legal queue name: ${JSON.stringify(name)}`);
}

/** Wait in ms after `attemptsMade` tries: doubling, at most an hour, ±20 % so that many don't come back at once. */
export function backoffMs(firstMs: number, attemptsMade: number, random: number): number {
  const doubled = Math.min(firstMs * 2 ** Math.min(attemptsMade - 1, 40), HOUR_MS);
  return Math.max(1, Math.round(doubled * (0.8 + 0.4 * random)));
}
