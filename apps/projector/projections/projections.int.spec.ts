import { definitions, EXAMPLE, type EventType } from '#libs/events/catalogue/index.js';
import { createPool, type Pool } from '#libs/postgres/index.js';
import { digestReadModels, scratchCopy } from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../../test/support/database.js';
import { Bulk } from '../bulk.js';
import { startProjector } from '../projector.js';
import { CAST, happened, MemoryLog, relay, uid, type Written } from '../story.fixture.js';
import { PROJECTIONS } from './index.js';

let database: TestDatabase;
let pool: Pool;
beforeEach(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 3 });
});
afterEach(async () => {
  await pool.end();
  await database.drop();
});

/** Given these events, the read models are filled. */
async function given(...written: Written[]): Promise<MemoryLog> {
  const log = new MemoryLog();
  log.write(...written);
  const projector = startProjector({ log, url: database.url });
  try {
    await projector.reached(log.last);
  } finally {
    await projector.stop();
  }
  return log;
}
const rows = async (sql: string): Promise<unknown[]> => (await pool.query<Record<string, unknown>>(sql)).rows;

const { editor, client, colourist, ingest, edit, colour, v0, v1, v2, v3, r1, r2, c1, c2, a1, a2, d1, d2, k1, k2 } =
  CAST;

it('lays out the whole relay', async () => {
  const log = await given(...relay());

  expect(await rows(`SELECT name, role, active, revision FROM identity_v1.user ORDER BY position`)).toEqual(
    [
      ['manager', 'PRODUCER'],
      ['shooter', 'ARTIST'],
      ['editor', 'ARTIST'],
      ['client', 'CLIENT'],
      ['colourist', 'ARTIST'],
    ].map(([name, role]) => ({ name, role, active: true, revision: 0 })),
  );

  expect(
    await rows(
      `SELECT id, key, ordinal, state, depends_on, labels, newest_version_id, newest_version_outcome FROM production_v1.stage ORDER BY ordinal`,
    ),
  ).toEqual([
    {
      id: ingest,
      key: 'ingest',
      ordinal: 0,
      state: 'APPROVED',
      depends_on: [],
      labels: { READY: 'Ready for ingest' },
      newest_version_id: v0,
      newest_version_outcome: 'PENDING',
    },
    {
      id: edit,
      key: 'edit',
      ordinal: 1,
      state: 'APPROVED',
      depends_on: [ingest],
      labels: { READY: 'Ready for edit' },
      newest_version_id: v2,
      newest_version_outcome: 'APPROVED',
    },
    {
      id: colour,
      key: 'colour',
      ordinal: 2,
      state: 'READY',
      depends_on: [edit],
      labels: { READY: 'Ready for colour' },
      newest_version_id: null,
      newest_version_outcome: null,
    },
  ]);
  const deliverableEvents = log.events.filter(({ stream }) => stream.startsWith('deliverable-')).length;
  expect(await rows(`SELECT revision FROM production_v1.deliverable`)).toEqual([{ revision: deliverableEvents - 1 }]);
  // The shooter was unassigned; the client is a member.
  expect(await rows(`SELECT user_id, grants FROM production_v1.project_access ORDER BY user_id`)).toEqual(
    [client, colourist, editor].sort().map((user_id) => ({ user_id, grants: 1 })),
  );

  expect(
    await rows(
      `SELECT id, number, status, note, outcome, closed_by, withdrawn_reason, uploaded_by, comment_count, annotation_count
         FROM review_v2.version WHERE stack_id = '${edit}' ORDER BY number`,
    ),
  ).toEqual([
    {
      id: v1,
      number: 1,
      status: 'LOCKED',
      note: 'take 1',
      outcome: 'CHANGES_REQUESTED',
      closed_by: v2,
      withdrawn_reason: null,
      uploaded_by: editor,
      comment_count: 1,
      annotation_count: 1,
    },
    {
      id: v2,
      number: 2,
      status: 'CURRENT',
      note: 'take 2',
      outcome: 'APPROVED',
      closed_by: null,
      withdrawn_reason: null,
      uploaded_by: editor,
      comment_count: 0,
      annotation_count: 0,
    },
    {
      id: v3,
      number: 3,
      status: 'WITHDRAWN',
      note: 'take 3',
      outcome: 'PENDING',
      closed_by: null,
      withdrawn_reason: 'Wrong reel',
      uploaded_by: editor,
      comment_count: 0,
      annotation_count: 0,
    },
  ]);
  const revisions = (id: string) => log.events.filter(({ stream }) => stream === `version-${id}`).length - 1;
  expect(await rows(`SELECT id, revision FROM review_v2.version ORDER BY id`)).toEqual(
    [v0, v1, v2, v3].sort().map((id) => ({ id, revision: revisions(id) })),
  );
  expect(await rows(`SELECT id, current_version_id FROM review_v2.version_stack ORDER BY id`)).toEqual(
    [
      [ingest, v0],
      [edit, v2],
      [colour, null],
    ]
      .map(([id, current_version_id]) => ({ id, current_version_id }))
      .sort((x, y) => (x.id! < y.id! ? -1 : 1)),
  );
  expect(
    await rows(
      `SELECT version_id, status, frames, failure_code, jsonb_array_length(files) AS files FROM review_v2.version_media ORDER BY version_id`,
    ),
  ).toEqual(
    [v0, v1, v2, v3].sort().map((version_id) => ({
      version_id,
      ...(version_id === v3
        ? { status: 'PROCESSING', frames: null, failure_code: null, files: 0 }
        : { status: 'READY', frames: 240, failure_code: null, files: 1 }),
    })),
  );
  expect(
    await rows(
      `SELECT r.id, attached_by, filename, detached, status, failure_code FROM review_v2.reference r
         JOIN review_v2.reference_media m ON m.reference_id = r.id ORDER BY seq`,
    ),
  ).toEqual([
    {
      id: r1,
      attached_by: editor,
      filename: 'look_reference.mov',
      detached: true,
      status: 'FAILED',
      failure_code: 'TRANSCODE_FAILED',
    },
    {
      id: r2,
      attached_by: client,
      filename: 'look_reference.mov',
      detached: false,
      status: 'READY',
      failure_code: null,
    },
  ]);
  expect(
    await rows(
      `SELECT id, author_id, text, range_in, parent_id, mentions, resolved, deleted, edited_at IS NOT NULL AS edited FROM review_v2.comment ORDER BY seq`,
    ),
  ).toEqual([
    {
      id: c1,
      author_id: client,
      text: 'Trim it',
      range_in: 52,
      parent_id: null,
      mentions: [],
      resolved: true,
      deleted: false,
      edited: true,
    },
    {
      id: c2,
      author_id: client,
      text: '',
      range_in: null,
      parent_id: c1,
      mentions: [],
      resolved: false,
      deleted: true,
      edited: false,
    },
  ]);
  expect(await rows(`SELECT id, removed, shape->>'kind' AS kind FROM review_v2.annotation ORDER BY seq`)).toEqual([
    { id: a1, removed: false, kind: 'ARROW' },
    { id: a2, removed: true, kind: 'ARROW' },
  ]);
  expect(await rows(`SELECT id, verdict, standing, withdrawn FROM review_v2.decision ORDER BY id`)).toEqual([
    { id: d1, verdict: 'CHANGES_REQUESTED', standing: true, withdrawn: false },
    { id: d2, verdict: 'APPROVED', standing: true, withdrawn: false },
  ]);

  expect(
    await rows(
      `SELECT id, version_id, from_version_id, from_reference_id, status, requested_by, frames_from, frames_to,
              failure_code, ssim_min, jsonb_array_length(files) AS files FROM comparison_v1.comparison ORDER BY position`,
    ),
  ).toEqual(
    [k1, k2].map((id) => ({
      id,
      version_id: v2,
      from_version_id: v1,
      from_reference_id: id === k2 ? r2 : null,
      status: 'READY',
      requested_by: client,
      frames_from: 240,
      frames_to: 230,
      failure_code: null,
      ssim_min: 0.89,
      files: 2,
    })),
  );
  expect(
    await rows(
      `SELECT seq, kind, from_in, from_out, to_in, to_out, ssim_min, still FROM comparison_v1.compared_range
         WHERE comparison_id = '${k1}' ORDER BY seq`,
    ),
  ).toMatchObject([
    { kind: 'SAME', from_in: 0, from_out: 51, to_in: 0, to_out: 51 },
    { kind: 'REMOVED', from_in: 52, from_out: 61, to_in: null, to_out: null, still: null },
    { kind: 'CHANGED', from_in: 62, to_out: 63, ssim_min: 0.89, still: 'difference-01.png' },
    { seq: 3, kind: 'SAME', to_out: 229 },
  ]);
  expect(
    await rows(
      `SELECT event_type, comparison_id, version_id, stack_id FROM feed_v2.change
         WHERE comparison_id = '${k2}' ORDER BY position`,
    ),
  ).toEqual(
    ['ComparisonRequested', 'ComparisonCompleted'].map((event_type) => ({
      event_type,
      comparison_id: k2,
      version_id: v2,
      stack_id: edit,
    })),
  );
  expect(
    await rows(`SELECT type FROM audit_v2.entry WHERE entity_type = 'comparison' AND entity_id = '${k1}'
                  ORDER BY position`),
  ).toHaveLength(4);

  const seen = log.events.filter(({ type }) => type !== 'VersionOpened');
  expect(await rows(`SELECT position, event_type FROM feed_v2.change ORDER BY position`)).toEqual(
    seen.map(({ position, type }) => ({ position: String(position), event_type: type })),
  );
  expect(
    await rows(
      `SELECT event_type, stack_id, actor_user_id FROM feed_v2.change WHERE user_id = '${colourist}' ORDER BY position`,
    ),
  ).toEqual([
    { event_type: 'UserRegistered', stack_id: null, actor_user_id: EXAMPLE.user },
    { event_type: 'StageAssigned', stack_id: colour, actor_user_id: EXAMPLE.user },
  ]);
}, 30_000);

