import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { jest } from '@jest/globals';
import { verifyReadModels } from '#apps/projector/index.js';
import { backup, restore } from '#apps/studio/backup.js';
import { openEventLog, startWithErasures, type EventLog } from '#libs/events/log/index.js';
import { verifyLines } from '#libs/ledger/index.js';
import { makeClip } from '#libs/media/testmedia.js';
import { createPool, ensureDatabase } from '#libs/postgres/index.js';
import { ERASURE_LIST, loadConfig, loadSettings, operatorToken, readErasureList } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { startStack, temporaryHome, type TestStack } from '../support/stack.js';
import {
  auditEvents,
  collect,
  domainEvents,
  eventually,
  found,
  hire,
  openLog,
  plan,
  Person,
  submit,
  type Plan,
} from './support.js';

jest.setTimeout(180_000);

/** What an administrator can trust: the audit trail, history, reading as of a moment, and that the forgotten are forgotten. */

const STAGES = [{ key: 'edit', name: 'Edit', approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] } }];

const work = mkdtempSync(join(tmpdir(), 'picturelock-trust-'));
const clip = join(work, 'clip.mov');
const home = temporaryHome();
/** Addresses are those that a proxy on this machine tells. */
const erasureFolder = join(work, 'erasures');
const env = {
  TRUST_PROXY: '1',
  AS_OF_BUILDS: '2',
  AS_OF_TTL_SECONDS: '20',
  ERASURE_LIST_FOLDER: erasureFolder,
};
let stack: TestStack;
let log: EventLog;
let admin: Person;
let editor: Person;
let client: Person;
let outsider: Person;
let made: Plan;
let stageId: string;
let v1: string;
let commentId: string;

beforeAll(async () => {
  [stack] = await Promise.all([startStack({ home, env }), makeClip(clip, { frames: 24 })]);
  log = await openLog(stack);
  ({ admin } = await found(stack, 'Ours'));
  ({ admin: outsider } = await found(stack, 'Others'));
  [editor, client] = (await Promise.all([hire(admin, 'Editor', 'ARTIST'), hire(admin, 'Client', 'CLIENT')])) as [
    Person,
    Person,
  ];
  made = await plan(admin, 'TRUST', STAGES);
  stageId = made.stages['edit']!;
  await admin.does('addProjectMember', { projectId: made.projectId, userId: client.id });
  await admin.does('assignStage', { stageId, userId: editor.id });
  v1 = await submit(editor, stageId, clip, 'one.mov');
  const added = await client.does<{ comment: { id: string } }>(
    'addComment',
    { versionId: v1, text: 'Too dark', annotations: [{ shape: { kind: 'PIN', at: { x: 0.5, y: 0.5 } } }] },
    'comment { id }',
  );
  commentId = added.comment.id;
  await submit(editor, stageId, clip, 'two.mov');
  await admin.does('renameProject', { projectId: made.projectId, name: 'Harbour at Dusk' });
});

afterAll(async () => {
  await log?.close();
  await stack?.stop();
  rmSync(home, { recursive: true, force: true });
  rmSync(work, { recursive: true, force: true });
});

