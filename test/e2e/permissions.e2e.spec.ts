import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { EventLog } from '#libs/events/log/index.js';
import { openJobs } from '#libs/jobs/index.js';
import { makeClip } from '#libs/media/testmedia.js';
import { loadConfig } from '#libs/runtime/index.js';
import { startStack, type TestStack } from '../support/stack.js';
import {
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
  upload,
  type Plan,
} from './support.js';

jest.setTimeout(180_000);

/**
 * Read and write restrictions hold on every field of the schema: each is asked by nobody, by the administrator of another
 * organisation and by an artist without an assignment. A field without a case here fails the test.
 */

const STAGES = [{ key: 'edit', name: 'Edit', approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] } }];
/** Words that stand in everything that only the project's own people may read. */
const SECRET = 'nightingale';

const work = mkdtempSync(join(tmpdir(), 'picturelock-permissions-'));
const clip = join(work, 'clip.mov');
const other = join(work, 'other.mov');
let stack: TestStack;
let log: EventLog;
let admin: Person;
let editor: Person;
let client: Person;
/** An artist who is assigned to nothing. */
let loner: Person;
/** Administrator of another organisation. */
let outsider: Person;
let nobody: Person;
let organisationId: string;
let made: Plan;
let stageId: string;
let v1: string;
let v2: string;
let comment: string;
let annotation: string;
let decision: string;
let reference: string;
let comparison: string;
let uploadId: string;
let session: string;
let before: bigint;
/** So that there is a subscriber to see. */
let followed: Awaited<ReturnType<Person['follow']>> | undefined;

beforeAll(async () => {
  const clips = [makeClip(clip, { frames: 24 }), makeClip(other, { frames: 24, hue: 120 })];
  [stack] = await Promise.all([startStack(), ...clips]);
  log = await openLog(stack);
  nobody = new Person(stack.apiUrl);
  ({ admin, organisationId } = await found(stack, 'Ours'));
  ({ admin: outsider } = await found(stack, 'Others'));
  [editor, client, loner] = (await Promise.all([
    hire(admin, 'Editor', 'ARTIST'),
    hire(admin, 'Client', 'CLIENT'),
    hire(admin, 'Loner', 'ARTIST'),
  ])) as [Person, Person, Person];
  made = await plan(admin, 'NIGHT', STAGES);
  stageId = made.stages['edit']!;
  await admin.does('renameProject', { projectId: made.projectId, name: `Project ${SECRET}` });
  await admin.does('addProjectMember', { projectId: made.projectId, userId: client.id });
  await admin.does('assignStage', { stageId, userId: editor.id });
  v1 = await submit(editor, stageId, clip, `${SECRET}-v1.mov`);
  v2 = await submit(editor, stageId, clip, `${SECRET}-v2.mov`);
  const added = await client.does<{ comment: { id: string; annotations: { id: string }[] } }>(
    'addComment',
    { versionId: v2, text: SECRET, annotations: [{ shape: { kind: 'PIN', at: { x: 0.5, y: 0.5 } } }] },
    'comment { id annotations { id } }',
  );
  comment = added.comment.id;
  annotation = added.comment.annotations[0]!.id;
  const decided = await client.does<{ decision: { id: string } }>(
    'recordDecision',
    { versionId: v2, verdict: 'CHANGES_REQUESTED', text: SECRET },
    'decision { id }',
  );
  decision = decided.decision.id;
  await Promise.all([transcoded(admin, v1), transcoded(admin, v2), stateOf(admin, stageId, 'CHANGES_REQUESTED')]);
  const attached = await admin.does<{ reference: { id: string } }>(
    'attachReference',
    { versionId: v2, uploadId: (await upload(admin, other, `${SECRET}-look.mov`)).uploadId, note: SECRET },
    'reference { id }',
  );
  reference = attached.reference.id;
  await referenceTranscoded(admin, v2);
  const asked = await client.does<{ comparison: { id: string } }>(
    'compareVersions',
    { versionId: v2, withVersionId: v1 },
    'comparison { id }',
  );
  comparison = asked.comparison.id;
  await compared(admin, comparison);
  // So that there is a rebuild to see.
  await admin.does('rebuildProjections', { projections: ['audit'] });
  await admin.does('verifyProjections', { projections: ['feed'] }, 'verifications { id }');
  await admin.does('buildAsOf', { organisationId, moment: new Date().toISOString() }, 'moment { id }');
  followed = await admin.follow('projectChanged', { projectId: made.projectId }, 'position');
  const jobs = await openJobs({ databaseUrl: loadConfig(stack.env).databases.jobs });
  const parked = { id: randomUUID(), type: 'VersionUploaded', stream: 'versionStack-none', revision: 0, position: 1n };
  await jobs.parked.put('none', null, parked, { message: 'no', attempts: 1, retryInSeconds: 3600 });
  await jobs.close();
  ({ uploadId } = await upload(editor, clip, `${SECRET}.mov`));
  session = (await client.read<{ sessions: { id: string }[] }>('{ sessions { id } }')).sessions[0]!.id;
  before = await log.head();
});