it('leaves the same rows wherever batches end', async () => {
  const log = await given(...relay());
  const whole = await digestReadModels(
    pool,
    PROJECTIONS.map(({ model }) => model),
  );
  for (const maxBatch of [1, 3, 7]) {
    const copies = PROJECTIONS.map((projection) => ({
      ...projection,
      model: scratchCopy(projection.model, `by${maxBatch}`),
    }));
    const projector = startProjector({ log, url: database.url, projections: copies, maxBatch });
    try {
      await projector.reached(log.last);
    } finally {
      await projector.stop();
    }
    expect(
      await digestReadModels(
        pool,
        copies.map(({ model }) => model),
      ),
    ).toEqual(whole);
  }
}, 60_000);

it('shows no version before it joins its stack, and loses nothing that happened to it before', async () => {
  const deliverable = happened('DeliverableCreated');
  const comment = happened('CommentAdded');
  await given(happened('ProjectCreated'), deliverable, happened('VersionOpened'), comment);
  const visible = `SELECT number, comment_count, revision FROM review_v2.version WHERE number IS NOT NULL`;
  expect(await rows(visible)).toEqual([]);
  await database.drop();
  await pool.end();
  database = await testDatabase();
  pool = createPool(database.url);
  await given(happened('ProjectCreated'), deliverable, happened('VersionOpened'), comment, happened('VersionUploaded'));
  expect(await rows(visible)).toEqual([{ number: 1, comment_count: 1, revision: 1 }]);
});

