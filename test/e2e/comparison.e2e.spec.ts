import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { runFfmpeg, unwrap } from '#libs/media/index.js';
import { makeClip, makeStill } from '#libs/media/testmedia.js';
import { createPool } from '#libs/postgres/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { startStack, type TestStack } from '../support/stack.js';
import { eventually, found, hire, plan, submit, upload, type Message, type Person, type Plan } from './support.js';

jest.setTimeout(180_000);

/** RV-12 from outside: two versions that differ in known frames, asked for by the people of a studio. */

const FRAMES = 120;
const work = mkdtempSync(join(tmpdir(), 'picturelock-comparison-'));
const clip = join(work, 'v1.mov');
const edited = join(work, 'v2.mov');

const RANGE = '{ in out timecodeIn timecodeOut }';
const COMPARISON = `id status requestedBy { id } truncated failure { code reason } ssim { mean min } psnr { mean min }
  from { version { id number } reference { id } frames } to { version { id number } reference { id } frames }
  counts { same changed moved retimed replaced inserted removed } reportUrl
  worst { from { in timecodeIn } to { in } ssim psnr }
  ranges(first: 50) { totalCount edges { node { kind from ${RANGE} to ${RANGE} ssim { mean min }
    still { url from { in timecodeIn } to { in } } } } }`;
interface Frames {
  in: number;
  out: number;
  timecodeIn: string;
  timecodeOut: string;
}
interface Seen {
  id: string;
  status: string;
  requestedBy: { id: string };
  truncated: boolean;
  failure: { code: string; reason: string } | null;
  ssim: { mean: number; min: number };
  psnr: { mean: number; min: number } | null;
  from: { version: { id: string; number: number }; reference: { id: string } | null; frames: number | null };
  to: { version: { id: string; number: number }; reference: null; frames: number | null };
  counts: Record<string, number> | null;
  reportUrl: string | null;
  worst: { from: { in: number; timecodeIn: string }; to: { in: number }; ssim: number }[];
  ranges: {
    totalCount: number;
    edges: {
      node: {
        kind: string;
        from: Frames | null;
        to: Frames | null;
        still: { url: string; from: { in: number }; to: { in: number } } | null;
      };
    }[];
  };
}

let stack: TestStack;
let maya: Person;
let editor: Person;
let chris: Person;
let loner: Person;
let stranger: Person;
let made: Plan;
let edit: string;
let v1: string;
let v2: string;
let comparison: string;
/** Before there was a result. */
let asked: string;

const seenBy = async (person: Person, id: string, atLeast?: string): Promise<Seen | null> =>
  (
    await person.read<{ comparison: Seen | null }>(
      `query ($id: ID!, $atLeast: Position) { comparison(id: $id, atLeast: $atLeast) { ${COMPARISON} } }`,
      { id, atLeast },
    )
  ).comparison;
/** What an address opens is looked up again after a second. */
const closed = (person: Person, url: string): Promise<number> =>
  eventually(
    async () => (await person.media(url)).status,
    (status) => status === 403,
    10_000,
  );
const ended = async (person: Person, id: string): Promise<Seen> =>
  (await eventually(
    () => seenBy(person, id),
    (seen) => seen !== null && seen.status !== 'PROCESSING',
  ))!;
const compare = (person: Person, input: object) =>
  person.does<{ comparison: { id: string; status: string } }>('compareVersions', input, 'comparison { id status }');
const refuses = async (person: Person, input: object) => {
  const errors = await person.refused('compareVersions', input, 'comparison { id }');
  expect(errors).toHaveLength(1);
  return [errors[0]!.code, errors[0]!.path];
};

beforeAll(async () => {
  stack = await startStack();
  await makeClip(clip, { frames: FRAMES, width: 480, height: 270, noise: 4 });
  // Ten frames are cut out, and in twelve others somebody drew a box.
  const filter = "drawbox=x=300:y=120:w=60:h=50:color=white:t=fill:enable='between(n,70,81)'";
  unwrap(
    await runFfmpeg({
      inputs: [{ path: clip, demuxer: 'mov' }],
      output: [
        ...['-map', '0:v', '-vf', `${filter},select='not(between(n,40,49))',setpts=N/(24000/1001)/TB`],
        ...['-c:v', 'libx264', '-crf', '22', '-preset', 'veryfast', '-timecode', '02:00:00:00', edited],
      ],
    }),
  );
  ({ admin: maya } = await found(stack, 'Northlight'));
  ({ admin: stranger } = await found(stack, 'Elsewhere'));
  editor = await hire(maya, 'Edda', 'ARTIST');
  chris = await hire(maya, 'Chris', 'CLIENT');
  loner = await hire(maya, 'Lona', 'CLIENT');
  made = await plan(maya, 'SPOT');
  edit = made.stages['edit']!;
  await maya.does('addProjectMember', { projectId: made.projectId, userId: chris.id });
  await maya.does('assignStage', { stageId: edit, userId: editor.id });
  v1 = await submit(editor, edit, clip, 'spot_v1.mov');
  v2 = await submit(editor, edit, edited, 'spot_v2.mov');
});
afterAll(async () => {
  await stack?.stop();
  rmSync(work, { recursive: true, force: true });
});