afterAll(async () => {
  await followed?.close();
  await log?.close();
  await stack?.stop();
  rmSync(work, { recursive: true, force: true });
});

/** What somebody gets: a code, nothing (null or an empty list), or an answer. */
type Gets = string;
const NOTHING = 'nothing';
const ANSWER = 'an answer';
interface Case {
  /** Of the field; `$id` and the like are filled in. */
  readonly ask: () => string;
  readonly nobody: Gets;
  readonly outsider: Gets;
  readonly loner: Gets;
}

function outcome(data: unknown, code: string | undefined): Gets {
  if (code !== undefined) return code;
  const empty =
    data == null ||
    data === false ||
    (Array.isArray(data) && data.length === 0) ||
    (typeof data === 'object' && 'totalCount' in data && data.totalCount === 0);
  return empty ? NOTHING : ANSWER;
}

describe('queries', () => {
  const hidden = (ask: () => string): Case => ({
    ask,
    nobody: 'UNAUTHENTICATED',
    outsider: NOTHING,
    loner: NOTHING,
  });
  /** One's own, or one's organisation's: never anything of a project. */
  const own = (ask: () => string): Case => ({ ask, nobody: 'UNAUTHENTICATED', outsider: ANSWER, loner: ANSWER });
  /** For who runs the installation. */
  const operated = (ask: () => string): Case => ({
    ask,
    nobody: 'UNAUTHENTICATED',
    outsider: 'FORBIDDEN',
    loner: 'FORBIDDEN',
  });
  const cases: Record<string, Case[]> = {
    logStatistics: [operated(() => 'logStatistics { events types { type } organisations { id } }')],
    parkedEvents: [operated(() => 'parkedEvents { edges { node { error } } }')],
    rebuilds: [operated(() => 'rebuilds { projection }')],
    verifications: [operated(() => 'verifications { projection differences { examples } }')],
    parkedReactions: [operated(() => 'parkedReactions { error }')],
    subscribers: [operated(() => 'subscribers { name topicId }')],
    streamSnapshots: [operated(() => 'streamSnapshots { snapshots largest { stream } }')],
    asOfMoments: [operated(() => 'asOfMoments { id organisationId }')],
    operations: [operated(() => 'operations { head projections { name } queues { newestFailures { reason } } }')],
    auditTrail: [
      { ...own(() => 'auditTrail { totalCount edges { node { type changes { new } } } }'), loner: 'FORBIDDEN' },
    ],
    deliverable: [hidden(() => `deliverable(id: "${made.deliverableId}") { name project { name } }`)],
    entityAsOf: [
      {
        ...hidden(
          () => `entityAsOf(entity: { type: VERSION, id: "${v2}" }, asOf: { position: "${before}" }) { state }`,
        ),
        loner: 'FORBIDDEN',
      },
    ],
    entityDiff: [
      {
        ...hidden(
          () =>
            `entityDiff(entity: { type: VERSION, id: "${v2}" }, from: { position: "${before}" }, to: { position: "${before}" }) { to { state } }`,
        ),
        loner: 'FORBIDDEN',
      },
    ],
    history: [
      {
        ...hidden(() => `history(entity: { type: PROJECT, id: "${made.projectId}" }) { edges { node { sentence } } }`),
        loner: 'FORBIDDEN',
      },
    ],
    myWork: [hidden(() => 'myWork { totalCount edges { node { deliverable { project { name } } } } }')],
    node: [
      ...[
        () => made.projectId,
        () => made.deliverableId,
        () => stageId,
        () => v1,
        () => v2,
        () => comment,
        () => annotation,
        () => decision,
      ].map((id) => hidden(() => `node(id: "${id()}") { id }`)),
      // The organisation, its people and its templates are known to its own people.
      ...[() => organisationId, () => client.id, () => made.templateId].map((id) => ({
        ...own(() => `node(id: "${id()}") { id }`),
        outsider: NOTHING,
      })),
    ],
    organisation: [own(() => 'organisation { id name }')],
    pipelineTemplates: [{ ...own(() => 'pipelineTemplates { id name }'), outsider: NOTHING }],
    position: [{ ...own(() => 'position'), nobody: 'UNAUTHENTICATED' }],
    project: [hidden(() => `project(id: "${made.projectId}") { name members { name } }`)],
    projects: [hidden(() => 'projects { totalCount edges { node { name } } }')],
    sessions: [own(() => 'sessions { id device }')],
    stage: [hidden(() => `stage(id: "${stageId}") { name deliverable { project { name } } assignees { name } }`)],
    upload: [hidden(() => `upload(id: "${uploadId}") { filename }`)],
    users: [own(() => 'users { totalCount edges { node { id name email } } }')],
    version: [hidden(() => `version(id: "${v2}") { filename media { hlsUrl originalUrl } decisions { text } }`)],
    comparison: [
      hidden(
        () => `comparison(id: "${comparison}") { from { version { filename } } to { version { filename } } reportUrl }`,
      ),
    ],
    versionStack: [hidden(() => `versionStack(id: "${stageId}") { current { filename } }`)],
    viewer: [{ ...own(() => 'viewer { id name email }'), nobody: NOTHING }],
  };

  it('each has a case', () => {
    expect(Object.keys(cases).sort()).toEqual(Object.keys(queries).sort());
  });

  it.each(Object.keys(cases))('%s', async (name) => {
    for (const { ask, ...expected } of cases[name]!) {
      const field = ask();
      for (const [who, person] of Object.entries({ nobody, outsider, loner })) {
        const answer = await person.ask<Record<string, unknown>>(`{ ${field} }`);
        const got = outcome(answer.data?.[name], answer.errors?.[0]?.extensions?.code);
        expect([field, who, got]).toEqual([field, who, expected[who as keyof typeof expected]]);
        const text = JSON.stringify(answer.data ?? null);
        expect(text).not.toContain(SECRET);
        if (person === outsider)
          for (const id of [organisationId, admin.id, client.id, made.templateId, made.projectId])
            expect(text).not.toContain(id);
      }
      // Not for want of something to see: the project's own people get an answer.
      const insider = name === 'upload' ? editor : name === 'myWork' ? editor : admin;
      const answer = await insider.ask<Record<string, unknown>>(`{ ${field} }`);
      expect([field, outcome(answer.data?.[name], answer.errors?.[0]?.extensions?.code)]).toEqual([field, ANSWER]);
    }
  });

  it('addresses of people are for themselves and for who manages people', async () => {
    const query = '{ users { edges { node { id email } } } }';
    interface Users {
      users: { edges: { node: { id: string; email: string | null } }[] };
    }
    for (const person of [loner, client, editor]) {
      const { users } = await person.read<Users>(query);
      const known = users.edges.filter(({ node }) => node.email !== null).map(({ node }) => node.id);
      expect(known).toEqual([person.id]);
    }
    const { users } = await admin.read<Users>(query);
    expect(users.edges.every(({ node }) => node.email !== null)).toBe(true);
  });
});