it('grants sight of a project exactly while a membership or an assignment does (RV-23)', async () => {
  const userId = uid('grant');
  const log = new MemoryLog();
  log.write(happened('ProjectCreated'), happened('DeliverableCreated'));
  const projector = startProjector({ log, url: database.url });
  const grants = async (...written: Written[]) => {
    await projector.reached(log.write(...written));
    const found = (await rows(`SELECT grants FROM production_v1.project_access WHERE user_id = '${userId}'`)) as {
      grants: number;
    }[];
    return found[0]?.grants;
  };
  try {
    expect(await grants()).toBeUndefined();
    expect(await grants(happened('StageAssigned', { userId }))).toBe(1);
    expect(await grants(happened('ProjectMemberAdded', { userId }))).toBe(2);
    expect(await grants(happened('StageUnassigned', { userId }))).toBe(1);
    expect(await grants(happened('StageAssigned', { userId }), happened('ProjectMemberRemoved', { userId }))).toBe(1);
    expect(await grants(happened('StageUnassigned', { userId }))).toBeUndefined();
    expect(
      await grants(happened('StageAssigned', { userId }), happened('StageUnassigned', { userId })),
    ).toBeUndefined();
  } finally {
    await projector.stop();
  }
});

it('keeps one standing decision per reviewer and the history of the others', async () => {
  const [first, second] = [uid('d-1'), uid('d-2')];
  await given(
    happened('ProjectCreated'),
    happened('DeliverableCreated'),
    happened('VersionOpened'),
    happened('VersionUploaded'),
    happened('DecisionRecorded', { decisionId: first }),
    happened('DecisionRecorded', { decisionId: second, supersedes: first, verdict: 'APPROVED' }),
    happened('DecisionWithdrawn', { decisionId: second }),
  );
  expect(await rows(`SELECT id, standing, withdrawn, withdrawn_reason FROM review_v2.decision ORDER BY seq`)).toEqual([
    { id: first, standing: false, withdrawn: false, withdrawn_reason: null },
    { id: second, standing: false, withdrawn: true, withdrawn_reason: 'Clicked by accident' },
  ]);
});

