import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { getNamedType, isInputObjectType, type GraphQLInputType } from 'graphql';
import { KurrentDBClient } from '@kurrent/kurrentdb-client';
import { auditStream, type EventLog } from '#libs/events/log/index.js';
import { makeClip, makeTruncated } from '#libs/media/testmedia.js';
import { startStack, type TestStack } from '../support/stack.js';
import {
  auditEvents,
  compared,
  domainEvents,
  eventually,
  found,
  hire,
  mutationDocument,
  mutations,
  openLog,
  Person,
  plan,
  referenceTranscoded,
  queries,
  sha256,
  stateOf,
  submit,
  subscriptions,
  transcoded,
  tusRefusal,
  upload,
  type Plan,
} from './support.js';

jest.setTimeout(180_000);

/** Issue 2, “shown by” 5 and 7: what is refused says why and where, writes nothing, and is on record. */

const EDIT = [
  { key: 'edit', name: 'Edit', approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] } },
  { key: 'colour', name: 'Colour', dependsOn: ['edit'] },
];
/** Frames of the clips. */
const FRAMES = 24;

/** One studio with something of everything that has an id. */
interface Studio {
  readonly organisationId: string;
  readonly admin: Person;
  readonly editor: Person;
  readonly client: Person;
  readonly plan: Plan;
  readonly locked: string;
  readonly current: string;
  /** Upload of the editor's that is ready. */
  readonly uploadId: string;
  readonly comment: string;
  readonly annotation: string;
  readonly decision: string;
  readonly reference: string;
  readonly comparison: string;
  readonly session: string;
}

const work = mkdtempSync(join(tmpdir(), 'picturelock-refusals-'));
const clip = join(work, 'clip.mov');
let stack: TestStack;
let log: EventLog;
let mine: Studio;
let theirs: Studio;
/** Everything up to here was accepted. */
let before: bigint;

interface OnRecord {
  readonly commandId: string;
  readonly userId: string;
  readonly code: string;
  readonly path: readonly string[] | null;
}
const refusals: OnRecord[] = [];

/** Refused with this code at this field; the refusal is expected in the audit stream. */
async function refuses(person: Person, mutation: string, input: object, code: string, path: string[] | null) {
  const commandId = randomUUID();
  const errors = await person.refused(mutation, { ...input, commandId });
  expect(errors).toHaveLength(1);
  expect({ mutation, code: errors[0]!.code, path: errors[0]!.path }).toEqual({ mutation, code, path });
  refusals.push({ commandId, userId: person.id, code, path: path && path.slice(1) });
  return errors[0]!;
}

async function studio(name: string): Promise<Studio> {
  const { organisationId, admin } = await found(stack, name);
  const [editor, client] = await Promise.all([
    hire(admin, `${name}-editor`, 'ARTIST'),
    hire(admin, `${name}-client`, 'CLIENT'),
  ]);
  const made = await plan(admin, name.toUpperCase(), EDIT);
  const stageId = made.stages['edit']!;
  await admin.does('addProjectMember', { projectId: made.projectId, userId: client.id });
  await admin.does('assignStage', { stageId, userId: editor.id });
  const locked = await submit(editor, stageId, clip, `${name}-secret-v1.mov`);
  const current = await submit(editor, stageId, clip, `${name}-secret-v2.mov`);
  const added = await client.does<{ comment: { id: string; annotations: { id: string }[] } }>(
    'addComment',
    {
      versionId: current,
      text: `${name} secret words`,
      range: { in: 1, out: 2 },
      annotations: [{ shape: { kind: 'PIN', at: { x: 0.5, y: 0.5 } } }],
    },
    'comment { id annotations { id } }',
  );
  const { decision } = await client.does<{ decision: { id: string } }>(
    'recordDecision',
    { versionId: current, verdict: 'APPROVED', text: `${name} secret praise` },
    'decision { id }',
  );
  await Promise.all([transcoded(admin, locked), transcoded(admin, current), stateOf(admin, stageId, 'APPROVED')]);
  const { uploadId: laid } = await upload(editor, clip, 'look.mov');
  const { reference } = await editor.does<{ reference: { id: string } }>(
    'attachReference',
    { versionId: current, uploadId: laid, note: `${name} secret look` },
    'reference { id }',
  );
  await referenceTranscoded(admin, current);
  const { comparison } = await client.does<{ comparison: { id: string } }>(
    'compareVersions',
    { versionId: current, withVersionId: locked },
    'comparison { id }',
  );
  await compared(admin, comparison.id);
  const { uploadId } = await upload(editor, clip, 'spare.mov');
  const { sessions } = await client.read<{ sessions: { id: string }[] }>('{ sessions { id } }');
  return {
    organisationId,
    admin,
    editor,
    client,
    plan: made,
    locked,
    current,
    uploadId,
    comment: added.comment.id,
    annotation: added.comment.annotations[0]!.id,
    decision: decision.id,
    reference: reference.id,
    comparison: comparison.id,
    session: sessions[0]!.id,
  };
}

beforeAll(async () => {
  [stack] = await Promise.all([startStack(), makeClip(clip, { frames: FRAMES })]);
  log = await openLog(stack);
  mine = await studio('mine');
  theirs = await studio('theirs');
  // What follows from all this in other processes has followed.
  await Promise.all([mine, theirs].map((s) => stateOf(s.admin, s.plan.stages['colour']!, 'READY')));
  before = await log.head();
});

afterAll(async () => {
  await log?.close();
  await stack?.stop();
  rmSync(work, { recursive: true, force: true });
});