describe('the audit trail', () => {
  interface Entry {
    position: string;
    type: string;
    outcome: string;
    actorUserId: string | null;
    actor: { name: string } | null;
    actorRole: string;
    origin: string | null;
    entityType: string;
    entityId: string | null;
    code: string | null;
    recordedAt: string;
    events: { type: string; data: unknown }[];
    changes: { path: string; old: unknown; new: unknown }[];
  }
  interface Trail {
    auditTrail: {
      totalCount: number;
      edges: { cursor: string; node: Entry }[];
      pageInfo: { hasNextPage: boolean; endCursor: string | null };
    };
  }
  const TRAIL = `query ($filter: AuditFilter, $first: Int, $after: String, $atLeast: Position) {
    auditTrail(filter: $filter, first: $first, after: $after, atLeast: $atLeast) {
      totalCount pageInfo { hasNextPage endCursor }
      edges { cursor node {
        position type outcome actorUserId actor { name } actorRole origin entityType entityId code recordedAt
        events { type data } changes { path old new }
      } }
    } }`;
  const trail = async (filter: object, page: object = {}, who = admin): Promise<Entry[]> => {
    const { auditTrail } = await who.read<Trail>(TRAIL, { filter, atLeast: String(await log.head()), ...page });
    return auditTrail.edges.map(({ node }) => node);
  };

  it('says who changed what from where, with old and new values', async () => {
    expect(await trail({ entityId: made.projectId, type: 'RenameProject' })).toMatchObject([
      {
        outcome: 'ACCEPTED',
        actorUserId: admin.id,
        actor: { name: 'Ours admin' },
        actorRole: 'ADMINISTRATOR',
        origin: expect.stringMatching(/127\.0\.0\.1|::1/) as unknown,
        entityType: 'project',
        code: null,
        events: [{ type: 'ProjectRenamed' }],
        changes: [{ path: 'name', old: expect.any(String) as unknown, new: 'Harbour at Dusk' }],
      },
    ]);
    const [comment] = await trail({ entityId: v1, type: 'AddComment' });
    expect(comment!.events.map(({ type }) => type)).toEqual(['CommentAdded', 'AnnotationAdded']);
    expect(comment!.changes).toContainEqual({
      path: `comments.${commentId}`,
      old: null,
      new: { authorId: client.id, text: 'Too dark', mentions: [], resolved: false, deleted: false },
    });
  });

  it('has what was refused, with the code', async () => {
    const late = await client.refused('addComment', { versionId: v1, text: 'Too late' });
    expect(late[0]!.code).toBe('VERSION_LOCKED');
    const renamed = await client.refused('renameProject', { projectId: made.projectId, name: 'Mine' });
    expect(renamed[0]!.code).toBe('FORBIDDEN');
    expect(await trail({ actorUserId: client.id, outcome: 'REFUSED' })).toMatchObject([
      { code: 'FORBIDDEN', entityType: 'project', entityId: made.projectId, events: [], changes: [] },
      {
        code: 'VERSION_LOCKED',
        entityType: 'version',
        entityId: v1,
        actorRole: 'CLIENT',
        origin: expect.any(String) as unknown,
      },
    ]);
    expect((await trail({ code: 'VERSION_LOCKED' })).map(({ type }) => type)).toEqual(['AddComment']);
  });

  it('has one entry for each command, and nothing of other organisations', async () => {
    const [written, refused] = [await domainEvents(log), await auditEvents(log)];
    const organisationId = written.find(
      ({ type, stream }) => type === 'ProjectCreated' && stream.endsWith(made.projectId),
    )!.metadata.organisationId;
    const expected = [...written.filter(({ metadata }) => metadata.index === 0), ...refused]
      .filter(({ metadata }) => metadata.organisationId === organisationId)
      .map(({ position }) => String(position))
      .sort((a, b) => Number(BigInt(b) - BigInt(a)));
    const seen: string[] = [];
    for (let after: string | null = null; ;) {
      const { auditTrail }: Trail = await admin.read<Trail>(TRAIL, {
        first: 7,
        after,
        atLeast: String(await log.head()),
      });
      seen.push(...auditTrail.edges.map(({ node }) => node.position));
      expect(auditTrail.totalCount).toBe(expected.length);
      if (!auditTrail.pageInfo.hasNextPage) break;
      after = auditTrail.pageInfo.endCursor;
    }
    expect(seen).toEqual(expected);
    const theirs = await trail({ entityId: made.projectId }, {}, outsider);
    expect(theirs).toEqual([]);
  });

  it('is narrowed by time, by the log’s own clock', async () => {
    const [rename] = await trail({ type: 'RenameProject', outcome: 'ACCEPTED' });
    const at = new Date(rename!.recordedAt);
    const after = new Date(at.getTime() + 1);
    const renamed = async (filter: object) =>
      (await trail({ type: 'RenameProject', outcome: 'ACCEPTED', ...filter })).length;
    expect(await renamed({ from: at, to: after })).toBe(1);
    expect(await renamed({ from: after })).toBe(0);
    expect(await renamed({ to: at })).toBe(0);
  });

  it('is for administrators', async () => {
    for (const person of [editor, client]) {
      const answer = await person.ask(TRAIL);
      expect(answer.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN', permission: 'audit.read' });
    }
    expect((await admin.ask(TRAIL, { after: 'nonsense' })).errors?.[0]?.extensions?.code).toBe('INVALID_PAGE');
  });

  describe('as a file', () => {
    const download = (query: string, who: Person | undefined = admin) =>
      fetch(new URL(`/audit?${query}`, stack.apiUrl), { headers: who?.headers ?? {} });

    it('has the same entries, oldest first, as NDJSON and as CSV', async () => {
      const entries = (await trail({}, { first: 200 })).reverse();
      const ndjson = await download('');
      expect(ndjson.headers.get('content-type')).toContain('application/x-ndjson');
      const lines = (await ndjson.text())
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Entry);
      expect(lines.map(({ position }) => position)).toEqual(entries.map(({ position }) => position));
      for (const [i, { changes, origin, outcome }] of entries.entries())
        expect(lines[i]).toMatchObject({ changes, origin, outcome });
      const csv = await (await download('format=csv&outcome=REFUSED&values=false')).text();
      const [header, ...rows] = csv.trimEnd().split('\r\n');
      expect(header).toMatch(/^position,recordedAt,at,commandId,type,outcome,/);
      expect(rows).toHaveLength(entries.filter(({ outcome }) => outcome === 'REFUSED').length);
      expect(csv).toContain('VERSION_LOCKED');
    });

    it('is refused with a code', async () => {
      const codes = async (response: Promise<Response>) => {
        const { status } = await response;
        return [status, ((await (await response).json()) as { code: string }).code];
      };
      expect(await codes(download('', new Person(stack.apiUrl)))).toEqual([401, 'UNAUTHENTICATED']);
      expect(await codes(download('', client))).toEqual([403, 'FORBIDDEN']);
      expect(await codes(download('format=xml'))).toEqual([400, 'INVALID_INPUT']);
      expect(await codes(download(`actorUserId=${randomUUID()}&wrong=1`))).toEqual([400, 'INVALID_INPUT']);
    });
  });

  it('survives a restart: the refusal is there once, however often the command is repeated', async () => {
    const commandId = randomUUID();
    const late = { commandId, versionId: v1, text: 'Again too late' };
    expect((await client.refused('addComment', late))[0]!.code).toBe('VERSION_LOCKED');
    await stack.restartService('api');
    const again = new Person(stack.apiUrl, client.token, client.id);
    expect((await again.refused('addComment', late))[0]!.code).toBe('VERSION_LOCKED');
    const mine = (await auditEvents(log)).filter(({ metadata }) => metadata.commandId === commandId);
    expect(mine).toHaveLength(1);
  });

  it('survives a restart: an accepted command’s id serves for nothing else, and is on record as misused', async () => {
    const template = {
      commandId: randomUUID(),
      name: 'Twice',
      stages: [{ key: 'cut', name: 'Cut', approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] } }],
    };
    const boss = new Person(stack.apiUrl, admin.token, admin.id);
    const first = await boss.does('createPipelineTemplate', template, 'pipelineTemplate { id }');
    await stack.restartService('api');
    const again = new Person(stack.apiUrl, admin.token, admin.id);
    const misuse = { commandId: template.commandId, projectId: made.projectId, name: 'Not this' };
    expect(await again.refused('renameProject', misuse)).toMatchObject([
      { code: 'COMMAND_ID_REUSED', path: ['input', 'commandId'] },
    ]);
    expect(await again.does('createPipelineTemplate', template, 'pipelineTemplate { id }')).toEqual(first);
    const { project: now } = await again.read<{ project: { name: string } }>(
      'query ($id: ID!) { project(id: $id) { name } }',
      {
        id: made.projectId,
      },
    );
    expect(now.name).not.toBe('Not this');
    const mine = (await auditEvents(log)).filter(({ metadata }) => metadata.commandId === template.commandId);
    expect(mine.map(({ data }) => (data as { code: string }).code)).toEqual(['COMMAND_ID_REUSED']);
  });
});

