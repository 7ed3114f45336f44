import { can, type Permission } from '#libs/domain/index.js';
import { catalogue, REDACTED, type RecordedEvent, type Role } from '#libs/events/catalogue/index.js';
import { UserRow } from '#libs/read-models/index.js';
import { seesProjectIn } from '../platform/access.js';
import type { Viewer } from '../platform/context.js';
import type { ReadStore } from '../platform/read-store.js';

interface Rule {
  readonly permission: Permission;
  /** Events belong to a project, and are for who sees it. */
  readonly project: boolean;
}

const ofProject = (permission: Permission): Rule => ({ permission, project: true });
const ofOrganisation = (permission: Permission): Rule => ({ permission, project: false });

/** Who may see the events of a stream category. A category without a rule is seen by nobody. */
export const RULES: ReadonlyMap<string, Rule> = new Map([
  ['organisation', ofOrganisation('organisation.read')],
  ['user', ofOrganisation('user.read')],
  ['pipelineTemplate', ofOrganisation('template.read')],
  ['project', ofProject('project.read')],
  ['deliverable', ofProject('deliverable.read')],
  ['versionStack', ofProject('version.read')],
  ['version', ofProject('version.read')],
  ['versionMedia', ofProject('version.read')],
  ['comparison', ofProject('version.read')],
  ['audit', ofOrganisation('audit.read')],
]);

/** As over GraphQL: names are for all, the rest for the person and those who manage people. */
const mayRead = (field: string, person: unknown, { userId, role }: { userId: string; role: Role }): boolean =>
  field === 'name' || person === userId || role === 'ADMINISTRATOR' || role === 'PRODUCER';

export const projectOf = (event: RecordedEvent): string | undefined => {
  const { projectId } = event.data as { projectId?: unknown };
  return typeof projectId === 'string' ? projectId : undefined;
};

/**
 * Those of the events that the viewer may see now, judged in one snapshot of the read models that is at least as new as the
 * newest of them. Null when the viewer may see nothing any more.
 *
 * @throws PROJECTION_BEHIND
 */
export async function visibleTo(
  viewer: Viewer,
  events: readonly RecordedEvent[],
  store: ReadStore,
  permission: Permission,
): Promise<{ readonly events: readonly RecordedEvent[]; readonly role: Role } | null> {
  const read = store.session();
  try {
    await read.require(events.at(-1)?.position.toString());
    const person = await read.byId(UserRow, viewer.userId);
    if (!person?.active || person.organisationId !== viewer.organisationId || !can(person.role, permission))
      return null;
    const { role } = person;
    const seen = await Promise.all(
      events.map(async (event) => {
        const { organisationId } = event.metadata;
        const rule = RULES.get(catalogue.get(event.type)?.category ?? '');
        if (!rule || organisationId !== viewer.organisationId || !can(role, rule.permission)) return false;
        if (!rule.project) return true;
        const projectId = projectOf(event);
        return projectId !== undefined && seesProjectIn(read, { ...viewer, role }, { projectId, organisationId });
      }),
    );
    return { events: events.filter((_, i) => seen[i]), role };
  } finally {
    await read.release();
  }
}

/**
 * The event with the personal fields that the viewer may read; `open` gives it with all of them in the clear. What may not
 * be read, and what was erased, is `[redacted]`.
 */
export async function withPersonalFields(
  event: RecordedEvent,
  viewer: { userId: string; role: Role },
  open: (event: RecordedEvent) => Promise<RecordedEvent | undefined>,
): Promise<RecordedEvent> {
  const data = event.data as Record<string, unknown>;
  const personal = Object.entries(catalogue.get(event.type)?.personal ?? {}).filter(([field]) => data[field] !== null);
  const readable = personal.filter(([field, person]) => mayRead(field, data[person], viewer));
  const clear = readable.length > 0 ? ((await open(event))?.data as Record<string, unknown> | undefined) : undefined;
  if (personal.length === 0) return event;
  const shown = { ...data };
  for (const [field] of personal) shown[field] = REDACTED;
  for (const [field] of readable) shown[field] = clear?.[field] ?? REDACTED;
  return { ...event, data: shown };
}
