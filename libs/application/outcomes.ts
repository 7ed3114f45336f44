import type { Refusal } from '#libs/events/catalogue/index.js';
import type { OutcomeMemory } from '#libs/events/log/index.js';
import type { CommandOutcomes } from '#libs/secrets/index.js';

/** The executor's memory of command ids and of commands without events, kept in the secrets database. */
export const outcomeMemory = (outcomes: CommandOutcomes): OutcomeMemory => ({
  async claim(organisationId, commandId, of) {
    const found = await outcomes.claimId({ organisationId, commandId, ...of });
    return found && { commandHash: found.commandHash, stream: found.stream, refusal: found.outcome as Refusal | null };
  },
  async remember(organisationId, commandId, { commandHash, stream, refusal }) {
    await outcomes.rememberOutcome({ organisationId, commandId, commandHash, stream, outcome: refusal });
  },
});