describe('input of the wrong type', () => {
  const document = mutationDocument('addComment');
  it.each<[string, object, string[]]>([
    ['a number for an id’s text', { versionId: randomUUID(), text: 5 }, ['input', 'text']],
    [
      'a fraction of a frame',
      { versionId: randomUUID(), text: 'x', range: { in: 1.5, out: 2 } },
      ['input', 'range', 'in'],
    ],
    [
      'words for a frame',
      { versionId: randomUUID(), text: 'x', range: { in: 1, out: 'two' } },
      ['input', 'range', 'out'],
    ],
    ['a field that is missing', { text: 'x' }, ['input', 'versionId']],
    ['a field that does not exist', { versionId: randomUUID(), text: 'x', admin: true }, ['input', 'admin']],
    ['a list that is none', { versionId: randomUUID(), text: 'x', mentions: { a: 1 } }, ['input', 'mentions', '0']],
    [
      'a shape that is none',
      { versionId: randomUUID(), text: 'x', annotations: [{ shape: { kind: 'BLOB' } }] },
      ['input', 'annotations', '0', 'shape', 'kind'],
    ],
  ])('%s', async (_, input, path) => {
    const answer = await mine.client.ask(document, { input });
    expect(answer.status).toBe(400);
    expect(answer.data ?? null).toBeNull();
    expect(answer.errors![0]!.extensions).toMatchObject({ code: 'BAD_USER_INPUT' });
    expect(answer.errors![0]!.extensions!.path?.slice(0, 2)).toEqual(path.slice(0, 2));
    if (!path.includes('mentions')) expect(answer.errors![0]!.extensions!.path).toEqual(path);
  });

  it('in a query', async () => {
    const { status, errors } = await mine.admin.ask('query ($id: ID!) { project(id: $id) { id } }', { id: { a: 1 } });
    expect([status, errors?.[0]?.extensions]).toEqual([400, { code: 'BAD_USER_INPUT', path: ['id'] }]);
    const position = await mine.admin.ask('query ($at: Position) { position(atLeast: $at) }', { at: 'soon' });
    expect(position.errors?.[0]?.extensions).toEqual({ code: 'BAD_USER_INPUT', path: ['at'] });
    for (const [query, path] of [
      ['{ projects(first: 201) { totalCount } }', 'first'],
      ['{ projects(last: -1) { totalCount } }', 'last'],
      ['{ projects(after: "?") { totalCount } }', 'after'],
      ['{ projects(first: 1, last: 1) { totalCount } }', 'last'],
    ] as const) {
      const page = await mine.admin.ask(query);
      expect(page.errors?.[0]?.extensions).toEqual({ code: 'INVALID_PAGE', path: [path] });
    }
  });

  it('that only the domain can tell', async () => {
    const { client, admin, current, plan: made } = mine;
    const at = { versionId: current, text: 'x' };
    const pin = (x: number, more: object = {}) => ({
      ...at,
      annotations: [{ shape: { kind: 'PIN', at: { x, y: 0.5 } }, ...more }],
    });
    await refuses(client, 'addComment', pin(1.5), 'INVALID_INPUT', 'input annotations 0 shape at x'.split(' '));
    await refuses(
      client,
      'addComment',
      pin(0.5, { colour: 'red' }),
      'INVALID_INPUT',
      'input annotations 0 style colour'.split(' '),
    );
    await refuses(client, 'addComment', { ...at, range: { in: -1, out: 2 } }, 'INVALID_INPUT', [
      'input',
      'range',
      'in',
    ]);
    await refuses(admin, 'createProject', { name: '', code: 'X' }, 'INVALID_INPUT', ['input', 'name']);
    await refuses(admin, 'renameProject', { projectId: made.projectId, name: '' }, 'INVALID_INPUT', ['input', 'name']);
    await refuses(
      admin,
      'createPipelineTemplate',
      {
        name: 'Round',
        stages: [
          { key: 'a', name: 'A', dependsOn: ['b'] },
          { key: 'b', name: 'B', dependsOn: ['a'] },
        ],
      },
      'PIPELINE_CYCLE',
      ['input', 'stages', '1', 'dependsOn', '0'],
    );
    const person = { name: 'P', role: 'ARTIST', password: `pass ${randomUUID()}` };
    await refuses(admin, 'registerUser', { ...person, email: 'nobody' }, 'EMAIL_INVALID', ['input', 'email']);
    const answer = await client.ask(mutationDocument('addComment'), { input: { ...at, commandId: 'mine' } });
    expect(answer.errors?.[0]?.extensions).toEqual({ code: 'INVALID_COMMAND_ID', path: ['input', 'commandId'] });
  });
});