test('a client asks how two versions differ, follows it, and is told the frames', async () => {
  const live = await chris.follow<Message & { comparison: { id: string; status: string } | null }>(
    'stackChanged',
    { stackId: edit },
    'position eventType comparison { id status }',
    await chris.position(),
  );
  const told = await compare(chris, { versionId: v2, withVersionId: v1 });
  ({ id: comparison } = told.comparison);
  asked = told.position;
  const progress = await chris.follow<{ fraction: number; done: boolean }>(
    'comparisonProgress',
    { comparisonId: comparison },
    'fraction done',
  );
  const seen = await ended(chris, comparison);
  await progress.close();
  expect(seen).toMatchObject({
    status: 'READY',
    requestedBy: { id: chris.id },
    truncated: false,
    failure: null,
    from: { version: { id: v1, number: 1 }, reference: null, frames: FRAMES },
    to: { version: { id: v2, number: 2 }, reference: null, frames: FRAMES - 10 },
    counts: { same: 98, changed: 12, moved: 0, retimed: 0, replaced: 0, inserted: 0, removed: 10 },
  });
  const nodes = seen.ranges.edges.map(({ node }) => node);
  expect(nodes.map(({ kind, from, to }) => [kind, from && [from.in, from.out], to && [to.in, to.out]])).toEqual([
    ['SAME', [0, 39], [0, 39]],
    ['REMOVED', [40, 49], null],
    ['SAME', [50, 69], [40, 59]],
    ['CHANGED', [70, 81], [60, 71]],
    ['SAME', [82, 119], [72, 109]],
  ]);
  // Each in the timecode of the media it is of.
  expect(nodes[1]!.from).toMatchObject({ timecodeIn: '01:00:01:16', timecodeOut: '01:00:02:01' });
  expect(nodes[3]).toMatchObject({
    from: { timecodeIn: '01:00:02:22', timecodeOut: '01:00:03:09' },
    to: { timecodeIn: '02:00:02:12', timecodeOut: '02:00:02:23' },
  });
  expect(seen.ssim.min).toBeLessThan(seen.ssim.mean);
  expect(seen.psnr!.min).toBeGreaterThan(5);
  expect(seen.worst).toHaveLength(10);
  expect(seen.worst.every(({ from, to }) => to.in >= 60 && to.in <= 71 && from.in === to.in + 10)).toBe(true);

  // What is seen is the box: bright there, dark elsewhere.
  const { url } = nodes[3]!.still!;
  const still = await chris.media(url);
  expect([still.status, still.headers.get('content-type')]).toEqual([200, 'image/png']);
  await writeFile(join(work, 'still.png'), Buffer.from(await still.arrayBuffer()));
  const light = async (x: number, y: number) =>
    unwrap(
      await runFfmpeg({
        inputs: [{ path: join(work, 'still.png'), demuxer: 'png_pipe' }],
        output: ['-vf', `crop=20:20:${x}:${y},scale=1:1:flags=area,format=gray`, '-f', 'rawvideo', 'pipe:1'],
      }),
    ).stdout[0]!;
  expect(await light(320, 135)).toBeGreaterThan((await light(200, 200)) + 40);
  const report = (await (await chris.media(seen.reportUrl!)).json()) as { schema: string; pairs: number[][] };
  expect([report.schema, report.pairs.length]).toEqual(['picturelock.comparison/1', FRAMES - 10]);
  // An address opens its own file and no other.
  expect((await chris.media(url.replace(/[^/]+$/, 'comparison.json'))).status).toBe(403);

  await live.until((messages) => messages.some(({ eventType }) => eventType === 'ComparisonCompleted'));
  const mine = live.messages.filter(({ comparison: of }) => of?.id === comparison);
  expect(mine.map(({ eventType }) => eventType)).toEqual(['ComparisonRequested', 'ComparisonCompleted']);
  expect([mine[0]!.position, mine[1]!.comparison!.status]).toEqual([asked, 'READY']);
  expect(BigInt(mine[1]!.position)).toBeGreaterThan(BigInt(asked));
  // Who resumes after the request is told of the result.
  const resumed = await editor.follow<Message>('stackChanged', { stackId: edit }, 'position eventType', asked);
  await resumed.until((messages) => messages.some(({ position }) => position === mine[1]!.position));
  await Promise.all([live.close(), resumed.close()]);
});

