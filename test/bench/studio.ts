import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiClient } from '#apps/studio/api-client.js';
import { makeClip } from '#libs/media/testmedia.js';
import { loadConfig, setupToken } from '#libs/runtime/index.js';
import type { TestStack } from '../support/stack.js';

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
const CLIP = 'tiny.mov';

/** A studio on a running stack: one administrator, one client, a project, and as many reviewed stages as wanted. */
export interface Studio {
  readonly admin: ApiClient;
  /** A member of the project with the role CLIENT. */
  readonly client: ApiClient;
  readonly projectId: string;
  /** A deliverable with one stage, `edit`, that the client's approval completes. */
  addStack(name: string): Promise<{ deliverableId: string; stackId: string }>;
  /** Uploads a tiny clip by tus; the id of the finished upload. */
  upload(): Promise<string>;
  /** A stack with its first version, transcoded or not yet. */
  addVersion(name: string): Promise<{ stackId: string; versionId: string }>;
  /** Waits until the review copies of all of them are there. @throws when one failed */
  transcoded(versionIds: readonly string[], signal?: AbortSignal): Promise<void>;
  /** Removes what lies on disk. */
  close(): Promise<void>;
}

/** Founds a studio over the public API. */
export async function foundStudio(stack: Pick<TestStack, 'apiUrl' | 'env'>): Promise<Studio> {
  const password = randomBytes(12).toString('base64url');
  const guest = new ApiClient(stack.apiUrl);
  await guest.graphql(
    `mutation ($input: FoundOrganisationInput!) { foundOrganisation(input: $input) { position ${ERRORS} } }`,
    {
      input: {
        setupToken: setupToken(loadConfig(stack.env).keys.master),
        name: 'Measured Pictures',
        administrator: { email: 'admin@studio.example', name: 'Ada Administrator', password },
      },
    },
  );
  const admin = await guest.login('admin@studio.example', password);
  const { registerUser } = await admin.graphql<{ registerUser: { user: { id: string } } }>(
    `mutation ($input: RegisterUserInput!) { registerUser(input: $input) { user { id } ${ERRORS} } }`,
    { input: { email: 'client@studio.example', name: 'Chris Client', role: 'CLIENT', password } },
  );
  const client = await guest.login('client@studio.example', password);
  const { createPipelineTemplate } = await admin.graphql<{
    createPipelineTemplate: { pipelineTemplate: { id: string } };
  }>(
    `mutation ($input: CreatePipelineTemplateInput!) {
       createPipelineTemplate(input: $input) { pipelineTemplate { id } ${ERRORS} } }`,
    {
      input: {
        name: 'Review',
        stages: [{ key: 'edit', name: 'Edit', approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] } }],
      },
    },
  );
  const { createProject } = await admin.graphql<{ createProject: { project: { id: string } } }>(
    `mutation ($input: CreateProjectInput!) { createProject(input: $input) { project { id } ${ERRORS} } }`,
    { input: { name: 'Figures', code: 'FIG', templateId: createPipelineTemplate.pipelineTemplate.id } },
  );
  const projectId = createProject.project.id;
  await admin.graphql(
    `mutation ($input: ProjectMemberInput!) { addProjectMember(input: $input) { position ${ERRORS} } }`,
    { input: { projectId, userId: registerUser.user.id } },
  );
  const folder = await mkdtemp(join(tmpdir(), 'picturelock-clip-'));
  const clip = join(folder, CLIP);
  await makeClip(clip, { frames: 48, width: 128, height: 72, audioChannels: 0 });

  const upload = () => admin.upload(clip, CLIP);
  const addStack: Studio['addStack'] = async (name) => {
    const { createDeliverable } = await admin.graphql<{
      createDeliverable: { deliverable: { id: string; stages: { id: string }[] } };
    }>(
      `mutation ($input: CreateDeliverableInput!) {
         createDeliverable(input: $input) { deliverable { id stages { id } } ${ERRORS} } }`,
      { input: { projectId, name } },
    );
    const { id, stages } = createDeliverable.deliverable;
    return { deliverableId: id, stackId: stages[0]!.id };
  };
  return {
    admin,
    client,
    projectId,
    upload,
    addStack,
    addVersion: async (name) => {
      const { stackId } = await addStack(name);
      const { addVersion } = await admin.graphql<{ addVersion: { version: { id: string } } }>(
        `mutation ($input: AddVersionInput!) { addVersion(input: $input) { version { id } ${ERRORS} } }`,
        { input: { stageId: stackId, uploadId: await upload(), note: '' } },
      );
      return { stackId, versionId: addVersion.version.id };
    },
    transcoded: async (versionIds, signal) => {
      for (const id of versionIds)
        for (;;) {
          const { version } = await admin.graphql<{
            version: { media: { status: string; failure: { reason: string } | null } };
          }>(`query ($id: ID!) { version(id: $id) { media { status failure { reason } } } }`, { id });
          if (version.media.status === 'READY') break;
          if (version.media.status === 'FAILED') throw new Error(`a clip failed: ${version.media.failure?.reason}`);
          await sleep(200, undefined, { signal });
        }
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}
