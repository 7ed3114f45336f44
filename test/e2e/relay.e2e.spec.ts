import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { EventLog } from '#libs/events/log/index.js';
import { signPath, verifyPath } from '#libs/media/index.js';
import { makeClip } from '#libs/media/testmedia.js';
import { loadConfig } from '#libs/runtime/index.js';
import { startStack, type TestStack } from '../support/stack.js';
import {
  domainEvents,
  eventually,
  Feed,
  found,
  hire,
  LABELS,
  openLog,
  Person,
  plan,
  sha256,
  stateOf,
  submit,
  transcoded,
  upload,
  type EdgeFailure,
  type Message,
  type Plan,
} from './support.js';

jest.setTimeout(180_000);

/** RV-22 and RV-23 from outside: one story of five people on real media, told in order. Later cases build on earlier ones. */

const SEEN = `position eventType stage { id key state label } version { id number status outcome media { status } }
  comment { id text } decision { id verdict standing }`;
const IN_PROJECT = 'position eventType stage { id key state label } version { id number status outcome }';
interface StackMessage extends Message {
  readonly stage: { id: string; key: string; state: string; label: string } | null;
  readonly version: { id: string; number: number; status: string; outcome: string; media: { status: string } } | null;
  readonly comment: { id: string; text: string } | null;
  readonly decision: { id: string; verdict: string; standing: boolean } | null;
}
const ALL_URLS = 'media { status hash posterUrl hlsUrl proxyUrl spritesVttUrl originalUrl }';
interface Urls {
  readonly status: string;
  readonly hash: string;
  readonly posterUrl: string;
  readonly hlsUrl: string;
  readonly proxyUrl: string;
  readonly spritesVttUrl: string;
  readonly originalUrl: string | null;
}

const work = mkdtempSync(join(tmpdir(), 'picturelock-relay-'));
const clip = (name: string) => join(work, name);
const feeds: Feed<object>[] = [];

let stack: TestStack;
let log: EventLog;
let maya: Person;
let sam: Person;
let eli: Person;
let chris: Person;
let cora: Person;
let outsider: Person;
let spot: Plan;
let start: string;
let rushes: string;
let v1: string;
let v2: string;
let comment: string;
/** Held open from the first moment to the last. */
let steady: Feed<StackMessage>;
/** The same, with its line dropped again and again. */
let shaky: Feed<StackMessage>;
let project: Feed<StackMessage>;

const follow = async <M extends Message = StackMessage>(
  person: Person,
  field: string,
  args: Record<string, string>,
  after?: string,
  selection = SEEN,
): Promise<Feed<M>> => {
  const feed = await person.follow<M>(field, args, selection, after);
  feeds.push(feed);
  return feed;
};
const media = async (person: Person, versionId: string, atLeast?: string): Promise<Urls | null> => {
  const { version } = await person.read<{ version: { media: Urls } | null }>(
    `query ($id: ID!, $atLeast: Position) { version(id: $id, atLeast: $atLeast) { ${ALL_URLS} } }`,
    { id: versionId, atLeast },
  );
  return version?.media ?? null;
};
const types = (messages: readonly Message[]) => messages.map(({ eventType }) => eventType);
const seen =
  (type: string, times = 1) =>
  (messages: readonly Message[]) =>
    messages.filter(({ eventType }) => eventType === type).length >= times;
/** The last label of a stage that a follower was told. */
const labelOf = (messages: readonly StackMessage[], stageId: string) =>
  messages.findLast(({ stage }) => stage?.id === stageId)?.stage?.label;