describe('mutations', () => {
  const shape = { kind: 'PIN', at: { x: 0.5, y: 0.5 } };
  interface Told {
    readonly input: () => Record<string, unknown>;
    readonly outsider: Gets;
    readonly loner: Gets;
    /** Default UNAUTHENTICATED. */
    readonly nobody?: Gets;
  }
  /** For everybody who sees it: others are told it is not there. */
  const onVersion = (input: () => Record<string, unknown>): Told => ({
    input,
    outsider: 'NOT_FOUND',
    loner: 'NOT_FOUND',
  });
  /** For managers. */
  const managed = (input: () => Record<string, unknown>): Told => ({
    input,
    outsider: 'NOT_FOUND',
    loner: 'FORBIDDEN',
  });
  /** For who runs the installation. */
  const operated = (input: () => Record<string, unknown>): Told => ({
    input,
    outsider: 'FORBIDDEN',
    loner: 'FORBIDDEN',
  });
  const cases: Record<string, Told> = {
    cancelRebuild: operated(() => ({ projection: 'review' })),
    rebuildProjections: operated(() => ({ projections: ['review'] })),
    retryParkedEvent: operated(() => ({ projection: 'review', position: '1' })),
    skipParkedEvent: operated(() => ({ projection: 'review', position: '1', reason: 'x' })),
    throttleRebuild: operated(() => ({ projection: 'review', throttle: 1 })),
    verifyProjections: operated(() => ({ projections: ['review'] })),
    cancelVerification: operated(() => ({ projection: 'review' })),
    retryReaction: operated(() => ({ reaction: 'none', position: '1' })),
    skipReaction: operated(() => ({ reaction: 'none', position: '1', reason: 'x' })),
    dropStreamSnapshots: operated(() => ({ stream: `version-${v2}` })),
    buildAsOf: operated(() => ({ organisationId, moment: new Date().toISOString() })),
    dropAsOf: operated(() => ({ id: randomUUID() })),
    forgetPerson: operated(() => ({ userId: client.id })),
    addAnnotation: onVersion(() => ({ versionId: v2, text: 'x', shape })),
    addComment: onVersion(() => ({ versionId: v2, text: 'x' })),
    addProjectMember: managed(() => ({ projectId: made.projectId, userId: client.id })),
    addVersion: onVersion(() => ({ stageId, uploadId })),
    archivePipelineTemplate: managed(() => ({ templateId: made.templateId })),
    archiveProject: managed(() => ({ projectId: made.projectId })),
    assignStage: managed(() => ({ stageId, userId: editor.id })),
    // Their own, with a password that is not theirs.
    changePassword: {
      input: () => ({ currentPassword: 'not mine at all', newPassword: `pass ${randomUUID()}` }),
      outsider: 'INVALID_CREDENTIALS',
      loner: 'INVALID_CREDENTIALS',
    },
    changeStageState: onVersion(() => ({ stageId, to: 'IN_PROGRESS' })),
    changeUserRole: managed(() => ({ userId: client.id, role: 'REVIEWER' })),
    createDeliverable: managed(() => ({ projectId: made.projectId, name: 'x' })),
    createPipelineTemplate: managed(() => ({
      name: 'x',
      stages: [{ key: 'a', name: 'A', approvalPolicy: { kind: 'ALL_REQUIRED', reviewers: [client.id] } }],
    })),
    createProject: managed(() => ({ name: 'x', code: 'X', templateId: made.templateId })),
    attachReference: onVersion(() => ({ versionId: v2, uploadId })),
    deactivateUser: managed(() => ({ userId: client.id, reason: 'x' })),
    deleteComment: onVersion(() => ({ versionId: v2, commentId: comment })),
    detachReference: onVersion(() => ({ versionId: v2, referenceId: reference })),
    editComment: onVersion(() => ({ versionId: v2, commentId: comment, text: 'x' })),
    erasePerson: managed(() => ({ userId: client.id })),
    // Not for those who sign in, but for who holds the machine.
    foundOrganisation: {
      input: () => ({
        setupToken: 'guess',
        name: 'x',
        administrator: { email: `${randomUUID()}@test.example`, name: 'x', password: `pass ${randomUUID()}` },
      }),
      nobody: 'SETUP_TOKEN_INVALID',
      outsider: 'SETUP_TOKEN_INVALID',
      loner: 'SETUP_TOKEN_INVALID',
    },
    login: {
      input: () => ({ email: `${randomUUID()}@test.example`, password: 'a guess that is wrong' }),
      nobody: 'INVALID_CREDENTIALS',
      outsider: 'INVALID_CREDENTIALS',
      loner: 'INVALID_CREDENTIALS',
    },
    reactivateUser: managed(() => ({ userId: client.id })),
    compareVersions: onVersion(() => ({ versionId: v2, withVersionId: v1 })),
    recordDecision: { ...onVersion(() => ({ versionId: v2, verdict: 'REJECTED', text: 'x' })), loner: 'FORBIDDEN' },
    // Somebody has the address.
    registerUser: {
      input: () => ({ email: client.email, name: 'x', role: 'ARTIST', password: `pass ${randomUUID()}` }),
      outsider: 'EMAIL_TAKEN',
      loner: 'FORBIDDEN',
    },
    removeAnnotation: onVersion(() => ({ versionId: v2, annotationId: annotation })),
    removeProjectMember: managed(() => ({ projectId: made.projectId, userId: client.id })),
    renameProject: managed(() => ({ projectId: made.projectId, name: 'x' })),
    reopenComment: onVersion(() => ({ versionId: v2, commentId: comment })),
    resolveComment: onVersion(() => ({ versionId: v2, commentId: comment })),
    restoreAnnotation: onVersion(() => ({ versionId: v2, annotationId: annotation })),
    retryTranscode: onVersion(() => ({ versionId: v2 })),
    revertToVersion: onVersion(() => ({ versionId: v1 })),
    terminateSession: { input: () => ({ sessionId: session }), outsider: 'NOT_FOUND', loner: 'NOT_FOUND' },
    unassignStage: managed(() => ({ stageId, userId: editor.id })),
    withdrawDecision: {
      ...onVersion(() => ({ versionId: v2, decisionId: decision, reason: 'x' })),
      loner: 'FORBIDDEN',
    },
    withdrawVersion: onVersion(() => ({ versionId: v2, reason: 'x' })),
  };

  it('each has a case', () => {
    expect([...Object.keys(cases), 'logout'].sort()).toEqual(Object.keys(mutations).sort());
  });

  it.each(Object.keys(cases))('%s', async (name) => {
    const { input, nobody: anonymous = 'UNAUTHENTICATED', ...expected } = cases[name]!;
    for (const [who, person] of Object.entries({ nobody, outsider, loner })) {
      const answer = await person.ask<Record<string, { position?: string | null; errors: { code: string }[] }>>(
        mutationDocument(name),
        { input: input() },
      );
      const code = answer.errors?.[0]?.extensions?.code ?? answer.data?.[name]?.errors[0]?.code;
      const wanted = who === 'nobody' ? anonymous : expected[who as keyof typeof expected];
      expect([name, who, code]).toEqual([name, who, wanted]);
      expect(answer.data?.[name]?.position ?? null).toBeNull();
      expect(JSON.stringify(answer)).not.toContain(SECRET);
    }
  });

  it('logout ends only the session that asks', async () => {
    const { data } = await nobody.ask<{ logout: boolean }>('mutation { logout }');
    expect(data).toEqual({ logout: false });
    const again = await outsider.again();
    expect(await again.read('mutation { logout }')).toEqual({ logout: true });
    for (const person of [outsider, loner, client]) await person.read('{ organisation { id } }');
  });

  it('wrote nothing', async () => {
    expect((await domainEvents(log, before)).map(({ stream, type }) => `${stream} ${type}`)).toEqual([]);
    // Everybody who was there still is.
    await client.again();
  });
});