describe('what the review does not allow', () => {
  it('each has its own code and field', async () => {
    const { admin, editor, client, current, locked, comment, plan: made } = mine;
    const lockedOut = await refuses(client, 'addComment', { versionId: locked, text: 'Late' }, 'VERSION_LOCKED', null);
    expect(lockedOut).toMatchObject({
      __typename: 'VersionLocked',
      currentVersionId: current,
      currentVersionNumber: 2,
    });
    const annotation = { versionId: locked, shape: { kind: 'PIN', at: { x: 0.1, y: 0.1 } }, text: 'Late' };
    const drawn = await refuses(client, 'addAnnotation', annotation, 'VERSION_LOCKED', null);
    expect(drawn).toMatchObject({ currentVersionId: current, currentVersionNumber: 2 });
    await refuses(client, 'recordDecision', { versionId: locked, verdict: 'APPROVED' }, 'VERSION_LOCKED', null);
    for (const verdict of ['CHANGES_REQUESTED', 'REJECTED'])
      for (const text of ['', '  \n'])
        await refuses(client, 'recordDecision', { versionId: current, verdict, text }, 'TEXT_REQUIRED', [
          'input',
          'text',
        ]);
    await refuses(client, 'addComment', { versionId: current, text: ' ' }, 'TEXT_REQUIRED', ['input', 'text']);
    const out = ['input', 'range', 'out'];
    const range = (first: number, last: number) => ({ versionId: current, text: 'x', range: { in: first, out: last } });
    await refuses(client, 'addComment', range(0, FRAMES), 'FRAME_OUT_OF_RANGE', out);
    await refuses(client, 'addComment', range(2, 1), 'INVALID_RANGE', out);
    await refuses(
      client,
      'addAnnotation',
      { ...annotation, versionId: current, commentId: comment, range: { in: 0, out: 1_000_000 } },
      'FRAME_OUT_OF_RANGE',
      out,
    );
    await refuses(editor, 'recordDecision', { versionId: current, verdict: 'APPROVED' }, 'FORBIDDEN', null);
    await refuses(editor, 'editComment', { versionId: current, commentId: comment, text: 'Mine' }, 'NOT_AUTHOR', null);
    await refuses(client, 'withdrawVersion', { versionId: current, reason: 'x' }, 'FORBIDDEN', null);
    await refuses(editor, 'withdrawVersion', { versionId: current, reason: 'x' }, 'VERSION_DECIDED', null);
    await refuses(editor, 'withdrawVersion', { versionId: current, reason: ' ' }, 'TEXT_REQUIRED', ['input', 'reason']);
    await refuses(editor, 'withdrawVersion', { versionId: locked, reason: 'x' }, 'NOT_CURRENT', ['input', 'versionId']);
    await refuses(admin, 'retryTranscode', { versionId: current }, 'NOTHING_TO_RETRY', null);
    const moved = await refuses(
      admin,
      'changeStageState',
      { stageId: made.stages['edit'], to: 'BLOCKED' },
      'ILLEGAL_TRANSITION',
      ['input', 'to'],
    );
    expect(moved).toMatchObject({ __typename: 'IllegalTransition', legal: ['IN_REVIEW', 'CHANGES_REQUESTED'] });
    const colour = { stageId: made.stages['colour'] };
    await refuses(editor, 'changeStageState', { ...colour, to: 'IN_PROGRESS' }, 'NOT_ASSIGNED', ['input', 'stageId']);
    await refuses(editor, 'addVersion', { ...colour, uploadId: mine.uploadId }, 'NOT_ASSIGNED', ['input', 'stageId']);
    // An upload is its uploader's.
    const stolen = { stageId: made.stages['edit'], uploadId: mine.uploadId };
    await refuses(admin, 'addVersion', stolen, 'UPLOAD_NOT_FOUND', ['input', 'uploadId']);
    await refuses(admin, 'deactivateUser', { userId: admin.id, reason: 'tired' }, 'OWN_ACCOUNT', null);
  });

  it('a stale revision is a conflict that names the one there is', async () => {
    const { client, admin, current, plan: made } = mine;
    const { version, project } = await admin.read<{ version: { revision: number }; project: { revision: number } }>(
      'query ($v: ID!, $p: ID!) { version(id: $v) { revision } project(id: $p) { revision } }',
      { v: current, p: made.projectId },
    );
    const decided = await refuses(
      client,
      'recordDecision',
      { versionId: current, verdict: 'APPROVED', expectedRevision: version.revision - 1 },
      'CONFLICT',
      ['input', 'expectedRevision'],
    );
    expect(decided).toMatchObject({
      __typename: 'Conflict',
      expectedRevision: version.revision - 1,
      currentRevision: version.revision,
    });
    const renamed = await refuses(
      admin,
      'renameProject',
      { projectId: made.projectId, name: 'Other', expectedRevision: project.revision + 7 },
      'CONFLICT',
      ['input', 'expectedRevision'],
    );
    expect(renamed).toMatchObject({ currentRevision: project.revision });
  });
});

