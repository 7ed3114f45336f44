import { can, seesAllProjects } from '#libs/domain/index.js';
import type { Role } from '#libs/events/catalogue/index.js';
import { LruMap } from '#libs/events/log/index.js';
import { ProjectAccessRow, UserRow } from '#libs/read-models/index.js';
import type { Viewer } from './context.js';
import { isUuid, type ReadSession, type ReadStore } from './read-store.js';

interface Person {
  readonly role: Role;
  readonly active: boolean;
  readonly organisationId: string;
}

/** A cached answer is asked again after this long even when nothing told of a change, milliseconds. */
const STALE_MS = 2000;

/** Events after which somebody may see or do something else. */
export const ACCESS_EVENTS: ReadonlySet<string> = new Set([
  'UserRegistered',
  'UserRoleChanged',
  'UserDeactivated',
  'UserReactivated',
  'PersonErased',
  'ProjectCreated',
  'ProjectMemberAdded',
  'ProjectMemberRemoved',
  'StageAssigned',
  'StageUnassigned',
  'DeliverableCreated',
]);

/**
 * Who may see what, for commands, files and sockets. Answers are cached, but never older than the last change of
 * access this process knows of: its own commands and the change feed raise the floor.
 */
export class Access {
  readonly #store: ReadStore;
  #floor = 0n;
  #persons = new LruMap<string, { at: number; person: Person | null }>(10_000);
  #ties = new LruMap<string, { at: number; tied: boolean }>(50_000);

  constructor(store: ReadStore) {
    this.#store = store;
  }

  /** Access changed at this position: what was cached before is void. */
  raise(position: bigint): void {
    if (position <= this.#floor) return;
    this.#floor = position;
    this.#persons.clear();
    this.#ties.clear();
  }

  async person(userId: string): Promise<Person | null> {
    const cached = this.#persons.get(userId);
    if (cached && Date.now() - cached.at < STALE_MS) return cached.person;
    const floor = this.#floor;
    await this.#store.waitFor(floor, ['identity']);
    const row = await this.#store.manager.getRepository(UserRow).findOneBy({ id: userId });
    const person = row && { role: row.role, active: row.active, organisationId: row.organisationId };
    if (floor === this.#floor) this.#persons.set(userId, { at: Date.now(), person });
    return person;
  }

  /** Whether the id is of a person of the organisation, active or not. */
  async isPerson(userId: string, organisationId: string): Promise<boolean> {
    if (!isUuid(userId)) return false;
    const person = await this.person(userId.toLowerCase());
    return person?.organisationId === organisationId;
  }

  /** A viewer with the role they have now; null once deactivated. */
  async viewer(userId: string, organisationId: string): Promise<Viewer | null> {
    const person = await this.person(userId);
    if (!person?.active || person.organisationId !== organisationId) return null;
    return { userId, organisationId, role: person.role };
  }

  /** `project` as the log or a read model names it, with its organisation. */
  async seesProject(viewer: Viewer, project: { projectId: string; organisationId: string }): Promise<boolean> {
    if (project.organisationId !== viewer.organisationId || !can(viewer.role, 'project.read')) return false;
    if (seesAllProjects(viewer.role)) return true;
    const key = `${viewer.userId} ${project.projectId}`;
    const cached = this.#ties.get(key);
    if (cached && Date.now() - cached.at < STALE_MS) return cached.tied;
    const floor = this.#floor;
    await this.#store.waitFor(floor, ['production']);
    const tied = await this.#store.manager
      .getRepository(ProjectAccessRow)
      .existsBy({ userId: viewer.userId, projectId: project.projectId });
    if (floor === this.#floor) this.#ties.set(key, { at: Date.now(), tied });
    return tied;
  }
}

/** The same question within one snapshot, where the answer is as old as everything else in it. */
export async function seesProjectIn(
  read: ReadSession,
  viewer: Viewer,
  project: { projectId: string; organisationId: string } | null | undefined,
): Promise<boolean> {
  if (!project || project.organisationId !== viewer.organisationId || !isUuid(project.projectId)) return false;
  const person = await read.byId(UserRow, viewer.userId);
  if (!person?.active || !can(person.role, 'project.read')) return false;
  if (seesAllProjects(person.role)) return true;
  // A snapshot may be shared by several people.
  return read
    .loader<string, boolean>('project ties', async (pairs, manager) => {
      const [userIds, projectIds] = [0, 1].map((n) => pairs.map((pair) => pair.split(' ')[n]!)) as [string[], string[]];
      const rows = await manager
        .getRepository(ProjectAccessRow)
        .createQueryBuilder('a')
        .where(
          '(a.user_id, a.project_id) IN (SELECT * FROM unnest(CAST(:userIds AS uuid[]), CAST(:projectIds AS uuid[])))',
          {
            userIds,
            projectIds,
          },
        )
        .getMany();
      const tied = new Set(rows.map((r) => `${r.userId} ${r.projectId}`));
      return pairs.map((pair) => tied.has(pair));
    })
    .load(`${viewer.userId} ${project.projectId}`.toLowerCase());
}

/** A row of a project that the viewer may see, or null: what one may not see does not exist. */
export async function visible<T extends { organisationId: string }>(
  read: ReadSession,
  viewer: Viewer,
  row: T | null,
  projectId: (row: T) => string,
): Promise<T | null> {
  if (!row) return null;
  const seen = await seesProjectIn(read, viewer, { projectId: projectId(row), organisationId: row.organisationId });
  return seen ? row : null;
}
