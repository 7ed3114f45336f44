import { reaction } from '../reaction.js';

/** Destroys key, credentials and sessions of who was erased, should a crash have come first, and what disks still hold. */
export const erasePersons = reaction({
  name: 'erase-persons',
  types: ['PersonErased'],
  async react(event, { forget }) {
    await forget(event.data.userId, event.position);
  },
});
