import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deriveCommandId } from '#libs/events/catalogue/index.js';
import { makeClip } from '#libs/media/testmedia.js';
import { loadConfig, setupToken } from '#libs/runtime/index.js';
import { ApiClient } from './api-client.js';
import type { DemoContext, DemoResult } from './demo-hook.js';

interface Person {
  readonly key: string;
  readonly name: string;
  readonly role: string;
  readonly does: string;
}

/** The studio's people. The first founds it. */
const PEOPLE: readonly Person[] = [
  { key: 'maya', name: 'Maya Lindqvist', role: 'ADMINISTRATOR', does: 'manager' },
  { key: 'sam', name: 'Sam Okafor', role: 'ARTIST', does: 'shooter' },
  { key: 'eli', name: 'Eli Novak', role: 'ARTIST', does: 'editor' },
  { key: 'chris', name: 'Chris Harbour', role: 'CLIENT', does: 'client' },
  { key: 'cora', name: 'Cora Silva', role: 'ARTIST', does: 'colourist' },
];

const STAGES = [
  {
    key: 'ingest',
    name: 'Ingest',
    completesOn: 'UPLOAD',
    labels: [
      { state: 'READY', label: 'Waiting for footage' },
      { state: 'APPROVED', label: 'Ingested' },
    ],
  },
  {
    key: 'edit',
    name: 'Edit',
    dependsOn: ['ingest'],
    approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
    labels: [
      { state: 'READY', label: 'Ready for edit' },
      { state: 'IN_REVIEW', label: 'Ready for review' },
      { state: 'CHANGES_REQUESTED', label: 'Revision needed' },
      { state: 'APPROVED', label: 'Final' },
    ],
  },
  {
    key: 'colour',
    name: 'Colour',
    dependsOn: ['edit'],
    approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
    labels: [{ state: 'READY', label: 'Ready for colour' }],
  },
];

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
const CLIP = { seconds: 6, width: 1920, height: 1080, startTimecode: '01:00:00:00' };
const STEPS = 16;

/**
 * One studio with a real clip, from the shoot to the hand-off, made by five people at the public API: the relay of
 * RV-22. Every command id follows from one seed, so that an interrupted start goes on where it was.
 */