test('asking again, whoever does, finds what is there; the other way round is another one', async () => {
  const again = await compare(editor, { versionId: v2, withVersionId: v1 });
  expect(again.comparison).toEqual({ id: comparison, status: 'READY' });
  const commandId = randomUUID();
  const back = await compare(editor, { versionId: v1, withVersionId: v2, commandId });
  expect(back.comparison.id).not.toBe(comparison);
  expect((await compare(editor, { versionId: v1, withVersionId: v2, commandId })).comparison.id).toBe(
    back.comparison.id,
  );
  const seen = await ended(editor, back.comparison.id);
  expect(seen.ranges.edges.map(({ node }) => node.kind)).toEqual(['SAME', 'INSERTED', 'SAME', 'CHANGED', 'SAME']);
  expect(seen.ranges.edges[1]!.node).toMatchObject({ from: null, to: { in: 40, out: 49 } });

  interface Listed {
    version: { comparisons: { totalCount: number; edges: { cursor: string; node: { id: string } }[] } };
  }
  const list = (args: string) =>
    chris.read<Listed>(
      `query ($id: ID!) { version(id: $id) { comparisons${args} { totalCount edges { cursor node { id } } } } }`,
      { id: v2 },
    );
  const { version } = await list('(first: 1)');
  expect(version.comparisons).toMatchObject({ totalCount: 2, edges: [{ node: { id: back.comparison.id } }] });
  const rest = await list(`(first: 5, after: "${version.comparisons.edges[0]!.cursor}")`);
  expect(rest.version.comparisons.edges.map(({ node }) => node.id)).toEqual([comparison]);
  const only = await chris.read<{ node: { ranges: { edges: { node: { kind: string } }[] } } }>(
    `query ($id: ID!) { node(id: $id) { ... on Comparison { ranges(kinds: [CHANGED, REMOVED]) { edges { node { kind } } } } } }`,
    { id: comparison },
  );
  expect(only.node.ranges.edges.map(({ node }) => node.kind)).toEqual(['REMOVED', 'CHANGED']);
});

test('a version is compared with a reference beside it, as long as that lies there', async () => {
  const { uploadId } = await upload(editor, edited, 'offline.mov');
  const attached = await editor.does<{ reference: { id: string } }>(
    'attachReference',
    { versionId: v2, uploadId, note: 'Offline' },
    'reference { id }',
  );
  const { id: referenceId } = attached.reference;
  const { comparison: asked_ } = await compare(chris, {
    versionId: v2,
    withVersionId: v2,
    withReferenceId: referenceId,
  });
  const seen = await ended(chris, asked_.id);
  expect(seen).toMatchObject({
    from: { version: { id: v2 }, reference: { id: referenceId } },
    counts: { same: FRAMES - 10, changed: 0 },
    ssim: { mean: 1, min: 1 },
    psnr: null,
    worst: [],
  });
  expect((await chris.media(seen.reportUrl!)).status).toBe(200);
  const { position } = await editor.does('detachReference', { versionId: v2, referenceId });
  expect((await seenBy(chris, asked_.id, position))!.reportUrl).toBeNull();
  await closed(chris, seen.reportUrl!);
  const input = { versionId: v2, withVersionId: v2, withReferenceId: referenceId };
  expect(await refuses(chris, input)).toEqual(['REFERENCE_NOT_FOUND', ['input', 'withReferenceId']]);
});

test('what cannot be compared, or is not for who asks, is refused by the field', async () => {
  const later = ['input', 'versionId'];
  const earlier = ['input', 'withVersionId'];
  expect(await refuses(chris, { versionId: v2, withVersionId: v2 })).toEqual(['SAME_MEDIUM', earlier]);
  for (const person of [stranger, loner]) {
    expect(await refuses(person, { versionId: v2, withVersionId: v1 })).toEqual(['NOT_FOUND', later]);
    expect(await seenBy(person, comparison)).toBeNull();
    const { node } = await person.read<{ node: unknown }>('query ($id: ID!) { node(id: $id) { id } }', {
      id: comparison,
    });
    expect(node).toBeNull();
    const feed = await person.follow('comparisonProgress', { comparisonId: comparison }, 'fraction');
    expect(await feed.ended()).toMatchObject({ kind: 'error', code: 'NOT_FOUND' });
    await feed.close();
  }
  for (const id of [randomUUID(), 'no id'])
    expect(await refuses(chris, { versionId: v2, withVersionId: id })).toEqual(['NOT_FOUND', earlier]);
  // Of a project that they see, and of one that they do not.
  const elsewhere = await plan(maya, 'OTHER');
  const other = await submit(maya, elsewhere.stages['edit']!, clip, 'other.mov');
  expect(await refuses(maya, { versionId: v2, withVersionId: other })).toEqual(['OTHER_PROJECT', earlier]);
  expect(await refuses(chris, { versionId: v2, withVersionId: other })).toEqual(['NOT_FOUND', earlier]);
  // Stills and sound have no frames to map.
  await makeStill(join(work, 'board.png'));
  const still = await submit(maya, made.stages['colour']!, join(work, 'board.png'), 'board.png');
  expect(await refuses(maya, { versionId: v2, withVersionId: still })).toEqual(['NO_MOVING_PICTURE', earlier]);
  expect(await refuses(maya, { versionId: still, withVersionId: v2 })).toEqual(['NO_MOVING_PICTURE', later]);
  // An upload that is no version yet.
  const { uploadId } = await upload(editor, clip, 'spare.mov');
  expect(await refuses(editor, { versionId: uploadId, withVersionId: v1 })).toEqual(['NOT_FOUND', later]);
});

