import { z } from 'zod';
import { EXAMPLE, id, role } from './common.js';
import { defineEvent, personal, type EventsOf } from './define.js';

const context = 'identity' as const;

export const OrganisationCreated = defineEvent({
  type: 'OrganisationCreated',
  context,
  category: 'organisation',
  description: 'A studio begins.',
  schema: z.object({ organisationId: id, name: z.string().min(1).max(200) }),
  example: { organisationId: EXAMPLE.organisation, name: 'Northlight Pictures' },
});
export const UserRegistered = defineEvent({
  type: 'UserRegistered',
  context,
  category: 'user',
  description: 'A person joins an organisation. Name and e-mail are encrypted under the person’s own key.',
  schema: z.object({
    userId: id,
    organisationId: id,
    email: personal('userId', z.string().min(3).max(320)),
    name: personal('userId', z.string().min(1).max(200)),
    role,
  }),
  example: {
    userId: EXAMPLE.user,
    organisationId: EXAMPLE.organisation,
    email: 'ada@northlight.example',
    name: 'Ada Quill',
    role: 'PRODUCER',
  },
});
export const UserRoleChanged = defineEvent({
  type: 'UserRoleChanged',
  context,
  category: 'user',
  description: 'A person’s role in the organisation changes.',
  schema: z.object({ userId: id, organisationId: id, from: role, to: role }),
  example: { userId: EXAMPLE.user, organisationId: EXAMPLE.organisation, from: 'ARTIST', to: 'PRODUCER' },
});
export const UserDeactivated = defineEvent({
  type: 'UserDeactivated',
  context,
  category: 'user',
  description: 'A person can no longer sign in; what they did stays.',
  schema: z.object({ userId: id, organisationId: id, reason: z.string().max(2000) }),
  example: { userId: EXAMPLE.user, organisationId: EXAMPLE.organisation, reason: 'Contract ended' },
});
export const UserReactivated = defineEvent({
  type: 'UserReactivated',
  context,
  category: 'user',
  description: 'A deactivated person can sign in again.',
  schema: z.object({ userId: id, organisationId: id }),
  example: { userId: EXAMPLE.user, organisationId: EXAMPLE.organisation },
});

export const PersonErased = defineEvent({
  type: 'PersonErased',
  context,
  category: 'user',
  description:
    'A person is forgotten: their key is destroyed, and every personal field about them reads as redacted. What they did stays.',
  schema: z.object({ userId: id, organisationId: id }),
  example: { userId: EXAMPLE.user, organisationId: EXAMPLE.organisation },
});

export const organisationEvents = [OrganisationCreated] as const;
export const userEvents = [UserRegistered, UserRoleChanged, UserDeactivated, UserReactivated, PersonErased] as const;
export type OrganisationEvent = EventsOf<typeof organisationEvents>;
export type UserEvent = EventsOf<typeof userEvents>;
