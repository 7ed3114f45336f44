import type { Reaction } from '../reaction.js';

/** Destroys key, credentials and sessions of who was erased, should a crash have come first, and what disks still hold. */
export const erasePersons: Reaction = {
  name: 'erase-persons',
  categories: ['user'],
  async react(event, { forget }) {
    if (event.type === 'PersonErased') await forget(event.data.userId, event.position);
  },
};
