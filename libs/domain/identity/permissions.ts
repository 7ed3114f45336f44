/** Who may do what: permissions by role, and which projects a person sees. Pure; enforced at the edge. */
import { ROLES, type Role } from '#libs/events/catalogue/index.js';

const PERSONS: readonly Role[] = ['ADMINISTRATOR', 'PRODUCER', 'ARTIST', 'REVIEWER', 'CLIENT'];
const MANAGERS: readonly Role[] = ['ADMINISTRATOR', 'PRODUCER'];
const DECIDERS: readonly Role[] = [...MANAGERS, 'REVIEWER', 'CLIENT'];
const MAKERS: readonly Role[] = [...MANAGERS, 'ARTIST'];
const SYSTEM: readonly Role[] = ['SERVICE'];

/** Every permission and the roles that have it by default. */
export const PERMISSIONS = {
  'organisation.read': [...PERSONS, ...SYSTEM],
  'organisation.manage': ['ADMINISTRATOR'],
  'user.read': [...PERSONS, ...SYSTEM],
  'user.manage': ['ADMINISTRATOR'],
  /** Forget a person for ever. Everybody but an administrator may also ask it for themselves. */
  'person.erase': ['ADMINISTRATOR'],
  'template.read': [...PERSONS, ...SYSTEM],
  'template.manage': MANAGERS,
  'project.create': MANAGERS,
  'project.read': [...PERSONS, ...SYSTEM],
  'project.update': MANAGERS,
  'project.archive': MANAGERS,
  'project.members': MANAGERS,
  'deliverable.create': MANAGERS,
  'deliverable.read': [...PERSONS, ...SYSTEM],
  'stage.assign': MANAGERS,
  /** Start, put back, hand in, hold and resume. */
  'stage.progress': MAKERS,
  /** Approve, send back, omit or bring back by hand, past the approval policy. */
  'stage.override': MANAGERS,
  /** Record on the job card what uploads and decisions did. */
  'stage.record': SYSTEM,
  'version.read': [...PERSONS, ...SYSTEM],
  'version.upload': MAKERS,
  'version.withdraw': MAKERS,
  'version.download': MAKERS,
  'comment.add': PERSONS,
  'comment.resolve': PERSONS,
  /** Take down what others wrote. */
  'comment.moderate': MANAGERS,
  'annotation.add': PERSONS,
  /** Remove and restore what others drew. */
  'annotation.moderate': ['ADMINISTRATOR'],
  /** Lay a picture or film beside a version that shows what is meant. */
  'reference.attach': MAKERS,
  /** Take away what others attached. */
  'reference.moderate': MANAGERS,
  'decision.record': DECIDERS,
  'transcode.record': SYSTEM,
  'transcode.retry': [...MAKERS, ...SYSTEM],
  /** Have a version compared with another one, or with a reference, of those they see. */
  'comparison.request': PERSONS,
  'comparison.record': SYSTEM,
  'audit.read': ['ADMINISTRATOR'],
  /** Follow events as they happen; which ones, the permissions and ties of each decide. */
  'feed.read': [...PERSONS, ...SYSTEM],
  /** Take a range of events away at once. */
  'feed.export': MANAGERS,
  /** What became of one thing: who changed what, its state at any moment. */
  'history.read': MANAGERS,
  /** Whole read models as of a moment: they are built for it. */
  'history.rebuild': ['ADMINISTRATOR'],
  'projection.manage': ['ADMINISTRATOR'],
} as const satisfies Record<string, readonly Role[]>;

export type Permission = keyof typeof PERMISSIONS;

const granted: ReadonlyMap<Role, ReadonlySet<Permission>> = new Map(
  ROLES.map((role) => [
    role,
    new Set(
      (Object.keys(PERMISSIONS) as Permission[]).filter((p) => (PERMISSIONS[p] as readonly Role[]).includes(role)),
    ),
  ]),
);

/** What a role may do. */
export const permissionsOf = (role: Role): ReadonlySet<Permission> => granted.get(role)!;

export const can = (role: Role, permission: Permission): boolean => permissionsOf(role).has(permission);

/** What ties a person to a project at this moment. Both end when they are revoked. */
export interface ProjectTies {
  readonly member: boolean;
  /** A current assignment to any stage of the project. */
  readonly assigned: boolean;
}

/** Roles that see every project of their organisation, as the system does. */
export const seesAllProjects = (role: Role): boolean => MANAGERS.includes(role) || role === 'SERVICE';

/**
 * The scope rule (RV-23) for a person and a project of the same organisation. Another organisation’s projects are
 * never asked about here: they do not exist for the caller.
 */
export const seesProject = (role: Role, ties: ProjectTies): boolean =>
  can(role, 'project.read') && (seesAllProjects(role) || ties.member || ties.assigned);