describe('subscriptions', () => {
  const cases: Record<string, { args: () => Record<string, string>; selection: string; outsider: Gets; loner: Gets }> =
    {
      myWorkChanged: {
        args: () => ({}),
        selection: 'position eventType stage { id }',
        outsider: NOTHING,
        loner: NOTHING,
      },
      operationsLooked: { args: () => ({}), selection: 'head', outsider: 'FORBIDDEN', loner: 'FORBIDDEN' },
      projectChanged: {
        args: () => ({ projectId: made.projectId }),
        selection: 'position eventType',
        outsider: 'NOT_FOUND',
        loner: 'NOT_FOUND',
      },
      stackChanged: {
        args: () => ({ stackId: stageId }),
        selection: 'position eventType',
        outsider: 'NOT_FOUND',
        loner: 'NOT_FOUND',
      },
      comparisonProgress: {
        args: () => ({ comparisonId: comparison }),
        selection: 'fraction',
        outsider: 'NOT_FOUND',
        loner: 'NOT_FOUND',
      },
      transcodeProgress: {
        args: () => ({ versionId: v2 }),
        selection: 'fraction',
        outsider: 'NOT_FOUND',
        loner: 'NOT_FOUND',
      },
    };

  it('each has a case', () => {
    expect(Object.keys(cases).sort()).toEqual(Object.keys(subscriptions).sort());
  });

  it.each(Object.keys(cases))('%s', async (name) => {
    const { args, selection, ...expected } = cases[name]!;
    const resumes = subscriptions[name]!.args.some((arg) => arg.name === 'after');
    for (const [who, person] of Object.entries({ nobody, outsider, loner })) {
      const feed = await person.follow(name, args(), selection, resumes ? '0' : undefined);
      // Over a socket nobody gets past the greeting.
      if (who === 'nobody') expect([name, await feed.ended()]).toMatchObject([name, { kind: 'closed', code: 4403 }]);
      else if (expected[who as keyof typeof expected] === NOTHING) {
        // All there is would have come at once.
        await feed.ended(1000).catch(() => undefined);
        expect([name, who, feed.ending, feed.messages]).toEqual([name, who, undefined, []]);
      } else {
        const ending = await feed.ended();
        expect([name, who, ending.code]).toEqual([name, who, expected[who as keyof typeof expected]]);
        expect(feed.messages).toEqual([]);
      }
      await feed.close();
    }
    if (!resumes) return;
    const feed = await (name === 'myWorkChanged' ? editor : admin).follow(name, args(), selection, '0');
    await feed.until((messages) => messages.length > 0);
    await feed.close();
  });

  it('over HTTP there are none', async () => {
    const answer = await admin.ask(`subscription { projectChanged(projectId: "${made.projectId}") { position } }`);
    expect(answer.errors?.length).toBeGreaterThan(0);
    expect(answer.data ?? null).toBeNull();
  });
});