describe('ids of another organisation', () => {
  /** Every place in an input where an id goes, as a path; lists are entered by `0`. */
  function idsOf(type: GraphQLInputType, path: string[] = []): string[][] {
    const named = getNamedType(type);
    if (!isInputObjectType(named)) return named.name === 'ID' && path.at(-1) !== 'commandId' ? [path] : [];
    return Object.values(named.getFields()).flatMap((field) => {
      const list = String(field.type).startsWith('[');
      return idsOf(field.type, [...path, field.name, ...(list ? ['0'] : [])]);
    });
  }
  const shape = { kind: 'PIN', at: { x: 0.5, y: 0.5 } };
  /** For each mutation that takes an id: who, and an input that would be accepted. */
  const accepted: Record<string, () => [Person, Record<string, unknown>]> = {
    addAnnotation: () => [mine.client, { versionId: mine.current, commentId: mine.comment, shape }],
    addComment: () => [
      mine.client,
      { versionId: mine.current, parentId: mine.comment, text: 'Yes', mentions: [mine.editor.id] },
    ],
    addProjectMember: () => [mine.admin, { projectId: mine.plan.projectId, userId: mine.editor.id }],
    addVersion: () => [mine.editor, { stageId: mine.plan.stages['edit'], uploadId: mine.uploadId }],
    archivePipelineTemplate: () => [mine.admin, { templateId: mine.plan.templateId }],
    archiveProject: () => [mine.admin, { projectId: mine.plan.projectId }],
    assignStage: () => [mine.admin, { stageId: mine.plan.stages['edit'], userId: mine.editor.id }],
    attachReference: () => [mine.editor, { versionId: mine.current, uploadId: mine.uploadId }],
    changeStageState: () => [mine.admin, { stageId: mine.plan.stages['edit'], to: 'IN_REVIEW' }],
    changeUserRole: () => [mine.admin, { userId: mine.editor.id, role: 'PRODUCER' }],
    compareVersions: () => [
      mine.client,
      { versionId: mine.current, withVersionId: mine.current, withReferenceId: mine.reference },
    ],
    createDeliverable: () => [
      mine.admin,
      { projectId: mine.plan.projectId, templateId: mine.plan.templateId, name: 'Cutdown' },
    ],
    createPipelineTemplate: () => [
      mine.admin,
      {
        name: 'Signed off',
        stages: [{ key: 'a', name: 'A', approvalPolicy: { kind: 'ALL_REQUIRED', reviewers: [mine.client.id] } }],
      },
    ],
    createProject: () => [mine.admin, { name: 'Next', code: 'NEXT', templateId: mine.plan.templateId }],
    deactivateUser: () => [mine.admin, { userId: mine.editor.id, reason: 'left' }],
    erasePerson: () => [mine.admin, { userId: mine.editor.id }],
    deleteComment: () => [mine.client, { versionId: mine.current, commentId: mine.comment }],
    detachReference: () => [mine.editor, { versionId: mine.current, referenceId: mine.reference }],
    editComment: () => [
      mine.client,
      { versionId: mine.current, commentId: mine.comment, text: 'Else', mentions: [mine.editor.id] },
    ],
    reactivateUser: () => [mine.admin, { userId: mine.editor.id }],
    recordDecision: () => [mine.client, { versionId: mine.current, verdict: 'REJECTED', text: 'No' }],
    removeAnnotation: () => [mine.client, { versionId: mine.current, annotationId: mine.annotation }],
    removeProjectMember: () => [mine.admin, { projectId: mine.plan.projectId, userId: mine.client.id }],
    renameProject: () => [mine.admin, { projectId: mine.plan.projectId, name: 'Else' }],
    reopenComment: () => [mine.client, { versionId: mine.current, commentId: mine.comment }],
    resolveComment: () => [mine.client, { versionId: mine.current, commentId: mine.comment }],
    restoreAnnotation: () => [mine.client, { versionId: mine.current, annotationId: mine.annotation }],
    retryTranscode: () => [mine.admin, { versionId: mine.current, referenceId: mine.reference }],
    revertToVersion: () => [mine.editor, { versionId: mine.locked }],
    terminateSession: () => [mine.admin, { sessionId: mine.session }],
    unassignStage: () => [mine.admin, { stageId: mine.plan.stages['edit'], userId: mine.editor.id }],
    withdrawDecision: () => [mine.client, { versionId: mine.current, decisionId: mine.decision, reason: 'x' }],
    withdrawVersion: () => [mine.editor, { versionId: mine.current, reason: 'x' }],
  };
  const foreign = (field: string): string =>
    ({
      versionId: theirs.current,
      stageId: theirs.plan.stages['edit']!,
      projectId: theirs.plan.projectId,
      templateId: theirs.plan.templateId,
      userId: theirs.editor.id,
      mentions: theirs.editor.id,
      reviewers: theirs.client.id,
      commentId: theirs.comment,
      parentId: theirs.comment,
      annotationId: theirs.annotation,
      decisionId: theirs.decision,
      referenceId: theirs.reference,
      withVersionId: theirs.current,
      withReferenceId: theirs.reference,
      uploadId: theirs.uploadId,
      sessionId: theirs.session,
    })[field]!;
  /** What is looked for within a version that is one's own says what was not found there. */
  const CODES: Record<string, string> = {
    commentId: 'COMMENT_NOT_FOUND',
    parentId: 'COMMENT_NOT_FOUND',
    annotationId: 'ANNOTATION_NOT_FOUND',
    decisionId: 'DECISION_NOT_FOUND',
    referenceId: 'REFERENCE_NOT_FOUND',
    withReferenceId: 'REFERENCE_NOT_FOUND',
    uploadId: 'UPLOAD_NOT_FOUND',
  };
  const cases = Object.entries(mutations)
    // Whoever runs the installation does so for every organisation on it.
    .filter(([, { description }]) => !description?.startsWith('The operator’s'))
    .flatMap(([name, field]) =>
      idsOf(field.args[0]?.type ?? (field.type as GraphQLInputType)).map((path): [string, string[]] => [name, path]),
    );

  it('every mutation with an id has a case here', () => {
    expect(cases.length).toBeGreaterThan(45);
    expect(Object.keys(accepted).sort()).toEqual([...new Set(cases.map(([name]) => name))].sort());
  });

  const put = (input: Record<string, unknown>, path: string[], value: string): Record<string, unknown> => {
    const copy = structuredClone(input);
    let at = copy as Record<string, unknown>;
    for (const part of path.slice(0, -1)) at = at[part] as Record<string, unknown>;
    expect(at[path.at(-1)!]).toBeDefined();
    at[path.at(-1)!] = value;
    return copy;
  };
  /** Fields that a case has no place for, since it uses another alternative. */
  it.each(cases.map(([name, path]) => [name, path.join('.'), path] as const))('%s %s', async (name, _, path) => {
    const [person, input] = accepted[name]!();
    const field = path.findLast((part) => part !== '0')!;
    const code = CODES[field] ?? 'NOT_FOUND';
    const where = ['input', ...path];
    if (name === 'terminateSession') {
      // Sessions are no part of the log.
      const told = await person.tell<{ terminated: boolean }>(name, put(input, path, foreign(field)), 'terminated');
      expect(told).toMatchObject({ terminated: false, errors: [{ code, path: where }] });
      return;
    }
    const known = await refuses(person, name, put(input, path, foreign(field)), code, where);
    const unknown = await refuses(
      person,
      name,
      put(input, path, field === 'uploadId' ? randomBytes(16).toString('hex') : randomUUID()),
      code,
      where,
    );
    // Not to be told from what was never there.
    expect(known).toEqual(unknown);
  });

  it('queries find nothing', async () => {
    const asked: [string, string][] = [];
    for (const [name, field] of Object.entries(queries)) {
      if (!field.args.some((arg) => arg.name === 'id')) continue;
      const selection = name === 'upload' ? 'id filename state' : '__typename id';
      const ids =
        name === 'node'
          ? [
              theirs.organisationId,
              theirs.editor.id,
              theirs.plan.templateId,
              theirs.plan.projectId,
              theirs.plan.deliverableId,
              theirs.plan.stages['edit']!,
              theirs.current,
              theirs.comment,
              theirs.annotation,
              theirs.decision,
              theirs.comparison,
            ]
          : [
              {
                project: theirs.plan.projectId,
                deliverable: theirs.plan.deliverableId,
                stage: theirs.plan.stages['edit'],
                versionStack: theirs.plan.stages['edit'],
                version: theirs.current,
                comparison: theirs.comparison,
                upload: theirs.uploadId,
              }[name]!,
            ];
      for (const id of ids) {
        expect(id).toBeTruthy();
        const query = `query ($id: ID!) { ${name}(id: $id) { ${selection} } }`;
        expect(await mine.admin.ask(query, { id })).toEqual({ status: 200, data: { [name]: null } });
        const owner = name === 'upload' ? theirs.editor : theirs.admin;
        expect(await owner.ask(query, { id })).toMatchObject({ data: { [name]: { id } } });
        asked.push([name, id]);
      }
    }
    expect(asked).toHaveLength(18);
    const lists = await mine.admin.read<Record<string, unknown>>(
      '{ users { edges { node { id } } } projects { edges { node { id } } } pipelineTemplates { id } }',
    );
    for (const id of [theirs.editor.id, theirs.plan.projectId, theirs.plan.templateId])
      expect(JSON.stringify(lists)).not.toContain(id);
  });

  it('subscriptions are refused', async () => {
    const ids: Record<string, string> = {
      stackId: theirs.plan.stages['edit']!,
      projectId: theirs.plan.projectId,
      versionId: theirs.current,
      comparisonId: theirs.comparison,
    };
    for (const [name, field] of Object.entries(subscriptions)) {
      const id = field.args.find((arg) => arg.name !== 'after')?.name;
      if (!id) continue;
      const selection = name.endsWith('Progress') ? 'fraction' : 'position eventType';
      const feed = await mine.admin.follow(name, { [id]: ids[id]! }, selection);
      expect([name, await feed.ended()]).toEqual([name, expect.objectContaining({ kind: 'error', code: 'NOT_FOUND' })]);
      await feed.close();
    }
  });
});