beforeAll(async () => {
  const clips = Promise.all([
    makeClip(clip('rushes.mov'), { seconds: 2 }),
    // Noise, so that there is something to cut in the middle of.
    makeClip(clip('v1.mov'), { seconds: 2, noise: 40 }),
    makeClip(clip('v2.mov'), { seconds: 2, hue: 90 }),
  ]);
  [stack] = await Promise.all([startStack(), clips]);
  log = await openLog(stack);
  ({ admin: maya } = await found(stack, 'Northlight'));
  ({ admin: outsider } = await found(stack, 'Elsewhere'));
  [sam, eli, chris, cora] = (await Promise.all([
    hire(maya, 'Sam', 'ARTIST'),
    hire(maya, 'Eli', 'ARTIST'),
    hire(maya, 'Chris', 'CLIENT'),
    hire(maya, 'Cora', 'ARTIST'),
  ])) as [Person, Person, Person, Person];
  spot = await plan(maya, 'HARBOUR');
  await maya.does('addProjectMember', { projectId: spot.projectId, userId: chris.id });
  start = await maya.position();
});

afterAll(async () => {
  await Promise.all(feeds.map((feed) => feed.close()));
  await log?.close();
  await stack?.stop();
  rmSync(work, { recursive: true, force: true });
});

/** Everything one might learn of the project, asked as `person`. */
async function learns(person: Person, atLeast: string, signed: Urls | null) {
  const { edit, colour } = spot.stages;
  const nodes = [spot.projectId, spot.deliverableId, ...Object.values(spot.stages), v1, v2, comment].filter(Boolean);
  const answer = await person.read<Record<string, unknown>>(
    `query ($project: ID!, $deliverable: ID!, $edit: ID!, $version: ID!, $atLeast: Position) {
       projects(atLeast: $atLeast) { totalCount edges { node { id } } }
       myWork(atLeast: $atLeast) { totalCount edges { node { id deliverable { project { name } } } } }
       project(id: $project, atLeast: $atLeast) { id }
       deliverable(id: $deliverable, atLeast: $atLeast) { id }
       stage(id: $edit, atLeast: $atLeast) { id }
       versionStack(id: $edit, atLeast: $atLeast) { id }
       version(id: $version, atLeast: $atLeast) { id }
       ${nodes.map((id, i) => `n${i}: node(id: "${id}", atLeast: $atLeast) { id }`).join('\n')}
     }`,
    { project: spot.projectId, deliverable: spot.deliverableId, edit, version: v2 ?? v1 ?? edit, atLeast },
  );
  const { projects, myWork, ...byId } = answer as {
    projects: { totalCount: number; edges: unknown[] };
    myWork: { totalCount: number; edges: { node: { id: string } }[] };
  } & Record<string, unknown>;
  const subscribed: Record<string, string> = {};
  for (const [field, args] of [
    ['stackChanged', { stackId: edit! }],
    ['stackChanged', { stackId: colour! }],
    ['projectChanged', { projectId: spot.projectId }],
    ...(v2 ? [['transcodeProgress', { versionId: v2 }] as const] : []),
  ] as const) {
    const feed = await person.follow<Message>(
      field,
      args,
      field === 'transcodeProgress' ? 'fraction' : 'position eventType',
      field === 'transcodeProgress' ? undefined : start,
    );
    await Promise.race([
      feed.ended(1500).catch(() => undefined),
      feed.until((m) => m.length > 0, 1500).catch(() => undefined),
    ]);
    subscribed[`${field} ${Object.values(args)[0] === colour ? 'colour' : ''}`.trim()] = feed.ending
      ? String(feed.ending.code)
      : `open, ${feed.messages.length > 0 ? 'told' : 'silent'}`;
    await feed.close();
  }
  const files = signed
    ? await Promise.all(
        [signed.posterUrl, signed.hlsUrl, signed.proxyUrl, signed.originalUrl]
          .filter((url) => url !== null)
          .map(async (url) => (await person.media(url)).status),
      )
    : [];
  return {
    lists: [projects.totalCount, projects.edges.length, myWork.totalCount, myWork.edges.length],
    work: myWork.edges.map(({ node }) => node.id),
    found: Object.entries(byId)
      .filter(([, value]) => value !== null)
      .map(([name]) => name),
    asked: Object.keys(byId).length,
    subscribed,
    files,
  };
}
const NOTHING = {
  lists: [0, 0, 0, 0],
  work: [],
  found: [],
  subscribed: {
    stackChanged: 'NOT_FOUND',
    'stackChanged colour': 'NOT_FOUND',
    projectChanged: 'NOT_FOUND',
    transcodeProgress: 'NOT_FOUND',
  },
};