test('history and audit tell it in words; the past is as it was; a clean rebuild gives the same rows', async () => {
  const { history } = await maya.read<{ history: { edges: { node: { sentence: string } }[] } }>(
    'query ($id: ID!) { history(entity: { type: COMPARISON, id: $id }) { edges { node { sentence } } } }',
    { id: comparison },
  );
  expect(history.edges.map(({ node }) => node.sentence)).toEqual([
    'Chris asked how version 2 differs from version 1.',
    'The system found 2 ranges of frames that differ.',
  ]);
  const { auditTrail } = await maya.read<{ auditTrail: { edges: { node: { type: string; code: string | null } }[] } }>(
    '{ auditTrail(last: 200) { edges { node { type code } } } }',
  );
  const entries = auditTrail.edges.map(({ node }) => `${node.type} ${node.code ?? 'accepted'}`);
  for (const entry of ['accepted', 'SAME_MEDIUM', 'OTHER_PROJECT', 'NO_MOVING_PICTURE', 'NOT_FOUND'])
    expect(entries).toContain(`RequestComparison ${entry}`);
  expect(entries).toContain('CompleteComparison accepted');

  const asOf = await eventually(
    () =>
      maya.send<{ comparison: Seen }>(
        {
          query: `query ($id: ID!) { comparison(id: $id) { status counts { same } ranges { totalCount } to { version { id } } } }`,
          variables: { id: comparison },
        },
        { 'x-as-of': asked },
      ),
    ({ errors }) => errors?.[0]?.extensions?.code !== 'BUILDING',
  );
  expect(asOf.data!.comparison).toEqual({
    status: 'PROCESSING',
    counts: null,
    ranges: { totalCount: 0 },
    to: { version: { id: v2 } },
  });

  const pool = createPool(loadConfig(stack.env).databases.read, { max: 1 });
  const digest = async () =>
    (
      await pool.query(
        `SELECT c.id, c.status, c.files, r.seq, r.kind, r.from_in, r.to_out FROM comparison_v1.comparison AS c
         LEFT JOIN comparison_v1.compared_range AS r ON r.comparison_id = c.id ORDER BY 1, 4`,
      )
    ).rows;
  try {
    const before = await digest();
    expect(before.length).toBeGreaterThan(8);
    await maya.does('verifyProjections', { projections: ['comparison'] });
    interface Verifications {
      verifications: { projection: string; state: string; equal: boolean | null }[];
    }
    const { verifications } = await eventually(
      () => maya.read<Verifications>('{ verifications { projection state equal } }'),
      (look) => look.verifications.every(({ state }) => state === 'DONE'),
    );
    expect(verifications).toMatchObject([{ projection: 'comparison', equal: true }]);
    await maya.does('rebuildProjections', { projections: ['comparison'] });
    await eventually(
      () =>
        maya.read<{ operations: { rebuilds: { projection: string; state: string }[] } }>(
          '{ operations { rebuilds { projection state } } }',
        ),
      ({ operations }) =>
        operations.rebuilds.some(({ projection, state }) => projection === 'comparison' && state === 'DONE'),
    );
    expect(await digest()).toEqual(before);
  } finally {
    await pool.end();
  }
  expect((await seenBy(chris, comparison))!.counts).toMatchObject({ changed: 12, removed: 10 });
});

test('of a version that was withdrawn nothing is shown or begun any more', async () => {
  const { reportUrl } = (await seenBy(chris, comparison))!;
  expect((await chris.media(reportUrl!)).status).toBe(200);
  const { position } = await editor.does('withdrawVersion', { versionId: v2, reason: 'Wrong reel' });
  const seen = (await seenBy(chris, comparison, position))!;
  expect([seen.reportUrl, ...seen.ranges.edges.map(({ node }) => node.still?.url ?? null)]).toEqual(
    Array.from({ length: 6 }, () => null),
  );
  await closed(chris, reportUrl!);
  const field = ['input', 'versionId'];
  expect(await refuses(chris, { versionId: v2, withVersionId: v1 })).toEqual(['VERSION_WITHDRAWN', field]);
});