describe('a reference beside a version', () => {
  interface Seen {
    id: string;
    filename: string;
    note: string;
    detached: boolean;
    attachedBy: { id: string };
    media: {
      status: string;
      hash: string;
      hlsUrl: string | null;
      posterUrl: string | null;
      originalUrl: string | null;
    };
  }
  const beside = async (person: Person, all = false): Promise<Seen[]> =>
    (
      await person.read<{ version: { references: Seen[] } }>(
        `query ($id: ID!, $all: Boolean) { version(id: $id) { references(includeDetached: $all) { id filename note
           detached attachedBy { id } media { status hash hlsUrl posterUrl originalUrl } } } }`,
        { id: v2, all },
      )
    ).version.references;

  it('is seen and played by who sees the version; its original is for who may download', async () => {
    const [seen] = (await beside(editor)) as [Seen];
    expect(seen).toMatchObject({
      id: reference,
      note: SECRET,
      detached: false,
      attachedBy: { id: admin.id },
      media: { status: 'READY', hash: await sha256(other) },
    });
    for (const url of [seen.media.hlsUrl!, seen.media.posterUrl!, seen.media.originalUrl!])
      expect((await editor.media(url)).status).toBe(200);
    const [forClient] = (await beside(client)) as [Seen];
    expect(forClient.media.originalUrl).toBeNull();
  });

  it('is taken away by who attached it or who manages: then its addresses open nothing', async () => {
    const [seen] = (await beside(editor)) as [Seen];
    expect(await editor.refused('detachReference', { versionId: v2, referenceId: reference })).toMatchObject([
      { code: 'NOT_AUTHOR' },
    ]);
    expect(await client.refused('detachReference', { versionId: v2, referenceId: reference })).toMatchObject([
      { code: 'FORBIDDEN' },
    ]);
    const { position } = await editor.read<{ position: string }>('{ position }');
    const live = await editor.follow<{ eventType: string; version: object }>(
      'stackChanged',
      { stackId: stageId },
      'eventType version { references { id } }',
      position,
    );
    await admin.does('detachReference', { versionId: v2, referenceId: reference });
    await live.until((messages) => messages.some(({ eventType }) => eventType === 'ReferenceDetached'));
    expect(live.messages.at(-1)).toMatchObject({ version: { references: [] } });
    await live.close();
    expect(await beside(editor)).toEqual([]);
    expect(await beside(editor, true)).toMatchObject([
      { id: reference, detached: true, media: { hlsUrl: null, posterUrl: null, originalUrl: null } },
    ]);
    await eventually(
      async () => (await editor.media(seen.media.hlsUrl!)).status,
      (status) => status === 403,
      2000,
    );
  });

  it('is not laid beside a version that is read-only', async () => {
    const { uploadId: spare } = await upload(editor, clip, 'late.mov');
    expect(await editor.refused('attachReference', { versionId: v1, uploadId: spare })).toMatchObject([
      { code: 'VERSION_LOCKED', currentVersionId: v2 },
    ]);
  });
});