describe('the relay', () => {
  it('begins with the shooter: ingest makes the edit ready', async () => {
    steady = await follow(maya, 'stackChanged', { stackId: spot.stages['edit']! }, start);
    shaky = await follow(chris, 'stackChanged', { stackId: spot.stages['edit']! }, start);
    project = await follow(maya, 'projectChanged', { projectId: spot.projectId }, start, IN_PROJECT);
    const nobody = await learns(sam, start, null);
    expect(nobody).toMatchObject({ lists: [0, 0, 0, 0], found: [] });

    const assigned = await maya.does('assignStage', { stageId: spot.stages['ingest'], userId: sam.id });
    const { myWork } = await sam.read<{ myWork: { edges: { node: object }[] } }>(
      'query ($at: Position) { myWork(atLeast: $at) { edges { node { key state label } } } }',
      { at: assigned.position },
    );
    expect(myWork.edges).toEqual([{ node: { key: 'ingest', state: 'READY', label: LABELS.ingest.READY } }]);
    rushes = await submit(sam, spot.stages['ingest']!, clip('rushes.mov'), 'A001_C004.mov');
    await project.until(seen('StageStateChanged', 2));
    expect(labelOf(project.messages, spot.stages['ingest']!)).toBe(LABELS.ingest.APPROVED);
    expect(labelOf(project.messages, spot.stages['edit']!)).toBe(LABELS.edit.READY);
    await shaky.cut();
  });

  it('goes on with the editor: an upload that is cut and resumed, transcoded live, ready for review', async () => {
    const { edit } = spot.stages as { edit: string };
    await maya.does('assignStage', { stageId: edit, userId: eli.id });
    const { size } = await stat(clip('v1.mov'));
    expect(size).toBeGreaterThan(1_000_000);
    const { uploadId, resumedAt } = await upload(eli, clip('v1.mov'), 'harbour_v1.mov', {
      chunkSize: 128 * 1024,
      cutAt: 600_000,
    });
    expect(resumedAt).toBeGreaterThan(0);
    expect(resumedAt).toBeLessThan(size);
    const added = await eli.does<{ version: { id: string; number: number; media: { status: string; hash: string } } }>(
      'addVersion',
      { stageId: edit, uploadId, note: 'First assembly' },
      'version { id number media { status hash } }',
    );
    v1 = added.version.id;
    expect(added.version).toMatchObject({ number: 1, media: { hash: await sha256(clip('v1.mov')) } });

    const progress = await chris.follow<{ fraction: number; done: boolean; versionId: string }>(
      'transcodeProgress',
      { versionId: v1 },
      'versionId fraction done',
    );
    feeds.push(progress);
    await shaky.cut();
    await progress.until((messages) => messages.some(({ done }) => done), 120_000);
    const fractions = progress.messages.map(({ fraction }) => fraction);
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
    expect(fractions.at(-1)).toBe(1);
    expect(progress.messages.every(({ versionId }) => versionId === v1)).toBe(true);
    await expect(progress.ended()).resolves.toEqual({ kind: 'complete' });

    await steady.until(seen('TranscodeCompleted'));
    await steady.until(seen('StageStateChanged', 2));
    const ready = steady.messages.find(({ eventType }) => eventType === 'TranscodeCompleted')!;
    expect(ready.version).toMatchObject({ id: v1, number: 1, status: 'CURRENT', media: { status: 'READY' } });
    expect(labelOf(steady.messages, edit)).toBe(LABELS.edit.IN_REVIEW);
  });

  it('comes to the client: comments, an answer, changes requested', async () => {
    const { edit } = spot.stages as { edit: string };
    const added = await chris.does<{ comment: { id: string; range: object; annotations: object[] } }>(
      'addComment',
      {
        versionId: v1,
        text: 'The horizon tilts here.',
        range: { in: 10, out: 12 },
        annotations: [
          { shape: { kind: 'ARROW', from: { x: 0.1, y: 0.6 }, to: { x: 0.4, y: 0.5 } }, colour: '#ff453a' },
        ],
      },
      'comment { id range { in out timecodeIn timecodeOut } annotations { colour shape { kind } range { in out } } }',
    );
    comment = added.comment.id;
    expect(added.comment).toMatchObject({
      range: { in: 10, out: 12, timecodeIn: '01:00:00:10', timecodeOut: '01:00:00:12' },
      annotations: [{ colour: '#ff453a', shape: { kind: 'ARROW' }, range: { in: 10, out: 12 } }],
    });
    await shaky.cut();
    await eli.does('addComment', { versionId: v1, parentId: comment, text: 'Levelled in the next round.' });
    await chris.does('recordDecision', { versionId: v1, verdict: 'CHANGES_REQUESTED', text: 'Level the horizon.' });
    await steady.until(seen('StageStateChanged', 3));
    expect(labelOf(steady.messages, edit)).toBe(LABELS.edit.CHANGES_REQUESTED);
  });

  it('returns to the editor: version 2 locks version 1 and is approved; the colour is ready', async () => {
    const { edit, colour } = spot.stages as { edit: string; colour: string };
    await shaky.cut();
    v2 = await submit(eli, edit, clip('v2.mov'), 'harbour_v2.mov');
    await steady.until(seen('StageStateChanged', 4));
    expect(labelOf(steady.messages, edit)).toBe(LABELS.edit.IN_REVIEW);
    await steady.until(seen('TranscodeCompleted', 2), 120_000);
    await shaky.cut();
    const [locked] = await chris.refused('addComment', { versionId: v1, text: 'Too late' });
    expect(locked).toMatchObject({
      __typename: 'VersionLocked',
      code: 'VERSION_LOCKED',
      currentVersionId: v2,
      currentVersionNumber: 2,
    });
    const approved = await chris.does<{ version: { outcome: string } }>(
      'recordDecision',
      { versionId: v2, verdict: 'APPROVED' },
      'version { outcome }',
    );
    expect(approved.version.outcome).toBe('APPROVED');
    await steady.until(seen('StageStateChanged', 5));
    await project.until((messages) => labelOf(messages, colour) === LABELS.colour.READY);
    expect(labelOf(steady.messages, edit)).toBe(LABELS.edit.APPROVED);
  });

  it('told every follower each event once and in order, however often its line was cut', async () => {
    await project.until(seen('TranscodeCompleted', 3), 120_000);
    const { edit } = spot.stages as { edit: string };
    const events = await domainEvents(log, BigInt(start));
    const on = (key: string, id: string) => (event: { data: unknown }) =>
      (event.data as Record<string, string>)[key] === id;
    const told = events.filter(({ type }) => type !== 'VersionOpened');
    const ofStack = told.filter((e) => on('stackId', edit)(e) || on('stageId', edit)(e));
    const ofProject = told.filter(on('projectId', spot.projectId));
    await shaky.until((messages) => messages.length >= ofStack.length);
    const late = await follow(eli, 'stackChanged', { stackId: edit }, start);
    await late.until((messages) => messages.length >= ofStack.length);
    const lateProject = await follow(chris, 'projectChanged', { projectId: spot.projectId }, start, IN_PROJECT);
    await lateProject.until((messages) => messages.length >= ofProject.length);

    expect(shaky.connections).toBe(6);
    for (const [feed, source] of [
      [steady, ofStack],
      [shaky, ofStack],
      [late, ofStack],
      [project, ofProject],
      [lateProject, ofProject],
    ] as const) {
      expect(feed.messages.map(({ position, eventType }) => [position, eventType])).toEqual(
        source.map(({ position, type }) => [String(position), type]),
      );
      const positions = feed.messages.map(({ position }) => BigInt(position));
      expect(positions.every((p, i) => i === 0 || p > positions[i - 1]!)).toBe(true);
    }
    // The log's own order is what the story was, but for what goes on beside it.
    const beside = ['TranscodeCompleted', 'StageVersionRecorded', 'StageStateChanged'];
    expect(types(steady.messages).filter((type) => !beside.includes(type))).toEqual([
      'StageAssigned',
      'VersionUploaded',
      'CommentAdded',
      'AnnotationAdded',
      'CommentAdded',
      'DecisionRecorded',
      'VersionOutcomeChanged',
      'VersionClosed',
      'VersionUploaded',
      'DecisionRecorded',
      'VersionOutcomeChanged',
    ]);
    expect(
      ofStack
        .filter(({ type }) => type === 'StageStateChanged')
        .map(({ data }) => [(data as { to: string }).to, (data as { cause: string }).cause]),
    ).toEqual([
      ['READY', 'DEPENDENCY'],
      ['IN_REVIEW', 'UPLOAD'],
      ['CHANGES_REQUESTED', 'DECISION'],
      ['IN_REVIEW', 'UPLOAD'],
      ['APPROVED', 'DECISION'],
    ]);
  });

  it('plays over signed addresses, and over no others', async () => {
    const urls = (await media(chris, v2))!;
    expect(urls).toMatchObject({ status: 'READY', originalUrl: null });
    const master = await chris.media(urls.hlsUrl);
    expect([master.status, master.headers.get('content-type')]).toEqual([200, 'application/vnd.apple.mpegurl']);
    const text = await master.text();
    expect(text).toMatch(/^#EXTM3U/);
    const rungs = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    expect(rungs.length).toBeGreaterThanOrEqual(2);
    const base = new URL(urls.hlsUrl, stack.apiUrl);
    const rung = new URL(rungs[0]!, base);
    const segments = (await (await fetch(rung)).text())
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const segment = new URL(segments[0]!, rung);
    const whole = Buffer.from(await (await fetch(segment)).arrayBuffer());
    const part = await fetch(segment, { headers: { range: 'bytes=100-299' } });
    expect([part.status, part.headers.get('content-range'), part.headers.get('cache-control')]).toEqual([
      206,
      `bytes 100-299/${whole.length}`,
      'private, max-age=31536000, immutable',
    ]);
    expect(Buffer.from(await part.arrayBuffer()).equals(whole.subarray(100, 300))).toBe(true);
    const beyond = await fetch(segment, { headers: { range: `bytes=${whole.length}-` } });
    expect(beyond.status).toBe(416);
    await beyond.text();

    // What is altered, late or of another name opens nothing.
    const { key, claims, token } = (() => {
      const { keys } = loadConfig(stack.env);
      const [, , token] = base.pathname.split('/') as [string, string, string];
      const verified = verifyPath(token, keys.mediaSigning, Date.now());
      if (!verified.ok) throw new Error('our own token');
      return { key: keys.mediaSigning, claims: verified.value, token };
    })();
    expect(claims).toMatchObject({ userId: chris.id, versionId: v2 });
    const name = base.pathname.split('/').at(-1)!;
    const [payload, mac] = token.split('.') as [string, string];
    const fields = JSON.parse(Buffer.from(payload, 'base64url').toString()) as unknown[];
    const forged = Buffer.from(JSON.stringify(fields.map((f) => (f === chris.id ? cora.id : f)))).toString('base64url');
    const attempts: [string, string][] = [
      [`${payload}.${mac.startsWith('A') ? 'B' : 'A'}${mac.slice(1)}`, 'MEDIA_URL_INVALID'],
      [`${forged}.${mac}`, 'MEDIA_URL_INVALID'],
      [payload, 'MEDIA_URL_INVALID'],
      [signPath(claims, createHash('sha256').update('another key').digest()), 'MEDIA_URL_INVALID'],
      [signPath({ ...claims, expiresAt: Date.now() - 1 }, key), 'MEDIA_URL_EXPIRED'],
      // Genuine, but for somebody who does not see the project, and for a session of another person.
      [signPath({ ...claims, userId: cora.id }, key), 'MEDIA_FORBIDDEN'],
      [signPath({ ...claims, userId: maya.id }, key), 'MEDIA_FORBIDDEN'],
      [signPath({ ...claims, userId: outsider.id }, key), 'MEDIA_FORBIDDEN'],
      [signPath({ ...claims, versionId: v1 }, key), 'MEDIA_FORBIDDEN'],
    ];
    for (const [attempt, code] of attempts) {
      const response = await chris.media(`/media/${attempt}/${name}`);
      expect([response.status, response.headers.get('content-type')]).toEqual([403, 'application/json; charset=utf-8']);
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect(await response.json()).toEqual({ code, message: expect.any(String) });
    }
  });

  it('gives the original back to those who may download, as it came', async () => {
    for (const [versionId, file] of [
      [v1, 'v1.mov'],
      [v2, 'v2.mov'],
      [rushes, 'rushes.mov'],
    ] as const) {
      const urls = (await media(maya, versionId))!;
      const response = await maya.media(urls.originalUrl!);
      expect(response.headers.get('content-disposition')).toMatch(/^attachment; /);
      const bytes = Buffer.from(await response.arrayBuffer());
      expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(await sha256(clip(file)));
      expect(urls.hash).toBe(await sha256(clip(file)));
    }
    expect((await media(chris, v2))!.originalUrl).toBeNull();
  });

  it('ends with the session: its addresses, its socket, its token', async () => {
    const second = await chris.again();
    const urls = (await media(second, v2))!;
    const feed = await follow(second, 'stackChanged', { stackId: spot.stages['edit']! });
    expect((await second.media(urls.hlsUrl)).status).toBe(200);
    expect((await second.read<{ logout: boolean }>('mutation { logout }')).logout).toBe(true);
    for (const url of [urls.hlsUrl, urls.posterUrl, urls.proxyUrl]) {
      const response = await second.media(url);
      expect([response.status, await response.json()]).toEqual([
        403,
        { code: 'MEDIA_FORBIDDEN', message: expect.any(String) },
      ]);
    }
    expect(await feed.ended()).toMatchObject({ kind: 'closed', code: 4403 });
    const again = await second.ask('{ projects { totalCount } }');
    expect(again.errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED');
    // The first session of the same person goes on.
    expect((await chris.media((await media(chris, v2))!.hlsUrl)).status).toBe(200);
  });
});

describe('the colourist', () => {
  let mine: Urls;

  it('learns nothing before the assignment', async () => {
    const { asked, ...rest } = await learns(cora, await maya.position(), null);
    expect(asked).toBeGreaterThan(12);
    expect(rest).toEqual({ ...NOTHING, files: [] });
    const refused = await cora.refused('addComment', { versionId: v2, text: 'Let me in' });
    expect(refused).toMatchObject([{ code: 'NOT_FOUND', path: ['input', 'versionId'] }]);
    await expect(cora.ask('{ projects { edges { node { name } } } }')).resolves.toMatchObject({
      data: { projects: { edges: [] } },
    });
  });

  it('sees everything from the moment of the assignment', async () => {
    const { edit, colour } = spot.stages as { edit: string; colour: string };
    const tasks = await follow<Message & { stage: { id: string } | null }>(
      cora,
      'myWorkChanged',
      {},
      await maya.position(),
      'position eventType stage { id }',
    );
    const { position } = await maya.does('assignStage', { stageId: colour, userId: cora.id });
    mine = (await media(cora, v2, position))!;
    expect(mine.originalUrl).not.toBeNull();
    const { asked, ...rest } = await learns(cora, position, mine);
    expect(rest).toMatchObject({
      lists: [1, 1, 1, 1],
      work: [colour],
      subscribed: {
        stackChanged: 'open, told',
        'stackChanged colour': 'open, told',
        projectChanged: 'open, told',
        transcodeProgress: 'open, silent',
      },
      files: [200, 200, 200, 200],
    });
    expect(rest.found).toHaveLength(asked);
    await tasks.until(seen('StageAssigned'));
    expect(tasks.messages).toMatchObject([{ position, stage: { id: colour } }]);
    expect(edit).not.toBe(colour);
  });

  it('learns nothing again at once when unassigned, and what is open ends', async () => {
    const { edit, colour } = spot.stages as { edit: string; colour: string };
    const at = await maya.position();
    const open = await Promise.all([
      follow<Message>(cora, 'stackChanged', { stackId: edit }, at, 'position eventType'),
      follow<Message>(cora, 'stackChanged', { stackId: colour }, at, 'position eventType'),
      follow<Message>(cora, 'projectChanged', { projectId: spot.projectId }, at, 'position eventType'),
    ]);
    await maya.does('renameProject', { projectId: spot.projectId, name: 'Harbour at Dusk' });
    await open[2].until(seen('ProjectRenamed'));
    const { position } = await maya.does('unassignStage', { stageId: colour, userId: cora.id });
    // No message, no file, no list after this answer: without a pause.
    const [files, list] = await Promise.all([
      Promise.all([mine.hlsUrl, mine.posterUrl, mine.originalUrl!].map(async (url) => (await cora.media(url)).status)),
      cora.read<{ projects: { totalCount: number } }>(
        'query ($at: Position) { projects(atLeast: $at) { totalCount } }',
        { at: position },
      ),
    ]);
    expect(files).toEqual([403, 403, 403]);
    expect(list.projects.totalCount).toBe(0);
    const { asked: _asked, ...rest } = await learns(cora, position, mine);
    expect(rest).toEqual({ ...NOTHING, files: [403, 403, 403, 403] });

    // The end comes with the unassignment itself, also on a stack where nothing else happens.
    for (const feed of open) expect(await feed.ended()).toMatchObject({ kind: 'error', code: 'NOT_FOUND' });
    await chris.does('addComment', { versionId: v2, text: 'Between us' });
    await steady.until((messages) => messages.at(-1)?.comment?.text === 'Between us');
    expect(types(open[0].messages)).toEqual([]);
    expect(types(open[1].messages)).toEqual([]);
    expect(types(open[2].messages)).toEqual(['ProjectRenamed']);
  });

  it('can neither write nor upload any more', async () => {
    const { colour } = spot.stages as { colour: string };
    expect(await cora.refused('addComment', { versionId: v2, text: 'Hello?' })).toMatchObject([{ code: 'NOT_FOUND' }]);
    const { uploadId } = await upload(cora, clip('rushes.mov'), 'grade.mov');
    expect(await cora.refused('addVersion', { stageId: colour, uploadId })).toMatchObject([
      { code: 'NOT_FOUND', path: ['input', 'stageId'] },
    ]);
  });

  it('and nobody of another studio ever learned anything', async () => {
    const { asked: _asked, ...rest } = await learns(outsider, await maya.position(), (await media(maya, v2))!);
    // The administrator's own addresses are the administrator's: whoever holds one is taken for them.
    expect(rest).toEqual({ ...NOTHING, files: [200, 200, 200, 200] });
    const failure = await outsider
      .read('query ($id: ID!) { versionStack(id: $id) { stage { name } } }', { id: spot.stages['edit'] })
      .catch((error: EdgeFailure) => error);
    expect(failure).toEqual({ versionStack: null });
    await stateOf(maya, spot.stages['colour']!, 'READY');
    await transcoded(maya, v2);
    await eventually(
      () => maya.read<{ sessions: object[] }>('{ sessions { id } }'),
      ({ sessions }) => sessions.length > 0,
    );
  });
});