it('knows what to do with every event of the catalogue', () => {
  const handled = new Set<string>();
  for (const { model, begin } of PROJECTIONS) {
    const { on } = begin({ bulk: new Bulk(model.schema, model.entities), flush: () => Promise.resolve() });
    for (const type of Object.keys(on)) {
      const category = definitions.find((definition) => definition.type === type)!.category;
      // A handler for a stream that isn't read would never be called.
      expect(model.categories).toContain(category);
      if (model.name !== 'feed' && model.name !== 'audit') handled.add(type);
    }
    for (const category of model.categories)
      expect(definitions.filter((definition) => definition.category === category).some(({ type }) => type in on)).toBe(
        true,
      );
  }
  const left = definitions.map(({ type }) => type as EventType).filter((type) => !handled.has(type));
  expect(left).toEqual(['CommandRefused']);
});

it('has one audit entry for each command, accepted or refused', async () => {
  const withMeta = ({ stream, event }: Written, more: Partial<Written['event']['metadata']>): Written => ({
    stream,
    event: { ...event, metadata: { ...event.metadata, ...more } },
  });
  const first = withMeta(happened('AnnotationAdded'), { count: 2, commandType: 'AddComment', origin: 'sealed' });
  const second = withMeta(happened('AnnotationAdded', { annotationId: uid('second') }), {
    ...first.event.metadata,
    index: 1,
  });
  const bare = happened('VersionClosed');
  const refused = happened('CommandRefused');
  const log = await given(
    happened('ProjectCreated'),
    happened('DeliverableCreated'),
    happened('VersionOpened'),
    happened('CommentAdded'),
    first,
    second,
    bare,
    refused,
  );
  const at = (of: Written) => log.events.find(({ id }) => id === of.event.id)!;
  expect(await rows(`SELECT count(*)::int AS n FROM audit_v2.entry`)).toEqual([{ n: 7 }]);
  expect(
    await rows(
      `SELECT position, type, origin, entity_type, entity_id, revision, events, code FROM audit_v2.entry ORDER BY position DESC LIMIT 3`,
    ),
  ).toMatchObject([
    {
      position: String(at(refused).position),
      type: 'AddComment',
      entity_type: 'version',
      entity_id: EXAMPLE.version,
      revision: null,
      events: 0,
      code: 'VERSION_LOCKED',
    },
    {
      position: String(at(bare).position),
      type: 'VersionClosed',
      origin: null,
      revision: at(bare).revision,
      events: 1,
    },
    { position: String(at(first).position), type: 'AddComment', origin: 'sealed', events: 2, code: null },
  ]);
  expect(JSON.stringify(await rows(`SELECT * FROM audit_v2.entry`))).not.toContain('127.0.0.1');
});

it('shows a comparison that failed until it is asked for again', async () => {
  await given(happened('ComparisonRequested'), happened('ComparisonFailed', {}, { by: null }));
  expect(
    await rows(`SELECT status, failure_code, failure_reason, ended_at IS NULL AS open, files
                       FROM comparison_v1.comparison`),
  ).toEqual([
    {
      status: 'FAILED',
      failure_code: 'FFMPEG_FAILED',
      failure_reason: 'Invalid data found when processing input',
      open: false,
      files: [],
    },
  ]);
});

it('takes the other events of people, projects and templates', async () => {
  await given(
    happened('OrganisationCreated'),
    happened('UserRegistered'),
    happened('UserRoleChanged', { from: 'PRODUCER', to: 'ADMINISTRATOR' }),
    happened('UserDeactivated'),
    happened('PipelineTemplateCreated'),
    happened('PipelineTemplateArchived'),
    happened('ProjectCreated'),
    happened('ProjectRenamed'),
    happened('ProjectArchived'),
  );
  expect(await rows(`SELECT role, active, revision FROM identity_v1.user`)).toEqual([
    { role: 'ADMINISTRATOR', active: false, revision: 2 },
  ]);
  expect(
    await rows(`SELECT archived, jsonb_array_length(stages) AS stages FROM production_v1.pipeline_template`),
  ).toEqual([{ archived: true, stages: 2 }]);
  expect(await rows(`SELECT name, archived, revision FROM production_v1.project`)).toEqual([
    { name: 'Harbour at Dusk', archived: true, revision: 2 },
  ]);
});
