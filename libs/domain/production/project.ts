/** A project: one name for review, edit, archive and generation. Stream `project-<projectId>`. */
import { z } from 'zod';
import { id, ProjectCreated, type Decider, type ProjectEvent } from '#libs/events/catalogue/index.js';
import { alreadyThere, isOf, notFound, refused, type CommandsOf } from '../kit.js';
import { snapshots } from '../snapshot.js';

export const commands = {
  CreateProject: ProjectCreated.schema.omit({ organisationId: true }),
  RenameProject: ProjectCreated.schema.pick({ projectId: true, name: true }),
  ArchiveProject: z.object({ projectId: id }),
  AddProjectMember: z.object({ projectId: id, userId: id }),
  RemoveProjectMember: z.object({ projectId: id, userId: id }),
};
export type ProjectCommand = CommandsOf<typeof commands>;

export type ProjectState = {
  readonly projectId: string;
  readonly organisationId: string;
  readonly name: string;
  readonly archived: boolean;
  readonly members: ReadonlySet<string>;
} | null;

export const projectDecider: Decider<ProjectState, ProjectCommand, ProjectEvent> = {
  category: 'project',
  initialState: null,
  snapshot: snapshots(1),
  decide(command, state) {
    const { meta } = command;
    if (command.type === 'CreateProject') {
      if (state) return alreadyThere('project', state, meta);
      return [{ type: 'ProjectCreated', data: { ...command.data, organisationId: meta.organisationId } }];
    }
    if (!isOf(state, meta)) return notFound('project');
    const ref = { projectId: state.projectId, organisationId: state.organisationId };
    // A person can always be shut out, also of what is archived.
    if (command.type === 'RemoveProjectMember') {
      const { userId } = command.data;
      return state.members.has(userId) ? [{ type: 'ProjectMemberRemoved', data: { ...ref, userId } }] : [];
    }
    if (command.type === 'ArchiveProject') return state.archived ? [] : [{ type: 'ProjectArchived', data: ref }];
    if (state.archived) return refused('PROJECT_ARCHIVED', `“${state.name}” is archived and can only be read.`);
    switch (command.type) {
      case 'RenameProject': {
        const { name } = command.data;
        return name === state.name ? [] : [{ type: 'ProjectRenamed', data: { ...ref, from: state.name, to: name } }];
      }
      case 'AddProjectMember': {
        const { userId } = command.data;
        return state.members.has(userId) ? [] : [{ type: 'ProjectMemberAdded', data: { ...ref, userId } }];
      }
    }
  },
  evolve(state, event) {
    if (event.type === 'ProjectCreated') {
      const { projectId, organisationId, name } = event.data;
      return { projectId, organisationId, name, archived: false, members: new Set() };
    }
    if (!state) return state;
    switch (event.type) {
      case 'ProjectRenamed':
        return { ...state, name: event.data.to };
      case 'ProjectArchived':
        return { ...state, archived: true };
      case 'ProjectMemberAdded':
        return { ...state, members: new Set(state.members).add(event.data.userId) };
      case 'ProjectMemberRemoved':
        return { ...state, members: new Set([...state.members].filter((member) => member !== event.data.userId)) };
      default:
        return state;
    }
  },
};