describe('uploads that are not media', () => {
  const secret = `never to be read ${randomBytes(24).toString('hex')}`;
  const secretFile = join(work, 'secret.txt');

  /** Files under a folder that hold the bytes. */
  async function holding(folder: string, needle: string): Promise<string[]> {
    const found: string[] = [];
    for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue;
      const file = join(entry.parentPath, entry.name);
      let tail = '';
      try {
        for await (const chunk of createReadStream(file, 'latin1')) {
          const text = tail + String(chunk);
          if (text.includes(needle)) {
            found.push(file);
            break;
          }
          tail = text.slice(-needle.length);
        }
      } catch (error) {
        // Postgres recycles its files as we go.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    return found;
  }

  it('are refused by what they are, whatever their name, and read nothing else', async () => {
    await writeFile(secretFile, secret);
    const concat = `ffconcat version 1.0\nfile '${secretFile}'\nduration 2\n`;
    const files: Record<string, string> = {
      'text.mp4': 'This is a text and no film.\n'.repeat(100),
      'playlist.mp4': `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://${secretFile}\n#EXT-X-ENDLIST\n`,
      'concat.mp4': concat,
      'plain concat.mp4': concat.replace(/^.*\n/, ''),
      'remote.mp4': `#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/x\n#EXTINF:2,\nconcat:${secretFile}|${secretFile}\n`,
      'sdp.mp4': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n',
      'script.mp4': '#!/bin/sh\nexit 0\n',
      'page.mp4': '<!doctype html><script>alert(1)</script>',
      'picture.mp4': `<svg xmlns="http://www.w3.org/2000/svg"><image href="file://${secretFile}"/></svg>`,
    };
    for (const [name, content] of Object.entries(files)) {
      const file = join(work, name);
      await writeFile(file, content);
      const refused = await upload(mine.editor, file, name).then(
        (uploaded) => Promise.reject(new Error(`${name} was taken: ${JSON.stringify(uploaded)}`)),
        (error: Error) => error,
      );
      expect([name, tusRefusal(refused)]).toEqual([name, { status: 415, code: 'UNSUPPORTED_MEDIA' }]);
    }
    expect(await holding(work, secret)).toEqual([secretFile]);
    expect(await holding(stack.home, secret)).toEqual([]);
    // The search finds what is there.
    expect(await holding(stack.home, mine.organisationId)).not.toEqual([]);
  });

  it('a refused upload becomes no version', async () => {
    const file = join(work, 'again.mp4');
    await writeFile(file, 'Still a text.');
    const created = await fetch(new URL('/uploads', stack.apiUrl), {
      method: 'POST',
      headers: {
        ...mine.editor.headers,
        'tus-resumable': '1.0.0',
        'upload-length': '13',
        'upload-metadata': `filename ${Buffer.from('again.mp4').toString('base64')}`,
      },
    });
    expect(created.status).toBe(201);
    const url = new URL(created.headers.get('location')!, stack.apiUrl);
    const uploadId = url.pathname.split('/').pop()!;
    const stageId = mine.plan.stages['edit'];
    const field = ['input', 'uploadId'];
    await refuses(mine.editor, 'addVersion', { stageId, uploadId }, 'UPLOAD_NOT_READY', field);
    const sent = await fetch(url, {
      method: 'PATCH',
      headers: {
        ...mine.editor.headers,
        'tus-resumable': '1.0.0',
        'upload-offset': '0',
        'content-type': 'application/offset+octet-stream',
      },
      body: 'Still a text.',
    });
    expect([sent.status, await sent.json()]).toEqual([415, { code: 'UNSUPPORTED_MEDIA', message: expect.any(String) }]);
    await refuses(mine.editor, 'addVersion', { stageId, uploadId }, 'UNSUPPORTED_MEDIA', field);
    const seen = await mine.editor.read<{ upload: object }>(
      'query ($id: ID!) { upload(id: $id) { state refusal { code } } }',
      { id: uploadId },
    );
    expect(seen.upload).toEqual({ state: 'REFUSED', refusal: { code: 'UNSUPPORTED_MEDIA' } });
    // Another's upload answers to nobody else.
    const others = await fetch(url, { method: 'HEAD', headers: { ...mine.admin.headers, 'tus-resumable': '1.0.0' } });
    expect(others.status).toBe(404);
  });

  it('an empty file, and no name for whom it is', async () => {
    const create = async (person: Person, length: string) => {
      const response = await fetch(new URL('/uploads', stack.apiUrl), {
        method: 'POST',
        headers: { ...person.headers, 'tus-resumable': '1.0.0', 'upload-length': length },
      });
      const text = await response.text();
      return [response.status, text.startsWith('{') ? (JSON.parse(text) as { code: string }).code : text];
    };
    expect(await create(mine.editor, '0')).toEqual([400, 'EMPTY_FILE']);
    expect(await create(new Person(stack.apiUrl), '10')).toEqual([401, 'UNAUTHENTICATED']);
    expect(await create(mine.client, '10')).toEqual([403, 'FORBIDDEN']);
    expect(await create(mine.editor, String(10 ** 15))).toEqual([413, 'UPLOAD_TOO_LARGE']);
  });
});

describe('a token that is over', () => {
  it('opens nothing, wherever it is shown', async () => {
    const again = await mine.editor.again();
    const feed = await again.follow('projectChanged', { projectId: mine.plan.projectId }, 'position eventType');
    const { sessions } = await again.read<{ sessions: { id: string; current: boolean }[] }>(
      '{ sessions { id current } }',
    );
    await mine.admin.does('terminateSession', { sessionId: sessions.find(({ current }) => current)!.id });
    expect(await feed.ended()).toMatchObject({ kind: 'closed', code: 4403 });
    for (const [person, what] of [
      [again, 'terminated'],
      [new Person(stack.apiUrl, randomBytes(32).toString('base64url')), 'made up'],
      [new Person(stack.apiUrl, `${mine.editor.token!.slice(0, -1)}_`), 'altered'],
    ] as const) {
      const read = await person.ask('{ projects { totalCount } }');
      expect([what, read.errors?.[0]?.extensions?.code]).toEqual([what, 'UNAUTHENTICATED']);
      const wrote = await person.ask(mutationDocument('addComment'), {
        input: { versionId: mine.current, text: 'x' },
      });
      expect([what, wrote.errors?.[0]?.extensions?.code, wrote.data]).toEqual([what, 'UNAUTHENTICATED', null]);
      const error = await upload(person, clip, 'x.mov').catch((e: unknown) => e);
      expect([what, tusRefusal(error)]).toEqual([what, { status: 401, code: 'UNAUTHENTICATED' }]);
      const live = await person.follow('projectChanged', { projectId: mine.plan.projectId }, 'position eventType');
      expect([what, await live.ended()]).toEqual([what, expect.objectContaining({ kind: 'closed', code: 4403 })]);
    }
  });
});

describe('queries that ask too much', () => {
  const page = (name: string, inner: string, size = '200') => `${name}(first: ${size}) { edges { node { ${inner} } } }`;
  const wide = (size: string) =>
    page('projects', page('deliverables', `stages { stack { ${page('versions', 'id', size)} } }`, size), size);
  const deep = `{ stage(id: "${randomUUID()}") { ${'stack { stage { '.repeat(8)} id ${'} }'.repeat(8)} } }`;

  it.each<[string, string, string]>([
    ['too deep', deep, 'QUERY_TOO_DEEP'],
    [
      'too many aliases',
      `{ ${Array.from({ length: 31 }, (_, i) => `a${i}: position`).join(' ')} }`,
      'TOO_MANY_ALIASES',
    ],
    ['too many directives', `{ ${'position @include(if: true) '.repeat(51)} }`, 'TOO_MANY_DIRECTIVES'],
    ['too expensive', `{ ${wide('200')} }`, 'QUERY_TOO_EXPENSIVE'],
    ['too expensive by a variable', `query ($n: Int) { ${wide('$n')} }`, 'QUERY_TOO_EXPENSIVE'],
    ['too expensive by default', `query ($n: Int = 200) { ${wide('$n')} }`, 'QUERY_TOO_EXPENSIVE'],
    [
      'too expensive by fragments',
      `{ ...a } ${'abc'
        .split('')
        .map(
          (f, i, all) =>
            `fragment ${f} on Query { ${all[i + 1] ? `...${all[i + 1]} `.repeat(30) : page('projects', 'id')} }`,
        )
        .join(' ')}`,
      'QUERY_TOO_EXPENSIVE',
    ],
    ['too long', `{ ${'position '.repeat(4001)} }`, 'QUERY_TOO_LONG'],
    ['not a query', '{ position ', 'GRAPHQL_PARSE_FAILED'],
    ['unknown', '{ everything }', 'GRAPHQL_VALIDATION_FAILED'],
  ])('%s', async (_, query, code) => {
    const answer = await mine.admin.ask(query, { n: 200 });
    expect([answer.status, answer.errors?.[0]?.extensions?.code, answer.data ?? null]).toEqual([400, code, null]);
  });

  it('what a page of the app needs is not too much', async () => {
    const comments = page('comments', 'id text author { id name } annotations { id shape { kind points { x y } } }');
    const query = `query ($id: ID!) { versionStack(id: $id) { current { id ${comments} } ${page('versions', 'id number', '50')} } }`;
    const answer = await mine.admin.ask(query, { id: mine.plan.stages['edit'] });
    expect(answer.errors).toBeUndefined();
  });

  it('over a socket too', async () => {
    const selection = `position eventType stack { ${page('versions', page('comments', 'id annotations { id shape { kind } }'))} }`;
    const feed = await mine.admin.follow('stackChanged', { stackId: mine.plan.stages['edit']! }, selection);
    expect(await feed.ended()).toMatchObject({ kind: 'error', code: 'QUERY_TOO_EXPENSIVE' });
    await feed.close();
    const nested = `position eventType ${'stack { stage { '.repeat(8)} id ${'} }'.repeat(8)}`;
    const second = await mine.admin.follow('stackChanged', { stackId: mine.plan.stages['edit']! }, nested);
    expect(await second.ended()).toMatchObject({ kind: 'error', code: 'QUERY_TOO_DEEP' });
    await second.close();
  });

  it('bodies', async () => {
    const { admin } = mine;
    const code = async (body: unknown, headers?: Record<string, string>) => {
      const { status, errors } = await admin.send(body, headers);
      return [status, errors?.[0]?.extensions?.code];
    };
    const query = '{ position }';
    expect(await code([{ query }, { query }])).toEqual([400, 'BATCHING_DISABLED']);
    expect(await code({ query, variables: { x: 'y'.repeat(2 << 20) } })).toEqual([413, 'PAYLOAD_TOO_LARGE']);
    expect(await code('{ "query": ')).toEqual([400, 'BAD_REQUEST']);
    expect(await code({ query: 5 })).toEqual([400, 'BAD_REQUEST']);
    expect(await code({})).toEqual([400, 'BAD_REQUEST']);
    // What is odd goes another way through the server, to the same answers.
    const odd = { 'content-type': 'application/json;charset=UTF-8;odd=yes' };
    for (const body of [
      [{ query }],
      '{ "query": ',
      { query: 5 },
      { query: '{ nothing }' },
      { query: '{ __typename }' },
    ]) {
      const [short, long] = await Promise.all([undefined, odd].map((headers) => admin.send(body, headers)));
      expect([body, short]).toEqual([body, long]);
    }
    // A form of another site can't ask in somebody's name.
    const form = await fetch(new URL('/graphql', stack.apiUrl), {
      method: 'POST',
      headers: { ...admin.headers, 'content-type': 'text/plain' },
      body: JSON.stringify({ query }),
    });
    expect(form.status).toBe(400);
  });
});

describe('after all that', () => {
  it('no domain event was written', async () => {
    expect(refusals.length).toBeGreaterThan(110);
    const written = await domainEvents(log, before);
    expect(written.map(({ stream, type }) => `${stream} ${type}`)).toEqual([]);
  });

  it('every refused command is on record, once, with who, why and where, and without an address', async () => {
    const recorded = await auditEvents(log, before);
    const byCommand = new Map<string, { data: Record<string, unknown>; stream: string }[]>();
    for (const { metadata, data, stream } of recorded) {
      const list = byCommand.get(metadata.$correlationId) ?? [];
      list.push({ data: data as Record<string, unknown>, stream });
      byCommand.set(metadata.$correlationId, list);
    }
    const shorn = (path: unknown) => {
      const parts = (path as (string | number)[] | null)?.map(String) ?? null;
      return parts?.[0] === 'input' ? parts.slice(1) : parts;
    };
    for (const { commandId, userId, code, path } of refusals) {
      const entries = byCommand.get(commandId) ?? [];
      expect({ code, path, on: entries.length }).toEqual({ code, path, on: 1 });
      const [{ data, stream }] = entries as [{ data: Record<string, unknown>; stream: string }];
      expect(stream.startsWith(`audit-${mine.organisationId}-`)).toBe(true);
      expect({ ...data, path: shorn(data['path']) }).toMatchObject({ userId, code, path });
      // Whoever has the key of the person can read it.
      expect(data['ip']).toMatch(/127\.0\.0\.1|::1/);
    }
    const { EVENTSTORE_URL } = stack.env;
    const client = KurrentDBClient.connectionString(EVENTSTORE_URL!);
    try {
      let stored = 0;
      const at = new Date().toISOString();
      for await (const { event } of client.readStream(auditStream(mine.organisationId, at))) {
        stored++;
        const data = event!.data as Record<string, unknown>;
        expect(data['ip']).toEqual({ $personal: expect.any(String) });
        const text = JSON.stringify([event!.data, event!.metadata]);
        expect(text).not.toMatch(/127\.0\.0\.1|::1|::ffff/);
      }
      expect(stored).toBeGreaterThanOrEqual(refusals.length);
    } finally {
      await client.dispose();
    }
  });

  it('everything is as it was', async () => {
    const { version } = await mine.admin.read<{ version: Record<string, unknown> }>(
      'query ($id: ID!) { version(id: $id) { status outcome commentCount annotationCount decisions { text } } }',
      { id: mine.current },
    );
    expect(version).toEqual({
      status: 'CURRENT',
      outcome: 'APPROVED',
      commentCount: 1,
      annotationCount: 1,
      decisions: [{ text: 'mine secret praise' }],
    });
  });
});

describe('a film that ends in the middle', () => {
  it('fails with ffmpeg’s reason, keeps the original, and can be tried again', async () => {
    const whole = join(work, 'whole.mp4');
    const cut = join(work, 'cut.mp4');
    // The header comes first and is whole.
    await makeClip(whole, { seconds: 2, noise: 30 });
    await makeTruncated(whole, cut, 0.5);
    const { admin, editor, plan: made } = mine;
    const at = await log.head();
    const versionId = await submit(editor, made.stages['edit']!, cut, 'cut.mp4');
    await transcoded(admin, versionId, 'FAILED');
    const media = async () =>
      (
        await admin.read<{
          version: {
            media: { status: string; originalUrl: string; hlsUrl: null; failure: { code: string; reason: string } };
          };
        }>('query ($id: ID!) { version(id: $id) { media { status originalUrl hlsUrl failure { code reason } } } }', {
          id: versionId,
        })
      ).version.media;
    const first = await media();
    expect(first).toMatchObject({ status: 'FAILED', hlsUrl: null, failure: { code: 'TRANSCODE_FAILED' } });
    expect(first.failure.reason.length).toBeGreaterThan(10);
    const original = await admin.media(first.originalUrl);
    const bytes = Buffer.from(await original.arrayBuffer());
    expect([original.status, bytes.length]).toEqual([200, (await stat(cut)).size]);
    expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(await sha256(cut));

    const again = await editor.does<{ version: { media: { status: string } } }>(
      'retryTranscode',
      { versionId },
      'version { media { status } }',
    );
    expect(again.version.media.status).toBe('PROCESSING');
    await transcoded(admin, versionId, 'FAILED');
    expect((await media()).failure).toEqual(first.failure);
    const ends = (await domainEvents(log, at)).filter(({ stream }) => stream === `versionMedia-${versionId}`);
    expect(ends.map(({ type }) => type)).toEqual(['TranscodeFailed', 'TranscodeRetried', 'TranscodeFailed']);
  });
});

describe('a command that is sent again', () => {
  it('gets the first answer, and its id serves for nothing else', async () => {
    const { client, admin, plan: made } = mine;
    const versionId = (
      await client.read<{ versionStack: { current: { id: string } } }>(
        'query ($id: ID!) { versionStack(id: $id) { current { id } } }',
        { id: made.stages['edit'] },
      )
    ).versionStack.current.id;
    const at = await log.head();
    const commandId = randomUUID();
    const input = { commandId, versionId, text: 'Once', range: { in: 3, out: 4 } };
    const sent = await Promise.all(
      Array.from({ length: 5 }, () =>
        client.does<{ comment: { id: string; text: string } }>('addComment', input, 'comment { id text }'),
      ),
    );
    await client.does('addComment', { versionId, text: 'Meanwhile' });
    sent.push(await client.does('addComment', { ...input, commandId: commandId.toUpperCase() }, 'comment { id text }'));
    expect(new Set(sent.map((payload) => JSON.stringify(payload))).size).toBe(1);
    const comments = (await domainEvents(log, at)).filter(({ type }) => type === 'CommentAdded');
    expect(comments.map(({ position }) => String(position))[0]).toBe(sent[0]!.position);
    expect(comments).toHaveLength(2);

    for (const [name, other] of [
      ['addComment', { ...input, text: 'Twice' }],
      ['addComment', { ...input, range: { in: 3, out: 5 } }],
      ['recordDecision', { commandId, versionId, verdict: 'APPROVED' }],
    ] as const)
      expect(await client.refused(name, other)).toMatchObject([{ code: 'COMMAND_ID_REUSED' }]);

    const project = { commandId: randomUUID(), name: 'Twice told', code: 'TWICE', templateId: made.templateId };
    const [a, b] = [
      await admin.does<{ project: { id: string } }>('createProject', project, 'project { id }'),
      await admin.does<{ project: { id: string } }>('createProject', project, 'project { id }'),
    ];
    expect(b).toEqual(a);
    const person = {
      commandId: randomUUID(),
      email: `${randomUUID()}@test.example`,
      name: 'Once',
      role: 'ARTIST',
      password: `pass ${randomUUID()}`,
    };
    const hired = await admin.does<{ user: { id: string } }>('registerUser', person, 'user { id }');
    expect(await admin.does('registerUser', person, 'user { id }')).toEqual(hired);
    expect(await admin.refused('registerUser', { ...person, name: 'Other' })).toMatchObject([
      { code: 'COMMAND_ID_REUSED' },
    ]);
    // The one who is there can still sign in.
    expect((await new Person(stack.apiUrl).login(person.email, person.password)).id).toBe(hired.user.id);

    // A refusal is remembered as well, also when it would be accepted by now.
    const refused = { commandId: randomUUID(), versionId, verdict: 'CHANGES_REQUESTED', text: '' };
    expect(await client.refused('recordDecision', refused)).toMatchObject([{ code: 'TEXT_REQUIRED' }]);
    expect(await client.refused('recordDecision', refused)).toMatchObject([{ code: 'TEXT_REQUIRED' }]);
    expect(await client.refused('recordDecision', { ...refused, text: 'Now' })).toMatchObject([
      { code: 'COMMAND_ID_REUSED' },
    ]);
  });

  it('an upload and its withdrawal, too', async () => {
    const { editor, plan: made } = mine;
    const stageId = made.stages['edit']!;
    const { uploadId } = await upload(editor, clip, 'v4.mov');
    const add = { commandId: randomUUID(), stageId, uploadId };
    const select = 'version { id number }';
    const added = await editor.does<{ version: { id: string } }>('addVersion', add, select);
    expect(await editor.does('addVersion', add, select)).toEqual(added);
    expect(await editor.refused('addVersion', { ...add, note: 'else' })).toMatchObject([{ code: 'COMMAND_ID_REUSED' }]);
    const back = { commandId: randomUUID(), versionId: added.version.id, reason: 'wrong file' };
    const gone = await editor.does('withdrawVersion', back, 'version { status }');
    expect(gone).toMatchObject({ version: { status: 'WITHDRAWN' } });
    expect(await editor.does('withdrawVersion', back, 'version { status }')).toEqual(gone);
  });
});

describe('fifty writers on one version', () => {
  it('every annotation is there once, and each reads its own', async () => {
    const { admin, editor, client, plan: made } = mine;
    const { versionStack } = await admin.read<{ versionStack: { current: { id: string } } }>(
      'query ($id: ID!) { versionStack(id: $id) { current { id } } }',
      { id: made.stages['edit'] },
    );
    const versionId = versionStack.current.id;
    const count = async () =>
      (
        await admin.read<{ version: { annotationCount: number } }>(
          'query ($id: ID!) { version(id: $id) { annotationCount } }',
          { id: versionId },
        )
      ).version.annotationCount;
    const [at, had] = [await log.head(), await count()];
    const people = [admin, editor, client, await editor.again(), await client.again()];
    const rounds = 3;
    const ids: string[] = [];
    await Promise.all(
      Array.from({ length: 50 }, async (_, writer) => {
        const person = people[writer % people.length]!;
        for (let round = 0; round < rounds; round++) {
          const text = `writer ${writer} round ${round}`;
          const { annotation, position } = await person.does<{ annotation: { id: string } }>(
            'addAnnotation',
            {
              commandId: randomUUID(),
              versionId,
              text,
              shape: { kind: 'PIN', at: { x: writer / 50, y: round / rounds } },
              range: { in: writer % 20, out: 20 },
            },
            'annotation { id }',
          );
          ids.push(annotation.id);
          const { node } = await person.read<{ node: { author: { id: string } } | null }>(
            'query ($id: ID!, $at: Position) { node(id: $id, atLeast: $at) { ... on Annotation { author { id } } } }',
            { id: annotation.id, at: position },
          );
          expect(node).toEqual({ author: { id: person.id } });
        }
      }),
    );
    expect(new Set(ids).size).toBe(50 * rounds);
    expect(await count()).toBe(had + 50 * rounds);
    const seen: string[] = [];
    const texts: string[] = [];
    let after: string | null = null;
    do {
      const page: {
        version: {
          comments: {
            edges: { node: { text: string; annotations: { id: string }[] } }[];
            pageInfo: { hasNextPage: boolean; endCursor: string };
          };
        };
      } = await admin.read(
        `query ($id: ID!, $after: String) { version(id: $id) { comments(first: 40, after: $after) {
           edges { node { text annotations { id } } } pageInfo { hasNextPage endCursor } } } }`,
        { id: versionId, after },
      );
      const { edges, pageInfo } = page.version.comments;
      for (const { node } of edges) {
        texts.push(node.text);
        seen.push(...node.annotations.map(({ id }) => id));
      }
      after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
    } while (after !== null);
    for (const id of ids) expect(seen.filter((s) => s === id)).toHaveLength(1);
    expect(texts.filter((t) => t.startsWith('writer'))).toHaveLength(50 * rounds);
    const written = (await domainEvents(log, at)).filter(({ type }) => type === 'AnnotationAdded');
    expect(new Set(written.map(({ data }) => (data as { annotationId: string }).annotationId))).toEqual(new Set(ids));
    expect(written).toHaveLength(50 * rounds);
    await eventually(count, (n) => n === had + 50 * rounds, 1000);
  });
});
