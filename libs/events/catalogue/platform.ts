import { z } from 'zod';
import { EXAMPLE, id, role } from './common.js';
import { defineEvent, personal, type EventsOf } from './define.js';

export const CommandRefused = defineEvent({
  type: 'CommandRefused',
  context: 'platform',
  category: 'audit',
  description:
    'A command was refused and changed nothing. Written to the organisation’s audit stream of the month, never to the entity’s own stream.',
  schema: z.object({
    organisationId: id,
    commandId: id,
    commandHash: z.string(),
    commandType: z.string(),
    stream: z.string(),
    code: z.string(),
    message: z.string(),
    path: z.array(z.union([z.string(), z.number()])).nullable(),
    userId: id.nullable(),
    role,
    /** Personal: encrypted under the acting person’s key. */
    ip: personal('userId', z.string().max(100)).nullable(),
  }),
  example: {
    organisationId: EXAMPLE.organisation,
    commandId: EXAMPLE.decision,
    commandHash: '3f'.repeat(32),
    commandType: 'AddComment',
    stream: `version-${EXAMPLE.version}`,
    code: 'VERSION_LOCKED',
    message: 'This version is read-only: version 2 is current.',
    path: null,
    userId: EXAMPLE.user,
    role: 'CLIENT',
    ip: '127.0.0.1',
  },
});

export const auditEvents = [CommandRefused] as const;
export type AuditEvent = EventsOf<typeof auditEvents>;
