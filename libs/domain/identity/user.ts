/** A person in an organisation. Stream `user-<userId>`. Credentials are no part of it. */
import { z } from 'zod';
import {
  id,
  PersonErased,
  ROLES,
  UserDeactivated,
  UserRegistered,
  type Decider,
  type Role,
  type UserEvent,
} from '#libs/events/catalogue/index.js';
import { alreadyThere, isOf, notFound, refused, type CommandsOf } from '../kit.js';

/** Roles a person can have: all but that of the system itself. */
export const personRole = z.enum(ROLES).exclude(['SERVICE']);

export const commands = {
  RegisterUser: UserRegistered.schema.extend({ email: z.email().max(320), role: personRole }),
  ChangeUserRole: z.object({ userId: id, role: personRole }),
  DeactivateUser: UserDeactivated.schema.pick({ userId: true, reason: true }),
  ReactivateUser: z.object({ userId: id }),
  ErasePerson: PersonErased.schema.pick({ userId: true }),
};
export type UserCommand = CommandsOf<typeof commands>;

export type UserState = {
  readonly userId: string;
  readonly organisationId: string;
  readonly role: Role;
  readonly active: boolean;
  /** For ever. */
  readonly erased: boolean;
} | null;

export const userDecider: Decider<UserState, UserCommand, UserEvent> = {
  category: 'user',
  initialState: null,
  decide(command, state) {
    const { meta } = command;
    if (command.type === 'RegisterUser') {
      if (state) return alreadyThere('person', state, meta);
      if (command.data.organisationId !== meta.organisationId) return notFound('organisation');
      return [{ type: 'UserRegistered', data: command.data }];
    }
    if (!isOf(state, meta)) return notFound('person');
    const ref = { userId: state.userId, organisationId: state.organisationId };
    // An administrator who drops their own role or account could leave a studio that nobody can manage.
    const own = () => refused('OWN_ACCOUNT', 'Ask another administrator to change your own account.');
    if (state.erased)
      return command.type === 'ErasePerson' ? [] : refused('PERSON_ERASED', 'This person was forgotten.');
    switch (command.type) {
      case 'ChangeUserRole': {
        const { role } = command.data;
        if (!state.active) return refused('USER_DEACTIVATED', 'This person is deactivated: reactivate first.');
        if (role === state.role) return [];
        if (meta.actor.userId === state.userId) return own();
        return [{ type: 'UserRoleChanged', data: { ...ref, from: state.role, to: role } }];
      }
      case 'DeactivateUser':
        if (!state.active) return [];
        if (meta.actor.userId === state.userId) return own();
        return [{ type: 'UserDeactivated', data: { ...ref, reason: command.data.reason } }];
      case 'ReactivateUser':
        return state.active ? [] : [{ type: 'UserReactivated', data: ref }];
      case 'ErasePerson':
        // Whoever else asks to be forgotten is; who could leave a studio without anybody to manage it asks another.
        if (meta.actor.userId === state.userId && state.role === 'ADMINISTRATOR') return own();
        return [{ type: 'PersonErased', data: ref }];
    }
  },
  evolve(state, event) {
    if (event.type === 'UserRegistered') {
      const { userId, organisationId, role } = event.data;
      return { userId, organisationId, role, active: true, erased: false };
    }
    if (!state) return state;
    switch (event.type) {
      case 'UserRoleChanged':
        return { ...state, role: event.data.to };
      case 'UserDeactivated':
        return { ...state, active: false };
      case 'UserReactivated':
        return { ...state, active: true };
      case 'PersonErased':
        return { ...state, active: false, erased: true };
      default:
        return state;
    }
  },
};