describe('versions taken back and gone back to', () => {
  const at = async (id: string) =>
    (
      await admin.read<{
        version: { status: string; number: number; outcome: string; withdrawnReason: string | null };
      }>('query ($id: ID!) { version(id: $id) { status number outcome withdrawnReason } }', { id })
    ).version;

  it('a wrong upload is withdrawn: the one before is current and open again', async () => {
    const v3 = await submit(editor, stageId, other, 'wrong.mov');
    await transcoded(admin, v3);
    await stateOf(admin, stageId, 'IN_REVIEW');
    expect(await client.refused('addComment', { versionId: v2, text: 'Still' })).toMatchObject([
      { code: 'VERSION_LOCKED', currentVersionId: v3, currentVersionNumber: 3 },
    ]);
    const { version } = await client.read<{ version: { media: { hlsUrl: string; posterUrl: string } } }>(
      'query ($id: ID!) { version(id: $id) { media { hlsUrl posterUrl } } }',
      { id: v3 },
    );
    expect((await client.media(version.media.posterUrl)).status).toBe(200);
    const gone = await editor.does<{ version: object; stack: object }>(
      'withdrawVersion',
      { versionId: v3, reason: 'wrong reel' },
      'version { status withdrawnReason media { hlsUrl posterUrl originalUrl } } stack { current { id status number } }',
    );
    expect(gone).toMatchObject({
      version: {
        status: 'WITHDRAWN',
        withdrawnReason: 'wrong reel',
        media: { hlsUrl: null, posterUrl: null, originalUrl: null },
      },
      stack: { current: { id: v2, status: 'CURRENT', number: 2 } },
    });
    await stateOf(admin, stageId, 'CHANGES_REQUESTED');
    const said = await client.does<{ comment: { text: string } }>(
      'addComment',
      { versionId: v2, text: 'Open again' },
      'comment { text }',
    );
    expect(said.comment.text).toBe('Open again');
    expect(await client.refused('addComment', { versionId: v3, text: 'Gone' })).toMatchObject([
      { code: 'VERSION_LOCKED', currentVersionId: v2, currentVersionNumber: 2 },
    ]);
    for (const url of [version.media.hlsUrl, version.media.posterUrl]) {
      const deadline = Date.now() + 2000;
      let { status } = await client.media(url);
      // A segment that plays right now may be served for a second more.
      while (status !== 403 && Date.now() < deadline) ({ status } = await client.media(url));
      expect(status).toBe(403);
    }
    expect(await editor.refused('revertToVersion', { versionId: v3 })).toMatchObject([
      { code: 'NOT_FOUND', path: ['input', 'versionId'] },
    ]);
  });

  it('its number is not given again; once somebody has decided, it stays', async () => {
    const v4 = await submit(editor, stageId, other, 'right.mov');
    expect(await at(v4)).toMatchObject({ number: 4, status: 'CURRENT', outcome: 'PENDING' });
    const { decision: mine } = await client.does<{ decision: { id: string } }>(
      'recordDecision',
      { versionId: v4, verdict: 'APPROVED' },
      'decision { id }',
    );
    for (const person of [editor, admin])
      expect(await person.refused('withdrawVersion', { versionId: v4, reason: 'no' })).toMatchObject([
        { code: 'VERSION_DECIDED' },
      ]);
    // Also when the verdict was taken back: the history shows both.
    const back = await client.does<{ version: { outcome: string; decisions: object[] } }>(
      'withdrawDecision',
      { versionId: v4, decisionId: mine.id, reason: 'wrong button' },
      'version { outcome decisions(includeSuperseded: true) { standing withdrawn withdrawnReason } }',
    );
    expect(back.version).toEqual({
      outcome: 'PENDING',
      decisions: [{ standing: false, withdrawn: true, withdrawnReason: 'wrong button' }],
    });
    expect(await editor.refused('withdrawVersion', { versionId: v4, reason: 'no' })).toMatchObject([
      { code: 'VERSION_DECIDED' },
    ]);
    expect(await at(v4)).toMatchObject({ status: 'CURRENT' });
  });

  it('going back makes a new version with the old one’s media', async () => {
    const select = 'version { id number revertsTo { id number } media { hash status } stack { current { id } } }';
    const reverted = await editor.does<{ version: { id: string; number: number; media: object } }>(
      'revertToVersion',
      { versionId: v1, note: 'The first was best' },
      select,
    );
    const { id } = reverted.version;
    expect(reverted.version).toMatchObject({
      number: 5,
      revertsTo: { id: v1, number: 1 },
      media: { hash: await sha256(clip) },
      stack: { current: { id } },
    });
    expect(id).not.toBe(v1);
    await transcoded(admin, id);
    await stateOf(admin, stageId, 'IN_REVIEW');
    expect(await at(v1)).toMatchObject({ status: 'LOCKED' });
    await client.does('recordDecision', { versionId: id, verdict: 'APPROVED' });
    await stateOf(admin, stageId, 'APPROVED');
    const { versionStack } = await admin.read<{ versionStack: { versions: { edges: { node: object }[] } } }>(
      'query ($id: ID!) { versionStack(id: $id) { versions { edges { node { number status } } } } }',
      { id: stageId },
    );
    expect(versionStack.versions.edges.map(({ node }) => node)).toEqual([
      { number: 5, status: 'CURRENT' },
      { number: 4, status: 'LOCKED' },
      { number: 3, status: 'WITHDRAWN' },
      { number: 2, status: 'LOCKED' },
      { number: 1, status: 'LOCKED' },
    ]);
  });
});