describe('time travel', () => {
  interface Told {
    history: {
      totalCount: number;
      edges: { cursor: string; node: { position: string; at: string; sentence: string; changes: object[] } }[];
    } | null;
  }
  const HISTORY = `query ($entity: EntityRef!, $first: Int, $last: Int, $after: String) {
    history(entity: $entity, first: $first, last: $last, after: $after) {
      totalCount edges { cursor node { position at sentence changes { path old new } } }
    } }`;
  const AS_OF = `query ($entity: EntityRef!, $asOf: AsOf!) {
    entityAsOf(entity: $entity, asOf: $asOf) { revision position at state } }`;
  const DIFF = `query ($entity: EntityRef!, $from: AsOf!, $to: AsOf!) {
    entityDiff(entity: $entity, from: $from, to: $to) {
      from { revision } to { revision state } changes { path old new } } }`;
  interface State {
    revision: number;
    position: string;
    at: string;
    state: { name?: string; comments?: Record<string, { text: string; resolved: boolean }>; closed?: unknown };
  }
  const version = () => ({ type: 'VERSION', id: v1 });
  const project = () => ({ type: 'PROJECT', id: made.projectId });

  it('tells the life of an entity in sentences, page by page', async () => {
    await client.does('resolveComment', { versionId: v1, commentId });
    const { history } = await admin.read<Told>(HISTORY, { entity: version() });
    expect(history!.edges.map(({ node }) => node.sentence)).toEqual([
      expect.stringContaining('opened the version with “one.mov”.') as unknown,
      expect.stringMatching(/^Client commented: “Too dark”\.$/) as unknown,
      expect.stringContaining('drew a pin') as unknown,
      expect.stringContaining('closed the version (superseded).') as unknown,
      'Client resolved the comment “Too dark”.',
    ]);
    expect(history!.edges.at(-1)!.node.changes).toEqual([
      { path: `comments.${commentId}.resolved`, old: false, new: true },
    ]);
    const first = await admin.read<Told>(HISTORY, { entity: version(), first: 2 });
    const rest = await admin.read<Told>(HISTORY, { entity: version(), after: first.history!.edges[1]!.cursor });
    const newest = await admin.read<Told>(HISTORY, { entity: version(), last: 1 });
    expect([...first.history!.edges, ...rest.history!.edges]).toEqual(history!.edges);
    expect(newest.history).toMatchObject({ totalCount: 5, edges: history!.edges.slice(-1) });
    const renamed = await admin.read<Told>(HISTORY, { entity: project(), last: 1 });
    expect(renamed.history!.edges[0]!.node.sentence).toMatch(
      /^Ours admin renamed the project: “.*” → “Harbour at Dusk”\.$/,
    );
  });

  it('shows an entity as of any position and any time, equal to the fold of its events up to there', async () => {
    const { history } = await admin.read<Told>(HISTORY, { entity: version() });
    const seen: State[] = [];
    for (const { node } of history!.edges)
      for (const asOf of [{ position: node.position }, { time: node.at }]) {
        const { entityAsOf } = await admin.read<{ entityAsOf: State }>(AS_OF, { entity: version(), asOf });
        // Events of one append share their time.
        if ('position' in asOf) expect(entityAsOf.position).toBe(node.position);
        else expect(entityAsOf.at).toBe(node.at);
        seen.push(entityAsOf);
      }
    expect(seen[0]!.state.comments).toEqual({});
    expect(seen[2]!.state.comments![commentId]).toMatchObject({ text: 'Too dark', resolved: false });
    expect(seen.at(-1)!.state.comments![commentId]!.resolved).toBe(true);
    const born = new Date(new Date(history!.edges[0]!.node.at).getTime() - 1).toISOString();
    expect(await admin.read(AS_OF, { entity: version(), asOf: { time: born } })).toEqual({ entityAsOf: null });
  });

  it('says what differs between two moments', async () => {
    const { history } = await admin.read<Told>(HISTORY, { entity: version() });
    const [opened, , , , resolved] = history!.edges.map(({ node }) => ({ position: node.position }));
    const between = { entity: version(), from: opened, to: resolved };
    const { entityDiff } = await admin.read<{ entityDiff: { changes: { path: string }[] } }>(DIFF, between);
    expect(entityDiff.changes.map(({ path }) => path.split('.')[0])).toEqual(['annotations', 'closed', 'comments']);
    const back = await admin.read<{ entityDiff: { changes: { old: unknown; new: unknown }[] } }>(DIFF, {
      ...between,
      from: resolved,
      to: opened,
    });
    expect(back.entityDiff.changes.map(({ old, new: now }) => [now, old])).toEqual(
      (entityDiff.changes as unknown as { old: unknown; new: unknown }[]).map(({ old, new: now }) => [old, now]),
    );
  });

  it('asks for the permission of today, and hides what is not there for the caller', async () => {
    const asOf = { position: String((await domainEvents(log))[0]!.position) };
    for (const person of [editor, client]) {
      const answer = await person.ask(AS_OF, { entity: version(), asOf });
      expect(answer.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN', permission: 'history.read' });
    }
    for (const entity of [version(), project()]) {
      expect(await outsider.read(HISTORY, { entity })).toEqual({ history: null });
      expect(await outsider.read(AS_OF, { entity, asOf })).toEqual({ entityAsOf: null });
    }
    expect(await admin.read(HISTORY, { entity: { type: 'VERSION', id: randomUUID() } })).toEqual({ history: null });
  });

  it('refuses moments that are none, with a code each', async () => {
    const events = [...(await domainEvents(log)), ...(await auditEvents(log))];
    const taken = new Set(events.map((event) => event.position));
    const { position } = events[5]!;
    let nobodys = 0n;
    while (taken.has(nobodys)) nobodys++;
    const code = async (asOf: object) =>
      (await admin.ask(AS_OF, { entity: project(), asOf })).errors?.[0]?.extensions?.code;
    expect(await code({})).toBe('INVALID_AS_OF');
    expect(await code({ position: String(position), time: '2026-01-01T00:00:00Z' })).toBe('INVALID_AS_OF');
    expect(await code({ position: String((await log.head()) + 1_000_000n) })).toBe('AS_OF_IN_FUTURE');
    expect(await code({ time: new Date(Date.now() + 3_600_000).toISOString() })).toBe('AS_OF_IN_FUTURE');
    expect(await code({ position: String(nobodys) })).toBe('AS_OF_UNKNOWN_POSITION');
    expect(await code({ position: 'nonsense' })).toBe('BAD_USER_INPUT');
    expect(await code({ position: String(position) })).toBeUndefined();
  });
});

describe('read models as of a moment', () => {
  interface Seen {
    project: { name: string } | null;
    version: { status: string; comments: { edges: { node: { text: string; resolved: boolean } }[] } } | null;
  }
  const QUERY = `query ($project: ID!, $version: ID!) {
    project(id: $project) { name }
    version(id: $version) { status comments { edges { node { text resolved } } } } }`;
  const variables = () => ({ project: made.projectId, version: v1 });
  const asOf = <T>(moment: string, query = QUERY, who = admin, more: object = variables()) =>
    who.send<T>({ query, variables: more }, { 'x-as-of': moment });
  const code = async (...args: Parameters<typeof asOf>) => (await asOf(...args)).errors?.[0]?.extensions?.code;
  const built = async (moment: string, who = admin) => {
    const answer = await eventually(
      () => asOf<Seen>(moment, QUERY, who),
      ({ errors }) => errors?.[0]?.extensions?.code !== 'BUILDING',
    );
    expect(answer.errors).toBeUndefined();
    return answer.data!;
  };
  const events = (type: string) =>
    domainEvents(log).then((all) => all.filter((event) => event.type === type && event.metadata.actor.userId !== null));

  it('answer the same queries as they would have been answered then', async () => {
    const [renamed] = await events('ProjectRenamed');
    const [commented] = await events('CommentAdded');
    const { from } = renamed!.data as { from: string };
    const first = await asOf<Seen>(String(commented!.position));
    expect(first).toMatchObject({ status: 503, errors: [{ extensions: { code: 'BUILDING', retryAfterSeconds: 1 } }] });
    expect(await built(String(commented!.position))).toEqual({
      project: { name: from },
      version: { status: 'CURRENT', comments: { edges: [{ node: { text: 'Too dark', resolved: false } }] } },
    });
    // By time: the log's own, of the last of what happened.
    const now = await built(new Date().toISOString());
    expect(now.project).toEqual({ name: 'Harbour at Dusk' });
    expect(now.version!.status).toBe('LOCKED');
    expect((await admin.read<Seen>(QUERY, variables())).project).toEqual(now.project);
  });

  it('are for reading what can be read of then, by who may', async () => {
    const [commented] = await events('CommentAdded');
    const then = String(commented!.position);
    const rename = 'mutation ($input: RenameProjectInput!) { renameProject(input: $input) { position } }';
    expect(await code(then, rename, admin, { input: { projectId: made.projectId, name: 'x' } })).toBe(
      'AS_OF_QUERIES_ONLY',
    );
    expect(await code(then, '{ auditTrail { totalCount } }', admin, {})).toBe('AS_OF_NOT_AVAILABLE');
    for (const person of [client, editor]) expect(await code(then, QUERY, person)).toBe('FORBIDDEN');
    expect(await code(then, QUERY, new Person(stack.apiUrl))).toBe('UNAUTHENTICATED');
    expect(await built(then, outsider)).toEqual({ project: null, version: null });
  });

  it('are refused with a code for what is no moment, and past the quota', async () => {
    const all = [...(await domainEvents(log)), ...(await auditEvents(log))];
    const taken = new Set(all.map(({ position }) => position));
    let nobodys = 0n;
    while (taken.has(nobodys)) nobodys++;
    expect(await code('yesterday')).toBe('INVALID_AS_OF');
    expect(await code('2026-01-01T00:00:00')).toBe('INVALID_AS_OF');
    expect(await code(String((await log.head()) + 1_000_000n))).toBe('AS_OF_IN_FUTURE');
    expect(await code(new Date(Date.now() + 3_600_000).toISOString())).toBe('AS_OF_IN_FUTURE');
    expect(await code(String(nobodys))).toBe('AS_OF_UNKNOWN_POSITION');
    const codes: (string | undefined)[] = [];
    for (const { position } of all.slice(0, 3)) codes.push(await code(String(position)));
    expect(codes).toContain('AS_OF_QUOTA');
  });

  it('are removed when nobody has read them for a while', async () => {
    const pool = createPool(loadConfig(stack.env).databases.read, { max: 1 });
    try {
      const left = await eventually(
        async () =>
          (await pool.query<{ nspname: string }>(`SELECT nspname FROM pg_namespace WHERE nspname LIKE '%\\_asof\\_%'`))
            .rows,
        (rows) => rows.length === 0,
        120_000,
      );
      expect(left).toEqual([]);
    } finally {
      await pool.end();
    }
  });
});

describe('a person who is forgotten', () => {
  const NAME = 'Zebedee Quicksilver';
  const EMAIL = 'zebedee.quicksilver@northlight.example';
  const IP = '203.0.113.77';
  const PASSWORD = 'pass of Zebedee';
  const NEEDLES = [NAME, EMAIL, IP];
  const config = () => loadConfig(stack.env);

  /** Somebody who comes from an address of their own. */
  class Visitor extends Person {
    override get headers(): Record<string, string> {
      return { ...super.headers, 'x-forwarded-for': IP };
    }
  }
  let zebedee: Visitor;
  let keyBackup: string;
  /** Of the whole home before the erasure, and its keys. */
  const backupFolder = join(work, 'backup');
  const keysFolder = join(work, 'keys');

  /** Files of the home that hold any of the needles, with which. */
  function traces(folder: string): string[] {
    for (let tries = 0; ; tries++) {
      try {
        return tracesNow(folder);
      } catch (error) {
        // Postgres renames and removes files of its own at any moment: what was read may not be all there was.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries === 20) throw error;
      }
    }
  }
  function tracesNow(folder: string): string[] {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .flatMap((entry) => {
        const file = join(entry.parentPath, entry.name);
        const content = readFileSync(file);
        return NEEDLES.filter((needle) => content.includes(needle)).map(
          (needle) => `${relative(home, file)}: ${needle}`,
        );
      });
  }
  /** What leaves the house of the whole log: as a feed, and as the bundle of the ledger. Webhooks carry checkpoints only. */
  const outgoing = async (who: Person): Promise<string[]> => {
    const operator = { authorization: `Bearer ${operatorToken(config().keys.master)}` };
    const paths = { '/events/export?after=0': who.headers, '/ledger/export': operator };
    return Promise.all(
      Object.entries(paths).map(async ([path, headers]) => {
        const answer = await fetch(new URL(path, stack.apiUrl), { headers });
        expect([path, answer.status]).toEqual([path, 200]);
        return answer.text();
      }),
    );
  };
  const forgottenByWorkers = () =>
    eventually(
      () => Promise.resolve(stack.log('workers')),
      (text) => text.includes('a person was forgotten'),
    );
  const restart = async (): Promise<void> => {
    await log.close();
    await stack.stop({ keepHome: true });
  };

  beforeAll(async () => {
    await admin.does('registerUser', { email: EMAIL, name: NAME, role: 'CLIENT', password: PASSWORD });
    const { id, token } = await new Visitor(stack.apiUrl).login(EMAIL, PASSWORD);
    zebedee = new Visitor(stack.apiUrl, token, id);
    await new Visitor(stack.apiUrl).refused('login', { email: EMAIL, password: 'not the one of Zebedee' });
    await admin.does('addProjectMember', { projectId: made.projectId, userId: id });
    const { current } = (
      await zebedee.read<{ versionStack: { current: { id: string } } }>(
        `{ versionStack(id: "${stageId}") { current { id } } }`,
      )
    ).versionStack;
    await zebedee.does('addComment', { versionId: current.id, text: 'What I said stays.' });
    await zebedee.refused('renameProject', { projectId: made.projectId, name: 'Mine' });
    const secrets = await openSecrets({ databaseUrl: config().databases.secrets, masterKey: config().keys.master });
    keyBackup = await secrets.keys.exportKeys();
    await secrets.close();
    await backup({
      settings: loadSettings({ PICTURELOCK_HOME: home }),
      folder: backupFolder,
      blobs: false,
      keys: keysFolder,
      verify: false,
    });
  });

  it('is seen everywhere before', async () => {
    const { auditTrail } = await admin.read<{ auditTrail: { edges: { node: object }[] } }>(
      `{ auditTrail(filter: { actorUserId: "${zebedee.id}" }, first: 10) { edges { node { origin actor { name } } } } }`,
    );
    expect(auditTrail.edges.map(({ node }) => node)).toContainEqual({ origin: IP, actor: { name: NAME } });
    expect(traces(home).join('\n')).toContain(NAME);
    expect(traces(home).join('\n')).toContain(EMAIL);
  });

  it('is forgotten by nobody else than an administrator and themselves', async () => {
    expect((await client.refused('erasePerson', { userId: zebedee.id }))[0]!.code).toBe('FORBIDDEN');
    expect((await outsider.refused('erasePerson', { userId: zebedee.id }))[0]!.code).toBe('NOT_FOUND');
    expect((await admin.refused('erasePerson', { userId: admin.id }))[0]!.code).toBe('OWN_ACCOUNT');
  });

  it('is shown as such at once, and their sessions end', async () => {
    const { user } = await admin.does<{ user: object }>(
      'erasePerson',
      { userId: zebedee.id },
      'user { id name email active }',
    );
    expect(user).toEqual({ id: zebedee.id, name: 'Erased person', email: '[redacted]', active: false });
    const answer = await zebedee.ask('{ viewer { id } }');
    expect(answer.data).toEqual({ viewer: null });
    expect((await new Visitor(stack.apiUrl).refused('login', { email: EMAIL, password: PASSWORD }))[0]!.code).toBe(
      'INVALID_CREDENTIALS',
    );
    await admin.does('erasePerson', { userId: zebedee.id });
    expect((await admin.refused('reactivateUser', { userId: zebedee.id }))[0]!.code).toBe('PERSON_ERASED');
  });

  it('leaves what they did, and no name or address in trail, export or log', async () => {
    const { auditTrail } = await admin.read<{ auditTrail: { edges: { node: object }[] } }>(
      `{ auditTrail(filter: { actorUserId: "${zebedee.id}" }, first: 10) { edges { node { type origin actor { name } events { data } } } } }`,
    );
    const entries = auditTrail.edges.map(({ node }) => node);
    expect(entries).toMatchObject([
      { type: 'RenameProject', origin: null, actor: { name: 'Erased person' } },
      { type: 'AddComment', origin: null, events: [{ data: { text: 'What I said stays.' } }] },
    ]);
    const file = await (await fetch(new URL('/audit', stack.apiUrl), { headers: admin.headers })).text();
    const events = [...(await domainEvents(log)), ...(await auditEvents(log))];
    const registered = events.find(({ type, stream }) => type === 'UserRegistered' && stream === `user-${zebedee.id}`)!;
    expect(registered.data).toMatchObject({ name: '[redacted]', email: '[redacted]' });
    const left = (await outgoing(admin)).join('\n');
    for (const needle of NEEDLES) {
      expect(file).not.toContain(needle);
      expect(left).not.toContain(needle);
      expect(JSON.stringify(events.map(({ data, metadata }) => [data, metadata]))).not.toContain(needle);
    }
  });

  it('leaves no trace in any file: databases with their write-ahead log, jobs, logs, uploads', async () => {
    await forgottenByWorkers();
    await restart();
    expect(traces(home)).toEqual([]);
    stack = await startStack({ home, env });
    log = await openLog(stack);
    admin = await new Person(stack.apiUrl).login(admin.email, admin.password);
  });

  it('is the same after a clean rebuild', async () => {
    const head = await log.head();
    await eventually(
      () => admin.position(),
      (position) => BigInt(position) >= head,
    );
    const { equal, different } = await verifyReadModels({ log, url: config().databases.read });
    expect(different).toEqual([]);
    expect(equal).toBe(true);
  });

  it('stays forgotten when the keys are restored from an older backup', async () => {
    const url = new URL(config().databases.secrets);
    url.pathname += '_restored';
    await ensureDatabase(url.toString());
    const secrets = await openSecrets({ databaseUrl: url.toString(), masterKey: config().keys.master });
    const read = async (): Promise<unknown> => {
      const restored = openEventLog({ url: config().eventStoreUrl, cipher: secrets.keys });
      try {
        const [registered] = await collect(restored.readStream(`user-${zebedee.id}`, { limit: 1 }));
        return (registered!.data as { name: string }).name;
      } finally {
        await restored.close();
      }
    };
    try {
      await secrets.keys.importKeys(keyBackup);
      expect(await read()).toBe(NAME);
      const logger = { info: () => undefined, warn: () => undefined };
      await startWithErasures({ url: config().eventStoreUrl, secrets, logger });
      expect(await read()).toBe('[redacted]');
      expect(await secrets.erasuresKnownTo()).toBeGreaterThan(0n);
    } finally {
      await secrets.close();
    }
  });

  it('stays forgotten in a home that is restored from a backup of before, by the list of erasures', async () => {
    const list = join(erasureFolder, ERASURE_LIST);
    expect(readErasureList(list, config().keys.master).map(({ person }) => person)).toEqual([zebedee.id]);
    for (const needle of NEEDLES) expect(readFileSync(list, 'utf8')).not.toContain(needle);
    // The keys of the backup know of nobody: that is what the list is for.
    expect(readErasureList(join(keysFolder, ERASURE_LIST), config().keys.master)).toEqual([]);

    const restored = join(work, 'restored');
    mkdirSync(restored, { mode: 0o711 });
    await restore({ folder: backupFolder, home: restored, keys: keysFolder, erasures: list });
    expect(traces(restored).join('\n')).toContain(NAME);
    await restart();
    stack = await startStack({ home: restored, env: { TRUST_PROXY: '1' } });
    try {
      log = await openLog(stack);
      const again = await new Person(stack.apiUrl).login(admin.email, admin.password);
      const { users } = await again.read<{ users: { edges: { node: { id: string; name: string; email: string } }[] } }>(
        '{ users(first: 100) { edges { node { id name email } } } }',
      );
      expect(users.edges.map(({ node }) => node)).toContainEqual({
        id: zebedee.id,
        name: 'Erased person',
        email: '[redacted]',
      });
      expect((await new Visitor(stack.apiUrl).refused('login', { email: EMAIL, password: PASSWORD }))[0]!.code).toBe(
        'INVALID_CREDENTIALS',
      );
      const file = await (await fetch(new URL('/audit', stack.apiUrl), { headers: again.headers })).text();
      const left = await outgoing(again);
      for (const needle of NEEDLES) expect([file, ...left].join('\n')).not.toContain(needle);
      expect(await verifyReadModels({ log, url: config().databases.read })).toEqual({ equal: true, different: [] });
      const report = await verifyLines(left[1]!.split('\n'), { key: undefined, witnesses: [], checkpoints: [] });
      expect(report).toMatchObject({ ok: true, findings: [] });
      await forgottenByWorkers();
    } finally {
      await restart();
    }
    expect(traces(restored)).toEqual([]);
  });
});
