import { ROLES } from '#libs/events/catalogue/index.js';
import { organisationDecider } from './organisation.js';
import { can, PERMISSIONS, permissionsOf, seesProject, type Permission } from './permissions.js';
import { userDecider } from './user.js';
import { command, given, ORGANISATION, OTHER_ORGANISATION, people, system } from '../testing.js';

const elsewhere = { organisationId: OTHER_ORGANISATION };
const created = command('CreateOrganisation', { organisationId: ORGANISATION, name: 'Northlight' }, system);

describe('an organisation', () => {
  it('begins once', () => {
    given(organisationDecider)
      .when(created)
      .then({ type: 'OrganisationCreated', data: { name: 'Northlight' } });
    given(organisationDecider, [created]).when(created).thenRefused('ALREADY_EXISTS');
  });

  it('is created in its own envelope only', () => {
    const other = command('CreateOrganisation', { organisationId: ORGANISATION, name: 'X' }, system, elsewhere);
    given(organisationDecider).when(other).thenRefused('NOT_FOUND');
    given(organisationDecider, [created]).when(other).thenRefused('NOT_FOUND');
  });
});

describe('a person', () => {
  const { userId } = people.artist;
  const who = {
    userId,
    organisationId: ORGANISATION,
    email: 'ada@northlight.example',
    name: 'Ada',
    role: 'ARTIST',
  } as const;
  const registered = command('RegisterUser', who);
  const deactivated = command('DeactivateUser', { userId, reason: 'Contract ended' });
  const promoted = command('ChangeUserRole', { userId, role: 'PRODUCER' });
  const reactivated = command('ReactivateUser', { userId });

  it('joins once', () => {
    given(userDecider).when(registered).then({ type: 'UserRegistered', data: who });
    given(userDecider, [registered]).when(registered).thenRefused('ALREADY_EXISTS');
  });

  it('joins only the organisation that asks', () => {
    given(userDecider)
      .when(command('RegisterUser', who, people.administrator, elsewhere))
      .thenRefused('NOT_FOUND');
  });

  it('cannot be registered as the system itself, or with what is no e-mail address', () => {
    // @ts-expect-error the type says so too
    expect(() => command('RegisterUser', { ...who, role: 'SERVICE' })).toThrow();
    expect(() => command('RegisterUser', { ...who, email: 'ada' })).toThrow();
  });

  it('changes role, and the event says from what', () => {
    given(userDecider, [registered])
      .when(promoted)
      .then({ type: 'UserRoleChanged', data: { from: 'ARTIST', to: 'PRODUCER' } });
    given(userDecider, [registered, promoted]).when(promoted).thenNothing();
  });

  it('leaves and comes back', () => {
    given(userDecider, [registered])
      .when(deactivated)
      .then({ type: 'UserDeactivated', data: { reason: 'Contract ended' } });
    given(userDecider, [registered, deactivated]).when(deactivated).thenNothing();
    given(userDecider, [registered, deactivated]).when(promoted).thenRefused('USER_DEACTIVATED');
    given(userDecider, [registered, deactivated]).when(reactivated).then({ type: 'UserReactivated' });
    given(userDecider, [registered]).when(reactivated).thenNothing();
  });

  it('does not change their own role or account', () => {
    const self = people.artist;
    given(userDecider, [registered])
      .when(command('ChangeUserRole', promoted.data, self))
      .thenRefused('OWN_ACCOUNT');
    given(userDecider, [registered])
      .when(command('DeactivateUser', deactivated.data, self))
      .thenRefused('OWN_ACCOUNT');
  });

  const erased = command('ErasePerson', { userId });

  it('is forgotten once and for ever, by an administrator or by their own wish', () => {
    for (const actor of [people.administrator, people.artist])
      given(userDecider, [registered])
        .when(command('ErasePerson', erased.data, actor))
        .then({ type: 'PersonErased', data: { userId, organisationId: ORGANISATION } });
    given(userDecider, [registered, deactivated]).when(erased).then({ type: 'PersonErased' });
    given(userDecider, [registered, erased]).when(erased).thenNothing();
    for (const each of [promoted, deactivated, reactivated])
      given(userDecider, [registered, erased]).when(each).thenRefused('PERSON_ERASED');
    given(userDecider, [registered, erased]).when(registered).thenRefused('ALREADY_EXISTS');
  });

  it('who is an administrator is not forgotten by their own wish', () => {
    const chief = command('RegisterUser', { ...who, role: 'ADMINISTRATOR' });
    given(userDecider, [chief])
      .when(command('ErasePerson', { userId }, { userId, role: 'ADMINISTRATOR' }))
      .thenRefused('OWN_ACCOUNT');
    given(userDecider, [chief]).when(erased).then({ type: 'PersonErased' });
  });

  it('does not exist before joining, nor for another organisation', () => {
    for (const each of [promoted, deactivated, reactivated, erased]) {
      given(userDecider).when(each).thenRefused('NOT_FOUND');
      given(userDecider, [registered])
        .when({ ...each, meta: { ...each.meta, ...elsewhere } })
        .thenRefused('NOT_FOUND');
    }
  });
});

describe('permissions', () => {
  const all = Object.keys(PERMISSIONS) as Permission[];

  it('are at least twenty, each had by somebody', () => {
    expect(all.length).toBeGreaterThanOrEqual(20);
    for (const permission of all) expect(ROLES.some((role) => can(role, permission))).toBe(true);
  });

  it('are the same asked one by one and by role', () => {
    for (const role of ROLES) {
      expect([...permissionsOf(role)].sort()).toEqual(all.filter((permission) => can(role, permission)).sort());
    }
  });

  it.each([
    ['CLIENT', 'decision.record', true],
    ['CLIENT', 'comment.add', true],
    ['CLIENT', 'version.upload', false],
    ['CLIENT', 'stage.assign', false],
    ['CLIENT', 'audit.read', false],
    ['REVIEWER', 'decision.record', true],
    ['REVIEWER', 'user.manage', false],
    ['ARTIST', 'version.upload', true],
    ['ARTIST', 'decision.record', false],
    ['ARTIST', 'stage.override', false],
    ['PRODUCER', 'stage.assign', true],
    ['PRODUCER', 'comment.moderate', true],
    ['PRODUCER', 'user.manage', false],
    ['ADMINISTRATOR', 'user.manage', true],
    ['ADMINISTRATOR', 'projection.manage', true],
    ['ADMINISTRATOR', 'stage.record', false],
    ['SERVICE', 'stage.record', true],
    ['SERVICE', 'decision.record', false],
  ] as const)('%s and %s: %s', (role, permission, expected) => {
    expect(can(role, permission)).toBe(expected);
  });

  it('show managers every project, others only what they are tied to (RV-23)', () => {
    const none = { member: false, assigned: false };
    for (const role of ['ADMINISTRATOR', 'PRODUCER', 'SERVICE'] as const) expect(seesProject(role, none)).toBe(true);
    for (const role of ['ARTIST', 'REVIEWER', 'CLIENT'] as const) {
      expect(seesProject(role, none)).toBe(false);
      expect(seesProject(role, { ...none, member: true })).toBe(true);
      expect(seesProject(role, { ...none, assigned: true })).toBe(true);
    }
  });

  it('never name somebody twice in a role list', () => {
    for (const roles of Object.values(PERMISSIONS)) expect(new Set(roles).size).toBe(roles.length);
  });
});
