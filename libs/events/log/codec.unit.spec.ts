import { randomUUID } from 'node:crypto';
import { CommandRefused, UserRegistered, type EventMetadata } from '../catalogue/index.js';
import { encodeEvent, encodeMetadata, openOrigin } from './codec.js';
import type { PersonCipher } from './types.js';

const person = randomUUID();
const metadata = (userId: string | null, origin?: string): EventMetadata => ({
  $correlationId: 'c',
  $causationId: 'c',
  commandId: randomUUID(),
  commandHash: '',
  index: 0,
  count: 1,
  organisationId: randomUUID(),
  actor: { userId, role: 'CLIENT' },
  schemaVersion: 1,
  at: '2031-05-06T07:08:09.000Z',
  origin,
});

/** Tells what it was asked to seal and where; of the forgotten it seals nothing. */
const cipher = (forgotten = false): PersonCipher => ({
  encrypt: (id, text, aad) =>
    forgotten
      ? Promise.reject(Object.assign(new Error('forgotten'), { code: 'PERSON_ERASED' }))
      : Promise.resolve(`sealed ${JSON.stringify([id, aad])} ${Buffer.from(text).toString('hex')}`),
  decrypt: (id, text, aad) => {
    const [, place, hex] = /^sealed (\[.*\]) (\w+)$/.exec(text)!;
    if (place !== JSON.stringify([id, aad])) throw new Error('moved');
    return Promise.resolve(forgotten ? undefined : Buffer.from(hex!, 'hex').toString());
  },
});

describe('the address a command came from', () => {
  it('is sealed for the acting person and opened again', async () => {
    const stored = await encodeMetadata(metadata(person, '203.0.113.9'), cipher());
    expect(JSON.stringify(stored)).not.toContain('203.0.113.9');
    expect(await openOrigin(stored.origin, person, cipher())).toBe('203.0.113.9');
    await expect(openOrigin(stored.origin, randomUUID(), cipher())).rejects.toThrow('moved');
  });

  it('reads as nothing once the person is forgotten, and is not kept of nobody or of the forgotten', async () => {
    const stored = await encodeMetadata(metadata(person, '203.0.113.9'), cipher());
    expect(await openOrigin(stored.origin, person, cipher(true))).toBeNull();
    expect(await encodeMetadata(metadata(null, '203.0.113.9'), cipher())).not.toHaveProperty('origin');
    expect(await encodeMetadata(metadata(person, '203.0.113.9'), cipher(true))).not.toHaveProperty('origin');
  });
});

it('what may be missing of somebody who was forgotten meanwhile is left out; what may not fails', async () => {
  const refused = {
    id: randomUUID(),
    type: CommandRefused.type,
    data: CommandRefused.example,
    metadata: metadata(null),
  };
  expect(await encodeEvent(refused, cipher(true))).toMatchObject({ userId: CommandRefused.example.userId, ip: null });
  const registered = { ...refused, type: UserRegistered.type, data: UserRegistered.example };
  await expect(encodeEvent(registered, cipher(true))).rejects.toThrow('forgotten');
});
