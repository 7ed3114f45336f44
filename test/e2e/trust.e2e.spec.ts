import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { EventLog } from '#libs/events/log/index.js';
import { makeClip } from '#libs/media/testmedia.js';
import { startStack, type TestStack } from '../support/stack.js';
import { auditEvents, domainEvents, found, hire, openLog, plan, Person, submit, type Plan } from './support.js';

jest.setTimeout(180_000);

/** What an administrator can trust: the audit trail, history, reading as of a moment, and that the forgotten are forgotten. */

const STAGES = [{ key: 'edit', name: 'Edit', approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] } }];

const work = mkdtempSync(join(tmpdir(), 'picturelock-trust-'));
const clip = join(work, 'clip.mov');
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
  [stack] = await Promise.all([startStack(), makeClip(clip, { frames: 24 })]);
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
});
