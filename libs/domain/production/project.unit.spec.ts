import { command, given, OTHER_ORGANISATION, people, uuid } from '../testing.js';
import { projectDecider } from './project.js';

const projectId = uuid(1);
const { userId } = people.client;
const create = command('CreateProject', { projectId, name: 'Harbour at Dawn', code: 'HARBOUR', templateId: null });
const rename = command('RenameProject', { projectId, name: 'Harbour at Dusk' });
const archive = command('ArchiveProject', { projectId });
const join = command('AddProjectMember', { projectId, userId });
const leave = command('RemoveProjectMember', { projectId, userId });

describe('a project', () => {
  it('begins once', () => {
    given(projectDecider)
      .when(create)
      .then({ type: 'ProjectCreated', data: { code: 'HARBOUR', templateId: null } });
    given(projectDecider, [create]).when(create).thenRefused('ALREADY_EXISTS');
  });

  it('is renamed, and the event keeps both names', () => {
    given(projectDecider, [create])
      .when(rename)
      .then({ type: 'ProjectRenamed', data: { from: 'Harbour at Dawn', to: 'Harbour at Dusk' } });
    given(projectDecider, [create, rename]).when(rename).thenNothing();
  });

  it('has members who come and go', () => {
    given(projectDecider, [create]).when(join).then({ type: 'ProjectMemberAdded', data: { userId } });
    given(projectDecider, [create, join]).when(join).thenNothing();
    given(projectDecider, [create, join]).when(leave).then({ type: 'ProjectMemberRemoved', data: { userId } });
    given(projectDecider, [create, join, leave]).when(leave).thenNothing();
  });

  it('can only be read once archived, but people can still be shut out', () => {
    given(projectDecider, [create]).when(archive).then({ type: 'ProjectArchived' });
    const archived = given(projectDecider, [create, join, archive]);
    archived.when(archive).thenNothing();
    archived.when(rename).thenRefused('PROJECT_ARCHIVED');
    archived.when(join).thenRefused('PROJECT_ARCHIVED');
    archived.when(leave).then({ type: 'ProjectMemberRemoved' });
  });

  it('does not exist before it begins, nor for another organisation', () => {
    for (const each of [rename, archive, join, leave]) {
      given(projectDecider).when(each).thenRefused('NOT_FOUND');
      given(projectDecider, [create])
        .when({ ...each, meta: { ...each.meta, organisationId: OTHER_ORGANISATION } })
        .thenRefused('NOT_FOUND');
    }
  });
});