export async function seedDemo(context: DemoContext): Promise<DemoResult> {
  const { apiUrl, report, remember, signal, workDir } = context;
  const seed = String(context.memory['seed'] ?? randomUUID());
  const passwords = (context.memory['passwords'] ??
    Object.fromEntries(PEOPLE.map((p) => [p.key, randomBytes(9).toString('base64url')]))) as Record<string, string>;
  remember({ seed, passwords });
  let done = 0;
  const step = (text: string) => report({ text, done: done++, total: STEPS });
  const commandId = (name: string) => deriveCommandId(seed, name);
  const emailOf = (person: Person) => `${person.key}@demo.picturelock.example`;
  const guest = new ApiClient(apiUrl, signal);
  const [founder, ...others] = PEOPLE as [Person, ...Person[]];

  step('founding the studio');
  await guest.graphql(
    `mutation ($input: FoundOrganisationInput!) { foundOrganisation(input: $input) { position ${ERRORS} } }`,
    {
      input: {
        commandId: commandId('found'),
        setupToken: setupToken(loadConfig(context.env).keys.master),
        name: 'Northlight Pictures',
        administrator: { email: emailOf(founder), name: founder.name, password: passwords[founder.key] },
      },
    },
  );
  const signIn = (person: Person) => guest.login(emailOf(person), passwords[person.key]!);
  const maya = await signIn(founder);

  step('inviting the people');
  const userIds: Record<string, string> = {};
  for (const person of others) {
    const { registerUser } = await maya.graphql<{ registerUser: { user: { id: string } } }>(
      `mutation ($input: RegisterUserInput!) { registerUser(input: $input) { user { id } ${ERRORS} } }`,
      {
        input: {
          commandId: commandId(`register ${person.key}`),
          email: emailOf(person),
          name: person.name,
          role: person.role,
          password: passwords[person.key],
        },
      },
    );
    userIds[person.key] = registerUser.user.id;
  }
  const clients = await Promise.all(others.map(signIn));
  const [sam, eli, chris] = clients as [ApiClient, ApiClient, ApiClient, ApiClient];

  step('planning the spot');
  const { createPipelineTemplate } = await maya.graphql<{
    createPipelineTemplate: { pipelineTemplate: { id: string } };
  }>(
    `mutation ($input: CreatePipelineTemplateInput!) {
       createPipelineTemplate(input: $input) { pipelineTemplate { id } ${ERRORS} } }`,
    { input: { commandId: commandId('template'), name: 'Commercial', stages: STAGES } },
  );
  const { createProject } = await maya.graphql<{ createProject: { project: { id: string } } }>(
    `mutation ($input: CreateProjectInput!) { createProject(input: $input) { project { id } ${ERRORS} } }`,
    {
      input: {
        commandId: commandId('project'),
        name: 'Harbour at Dawn',
        code: 'HARBOUR',
        templateId: createPipelineTemplate.pipelineTemplate.id,
      },
    },
  );
  const projectId = createProject.project.id;
  const { createDeliverable } = await maya.graphql<{
    createDeliverable: { deliverable: { stages: { id: string; key: string }[] } };
  }>(
    `mutation ($input: CreateDeliverableInput!) {
       createDeliverable(input: $input) { deliverable { stages { id key } } ${ERRORS} } }`,
    { input: { commandId: commandId('deliverable'), projectId, name: '30 second spot' } },
  );
  const stageOf = (key: string) => createDeliverable.deliverable.stages.find((s) => s.key === key)!.id;
  const assign = (stage: string, person: string) =>
    maya.graphql(`mutation ($input: StageAssignmentInput!) { assignStage(input: $input) { position ${ERRORS} } }`, {
      input: { commandId: commandId(`assign ${stage}`), stageId: stageOf(stage), userId: userIds[person] },
    });
  await maya.graphql(
    `mutation ($input: ProjectMemberInput!) { addProjectMember(input: $input) { position ${ERRORS} } }`,
    {
      input: { commandId: commandId('member'), projectId, userId: userIds['chris'] },
    },
  );
  await assign('ingest', 'sam');

  const work = join(workDir, 'demo');
  await mkdir(work, { recursive: true });
  try {
    const submit = async (who: ApiClient, stage: string, clip: string, filename: string, note: string) => {
      step(`uploading ${filename}`);
      // An upload that an interrupted start has finished is remembered: the repeated command names the same one.
      const memo = `upload ${filename}`;
      const uploadId = String(context.memory[memo] ?? (await who.upload(clip, filename)));
      remember({ [memo]: uploadId });
      const { addVersion } = await who.graphql<{ addVersion: { version: { id: string } } }>(
        `mutation ($input: AddVersionInput!) { addVersion(input: $input) { version { id } ${ERRORS} } }`,
        { input: { commandId: commandId(`add ${filename}`), stageId: stageOf(stage), uploadId, note } },
      );
      return addVersion.version.id;
    };
    const ready = async (who: ApiClient, versionId: string, what: string) => {
      step(what);
      for (;;) {
        const { version } = await who.graphql<{
          version: { media: { status: string; failure: { reason: string } | null } };
        }>(`query ($id: ID!) { version(id: $id) { media { status failure { reason } } } }`, { id: versionId });
        if (version.media.status === 'READY') return;
        if (version.media.status === 'FAILED')
          throw new Error(`The demo clip failed: ${version.media.failure?.reason}`);
        await sleep(250, undefined, { signal });
      }
    };
    const inState = async (stage: string, state: string) => {
      for (;;) {
        const answer = await maya.graphql<{ stage: { state: string } }>(
          `query ($id: ID!) { stage(id: $id) { state } }`,
          {
            id: stageOf(stage),
          },
        );
        if (answer.stage.state === state) return;
        await sleep(50, undefined, { signal });
      }
    };
    const comment = (who: ApiClient, name: string, input: Record<string, unknown>) =>
      who.graphql<{ addComment: { comment: { id: string } } }>(
        `mutation ($input: AddCommentInput!) { addComment(input: $input) { comment { id } ${ERRORS} } }`,
        { input: { commandId: commandId(name), ...input } },
      );
    const decide = (who: ApiClient, name: string, versionId: string, verdict: string, text: string) =>
      who.graphql(`mutation ($input: RecordDecisionInput!) { recordDecision(input: $input) { position ${ERRORS} } }`, {
        input: { commandId: commandId(name), versionId, verdict, text },
      });

    step('shooting the harbour (rendering a test clip)');
    const rushes = join(work, 'rushes.mov');
    await makeClip(rushes, { ...CLIP, seconds: 2, width: 1280, height: 720, signal });
    await submit(sam, 'ingest', rushes, 'A001_C004_harbour.mov', 'Dawn, take 4');
    await inState('edit', 'READY');
    await assign('edit', 'eli');

    step('cutting version 1');
    const cut1 = join(work, 'v1.mov');
    await makeClip(cut1, { ...CLIP, signal });
    const v1 = await submit(eli, 'edit', cut1, 'harbour_edit_v1.mov', 'First assembly, temp music');
    await ready(eli, v1, 'transcoding version 1');
    await inState('edit', 'IN_REVIEW');

    step('the client looks at it');
    const { addComment } = await comment(chris, 'horizon', {
      versionId: v1,
      text: 'The horizon tilts here. Can we level it?',
      range: { in: 52, out: 60 },
      annotations: [
        {
          shape: { kind: 'ARROW', from: { x: 0.18, y: 0.62 }, to: { x: 0.42, y: 0.5 } },
          colour: '#ff453a',
          strokeWidth: 0.006,
        },
      ],
    });
    await comment(eli, 'answer', {
      versionId: v1,
      parentId: addComment.comment.id,
      text: 'Yes, levelling it in the next round.',
    });
    await comment(chris, 'logo', {
      versionId: v1,
      text: 'Keep clear of the logo area.',
      range: { in: 120, out: 120 },
      annotations: [
        {
          shape: { kind: 'RECTANGLE', x: 0.66, y: 0.08, width: 0.26, height: 0.2 },
          colour: '#ffd60a',
          strokeWidth: 0.004,
        },
      ],
    });
    await decide(chris, 'revise', v1, 'CHANGES_REQUESTED', 'Level the horizon and keep the logo area free.');
    await inState('edit', 'CHANGES_REQUESTED');

    step('cutting version 2');
    const cut2 = join(work, 'v2.mov');
    await makeClip(cut2, { ...CLIP, hue: 30, signal });
    const v2 = await submit(eli, 'edit', cut2, 'harbour_edit_v2.mov', 'Horizon levelled, logo area free');
    await ready(eli, v2, 'transcoding version 2');
    await inState('edit', 'IN_REVIEW');
    step('the client approves');
    await comment(chris, 'praise', { versionId: v2, text: 'Lovely. This is the one.', range: { in: 96, out: 96 } });
    await decide(chris, 'approve', v2, 'APPROVED', '');
    await inState('colour', 'READY');
    step('handing off to the colourist');
    await assign('colour', 'cora');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return {
    path: `/stacks/${stageOf('edit')}`,
    logins: PEOPLE.map((person) => ({
      name: `${person.name} (${person.does})`,
      email: emailOf(person),
      password: passwords[person.key]!,
      role: person.role,
    })),
  };
}
