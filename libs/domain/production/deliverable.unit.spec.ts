import fc from 'fast-check';
import { STAGE_STATES, type DeliverableEvent, type StageState } from '#libs/events/catalogue/index.js';
import { command, fold, given, OTHER_ORGANISATION, people, play, system, uuid } from '../testing.js';
import { deliverableDecider, isDone, legalMoves, TRANSITIONS, type DeliverableState } from './deliverable.js';
import { planStages } from './pipeline.js';

const deliverableId = uuid(1);
const ids = { ingest: uuid(0x11), edit: uuid(0x12), colour: uuid(0x13), sound: uuid(0x14), online: uuid(0x15) };
const { ingest, edit, colour, sound, online } = ids;
const [v1, v2, v3] = [uuid(0x21), uuid(0x22), uuid(0x23)];
const stage = (key: keyof typeof ids, ...dependsOn: string[]) => ({
  key,
  name: key,
  dependsOn,
  completesOn: key === 'ingest' ? ('UPLOAD' as const) : ('APPROVAL' as const),
  approvalPolicy: { kind: 'ANY' as const },
  labels: {},
});
const stages = planStages(
  [
    stage('ingest'),
    stage('edit', 'ingest'),
    stage('colour', 'edit'),
    stage('sound', 'edit'),
    stage('online', 'colour', 'sound'),
  ],
  ids,
);
const base = { deliverableId, projectId: uuid(2), name: '30 second spot', templateId: uuid(3) };
const create = command('CreateDeliverable', { ...base, stages });
const upload = (stageId: string, versionId: string) =>
  command('RecordStageUpload', { deliverableId, stageId, versionId }, system);
const decided = (
  stageId: string,
  versionId: string,
  outcome: 'PENDING' | 'APPROVED' | 'CHANGES_REQUESTED' | 'REJECTED',
) => command('RecordStageOutcome', { deliverableId, stageId, versionId, outcome }, system);
const withdraw = (stageId: string, versionId: string, currentVersionId: string | null) =>
  command('RecordStageWithdrawal', { deliverableId, stageId, versionId, currentVersionId }, system);
const move = (stageId: string, to: StageState, by = people.producer as (typeof people)[keyof typeof people]) =>
  command('ChangeStageState', { deliverableId, stageId, to }, by);
const recorded = (stageId: string, versionId: string | null) =>
  ({ type: 'StageVersionRecorded', data: { stageId, versionId } }) as const;
const moved = (
  stageId: string,
  from: StageState,
  to: StageState,
  cause: 'MANUAL' | 'UPLOAD' | 'DECISION' | 'DEPENDENCY' | 'WITHDRAWAL',
) => ({ type: 'StageStateChanged', data: { stageId, from, to, cause } }) as const;
const ingested = [create, upload(ingest, uuid(0x20))];
const inReview = [...ingested, upload(edit, v1)];
const approved = [...inReview, decided(edit, v1, 'APPROVED')];
const stateOf = (state: DeliverableState, stageId: string) => state!.stages.find((s) => s.stageId === stageId)!.state;

describe('a deliverable', () => {
  it('begins with what waits for nothing ready, the rest blocked', () => {
    const state = given(deliverableDecider).when(create).then({ type: 'DeliverableCreated' });
    expect(state!.stages.map((each) => each.state)).toEqual(['READY', 'BLOCKED', 'BLOCKED', 'BLOCKED', 'BLOCKED']);
    given(deliverableDecider, [create]).when(create).thenRefused('ALREADY_EXISTS');
  });

  it('is no better than its pipeline', () => {
    const [first, second] = [stages[0]!, stages[1]!];
    const bad = (...list: typeof stages) =>
      given(deliverableDecider).when(command('CreateDeliverable', { ...base, stages: list }));
    bad(first, { ...second, stageId: first.stageId }).thenRefused('DUPLICATE_STAGE', {
      path: ['stages', 1, 'stageId'],
    });
    bad(first, { ...second, key: first.key }).thenRefused('DUPLICATE_STAGE', { path: ['stages', 1, 'key'] });
    bad(second).thenRefused('UNKNOWN_STAGE', { path: ['stages', 0, 'dependsOn', 0] });
    bad({ ...first, dependsOn: [edit] }, second).thenRefused('PIPELINE_CYCLE', {
      details: { cycle: ['ingest', 'edit', 'ingest'] },
    });
  });

  it('does not exist before it begins, nor for another organisation, nor with a stage it has not', () => {
    const assign = { deliverableId, stageId: edit, userId: people.artist.userId };
    for (const each of [
      command('AssignStage', assign),
      command('UnassignStage', assign),
      move(edit, 'ON_HOLD'),
      upload(edit, v1),
      decided(edit, v1, 'APPROVED'),
      withdraw(edit, v1, null),
    ]) {
      given(deliverableDecider).when(each).thenRefused('NOT_FOUND');
      given(deliverableDecider, [create])
        .when({ ...each, meta: { ...each.meta, organisationId: OTHER_ORGANISATION } })
        .thenRefused('NOT_FOUND');
    }
    given(deliverableDecider, [create])
      .when(move(uuid(9), 'ON_HOLD'))
      .thenRefused('STAGE_NOT_FOUND', { path: ['stageId'] });
  });
});

describe('an assignment', () => {
  const who = { deliverableId, stageId: edit, userId: people.artist.userId };
  const assign = command('AssignStage', who);
  const unassign = command('UnassignStage', who);

  it('begins and ends once', () => {
    given(deliverableDecider, [create]).when(assign).then({ type: 'StageAssigned', data: who });
    given(deliverableDecider, [create, assign]).when(assign).thenNothing();
    given(deliverableDecider, [create, assign]).when(unassign).then({ type: 'StageUnassigned', data: who });
    given(deliverableDecider, [create]).when(unassign).thenNothing();
    given(deliverableDecider, [create, assign, unassign]).when(unassign).thenNothing();
  });

  it('leaves the others assigned', () => {
    const other = command('AssignStage', { ...who, userId: people.reviewer.userId });
    const { state } = given(deliverableDecider, [create, assign, other, unassign]);
    expect(state!.stages[1]!.assignees).toEqual([people.reviewer.userId]);
  });
});

describe('the relay (RV-22)', () => {
  it('goes on by itself: upload, decision, next stage', () => {
    given(deliverableDecider, [create])
      .when(upload(ingest, v1))
      .then(
        recorded(ingest, v1),
        moved(ingest, 'READY', 'APPROVED', 'UPLOAD'),
        moved(edit, 'BLOCKED', 'READY', 'DEPENDENCY'),
      );
    given(deliverableDecider, ingested)
      .when(upload(edit, v1))
      .then(recorded(edit, v1), moved(edit, 'READY', 'IN_REVIEW', 'UPLOAD'));
    given(deliverableDecider, inReview)
      .when(decided(edit, v1, 'CHANGES_REQUESTED'))
      .then(recorded(edit, v1), moved(edit, 'IN_REVIEW', 'CHANGES_REQUESTED', 'DECISION'));
    given(deliverableDecider, [...inReview, decided(edit, v1, 'REJECTED')])
      .when(upload(edit, v2))
      .then(recorded(edit, v2), moved(edit, 'CHANGES_REQUESTED', 'IN_REVIEW', 'UPLOAD'));
    given(deliverableDecider, [...inReview, upload(edit, v2)])
      .when(decided(edit, v2, 'APPROVED'))
      .then(
        recorded(edit, v2),
        moved(edit, 'IN_REVIEW', 'APPROVED', 'DECISION'),
        moved(colour, 'BLOCKED', 'READY', 'DEPENDENCY'),
        moved(sound, 'BLOCKED', 'READY', 'DEPENDENCY'),
      );
  });

  it('names the version that moved the card, and none where a dependency did', () => {
    const { events } = play(
      deliverableDecider,
      given(deliverableDecider, inReview).state,
      decided(edit, v1, 'APPROVED'),
    );
    expect(events.slice(1).map((e) => e.type === 'StageStateChanged' && e.data.versionId)).toEqual([v1, null, null]);
  });

  it('hears a version once, and decisions on the newest only', () => {
    given(deliverableDecider, inReview).when(upload(edit, v1)).thenNothing();
    const second = [...inReview, upload(edit, v2)];
    given(deliverableDecider, second).when(upload(edit, v1)).thenNothing();
    given(deliverableDecider, second)
      .when(decided(edit, v1, 'APPROVED'))
      .thenNothing();
    given(deliverableDecider, approved)
      .when(decided(edit, v1, 'APPROVED'))
      .thenNothing();
    given(deliverableDecider, ingested)
      .when(decided(edit, v1, 'APPROVED'))
      .thenNothing();
  });

  it('notes a newer version also where the card stays', () => {
    given(deliverableDecider, inReview).when(upload(edit, v2)).then(recorded(edit, v2));
  });

  it('goes back to review when the decision is withdrawn, and blocks who had not started', () => {
    given(deliverableDecider, [...approved, move(sound, 'IN_PROGRESS')])
      .when(decided(edit, v1, 'PENDING'))
      .then(
        recorded(edit, v1),
        moved(edit, 'APPROVED', 'IN_REVIEW', 'DECISION'),
        moved(colour, 'READY', 'BLOCKED', 'DEPENDENCY'),
      );
  });

  it('un-approves a stage with a new upload', () => {
    given(deliverableDecider, approved)
      .when(upload(edit, v2))
      .then(
        recorded(edit, v2),
        moved(edit, 'APPROVED', 'IN_REVIEW', 'UPLOAD'),
        moved(colour, 'READY', 'BLOCKED', 'DEPENDENCY'),
        moved(sound, 'READY', 'BLOCKED', 'DEPENDENCY'),
      );
    given(deliverableDecider, ingested).when(upload(ingest, v2)).then(recorded(ingest, v2));
  });

  it('keeps what was uploaded to a blocked stage for when it unblocks, chain and all', () => {
    given(deliverableDecider, [create, upload(edit, v1)])
      .when(upload(ingest, v2))
      .then(
        recorded(ingest, v2),
        moved(ingest, 'READY', 'APPROVED', 'UPLOAD'),
        moved(edit, 'BLOCKED', 'READY', 'DEPENDENCY'),
        moved(edit, 'READY', 'IN_REVIEW', 'UPLOAD'),
      );
    given(deliverableDecider, [create, upload(edit, v1), decided(edit, v1, 'APPROVED')])
      .when(move(ingest, 'OMITTED'))
      .then(
        moved(ingest, 'READY', 'OMITTED', 'MANUAL'),
        moved(edit, 'BLOCKED', 'READY', 'DEPENDENCY'),
        moved(edit, 'READY', 'APPROVED', 'DECISION'),
        moved(colour, 'BLOCKED', 'READY', 'DEPENDENCY'),
        moved(sound, 'BLOCKED', 'READY', 'DEPENDENCY'),
      );
  });

  it('waits for all it depends on', () => {
    const oneDone = [...approved, upload(colour, v2), decided(colour, v2, 'APPROVED')];
    expect(stateOf(given(deliverableDecider, oneDone).state, online)).toBe('BLOCKED');
    given(deliverableDecider, oneDone)
      .when(move(sound, 'OMITTED'))
      .then(moved(sound, 'READY', 'OMITTED', 'MANUAL'), moved(online, 'BLOCKED', 'READY', 'DEPENDENCY'));
  });
});

describe('a withdrawn version', () => {
  it('gives the card back to the one before, as that was decided', () => {
    given(deliverableDecider, [...inReview, decided(edit, v1, 'CHANGES_REQUESTED'), upload(edit, v2)])
      .when(withdraw(edit, v2, v1))
      .then(recorded(edit, v1), moved(edit, 'IN_REVIEW', 'CHANGES_REQUESTED', 'WITHDRAWAL'));
  });

  it('leaves work in progress when it was the only one', () => {
    given(deliverableDecider, inReview)
      .when(withdraw(edit, v1, null))
      .then(recorded(edit, null), moved(edit, 'IN_REVIEW', 'IN_PROGRESS', 'WITHDRAWAL'));
    given(deliverableDecider, ingested)
      .when(withdraw(ingest, uuid(0x20), null))
      .then(
        recorded(ingest, null),
        moved(ingest, 'APPROVED', 'IN_PROGRESS', 'WITHDRAWAL'),
        moved(edit, 'READY', 'BLOCKED', 'DEPENDENCY'),
      );
  });

  it('does not move who has begun to work again', () => {
    given(deliverableDecider, [...inReview, move(edit, 'IN_PROGRESS')])
      .when(withdraw(edit, v1, null))
      .then(recorded(edit, null));
  });

  it('counts only while it is the newest', () => {
    given(deliverableDecider, [...inReview, upload(edit, v2)])
      .when(withdraw(edit, v1, null))
      .thenNothing();
    const gone = [...inReview, withdraw(edit, v1, null)];
    given(deliverableDecider, gone)
      .when(withdraw(edit, v1, null))
      .thenNothing();
    given(deliverableDecider, gone).when(upload(edit, v1)).thenNothing();
  });
});

describe('a move by hand', () => {
  it('is refused with the list of legal ones (RV-21)', () => {
    given(deliverableDecider, [create])
      .when(move(edit, 'IN_PROGRESS'))
      .thenRefused('ILLEGAL_TRANSITION', {
        path: ['to'],
        details: { from: 'BLOCKED', to: 'IN_PROGRESS', legal: ['ON_HOLD', 'OMITTED'] },
      });
    given(deliverableDecider, ingested)
      .when(move(edit, 'APPROVED'))
      .thenRefused('ILLEGAL_TRANSITION', {
        details: { from: 'READY', to: 'APPROVED', legal: ['IN_PROGRESS', 'ON_HOLD', 'OMITTED'] },
      });
  });

  it('to where the card is does nothing', () => {
    given(deliverableDecider, ingested).when(move(edit, 'READY')).thenNothing();
  });

  it('keeps its reason', () => {
    const hold = command('ChangeStageState', {
      deliverableId,
      stageId: edit,
      to: 'ON_HOLD',
      reason: 'Waiting for music',
    });
    given(deliverableDecider, ingested)
      .when(hold)
      .then({ type: 'StageStateChanged', data: { to: 'ON_HOLD', cause: 'MANUAL', reason: 'Waiting for music' } });
  });

  it('past the approval policy is for managers', () => {
    const { artist } = people;
    given(deliverableDecider, inReview)
      .when(move(edit, 'APPROVED', artist))
      .thenRefused('FORBIDDEN', { details: { permission: 'stage.override' } });
    given(deliverableDecider, approved)
      .when(move(edit, 'IN_REVIEW', artist))
      .thenRefused('FORBIDDEN');
    given(deliverableDecider, ingested)
      .when(move(edit, 'OMITTED', artist))
      .thenRefused('FORBIDDEN');
    given(deliverableDecider, ingested)
      .when(move(edit, 'IN_PROGRESS', artist))
      .then(moved(edit, 'READY', 'IN_PROGRESS', 'MANUAL'));
    given(deliverableDecider, inReview)
      .when(move(edit, 'APPROVED'))
      .then(
        moved(edit, 'IN_REVIEW', 'APPROVED', 'MANUAL'),
        moved(colour, 'BLOCKED', 'READY', 'DEPENDENCY'),
        moved(sound, 'BLOCKED', 'READY', 'DEPENDENCY'),
      );
  });

  it('back to the pile goes further back when a dependency was un-approved', () => {
    given(deliverableDecider, [...approved, move(colour, 'IN_PROGRESS'), upload(edit, v2)])
      .when(move(colour, 'READY'))
      .then(moved(colour, 'IN_PROGRESS', 'READY', 'MANUAL'), moved(colour, 'READY', 'BLOCKED', 'DEPENDENCY'));
  });
});

describe('a card on hold', () => {
  const held = [...ingested, move(edit, 'IN_PROGRESS'), move(edit, 'ON_HOLD')];

  it('goes back to where it came from, and nowhere else', () => {
    given(deliverableDecider, held)
      .when(move(edit, 'IN_PROGRESS', people.artist))
      .then(moved(edit, 'ON_HOLD', 'IN_PROGRESS', 'MANUAL'));
    given(deliverableDecider, held)
      .when(move(edit, 'READY'))
      .thenRefused('ILLEGAL_TRANSITION', {
        details: { from: 'ON_HOLD', to: 'READY', legal: ['IN_PROGRESS', 'OMITTED'] },
      });
  });

  it('is not moved by uploads and decisions, which count when it is released', () => {
    given(deliverableDecider, held).when(upload(edit, v1)).then(recorded(edit, v1));
    given(deliverableDecider, [...held, upload(edit, v1)])
      .when(decided(edit, v1, 'APPROVED'))
      .then(recorded(edit, v1));
    const { state } = given(deliverableDecider, [...held, upload(edit, v1), decided(edit, v1, 'APPROVED')]);
    expect(legalMoves(state!.stages[1]!, state!.stages)).toEqual(['APPROVED', 'OMITTED']);
    expect(stateOf(state, colour)).toBe('BLOCKED');
  });

  it('that had not started waits for what it depends on', () => {
    const readyHeld = [...approved, move(colour, 'ON_HOLD'), upload(edit, v2)];
    given(deliverableDecider, readyHeld)
      .when(move(colour, 'BLOCKED'))
      .then(moved(colour, 'ON_HOLD', 'BLOCKED', 'MANUAL'));
    const blockedHeld = [...inReview, move(colour, 'ON_HOLD'), decided(edit, v1, 'APPROVED')];
    given(deliverableDecider, blockedHeld)
      .when(move(colour, 'READY'))
      .then(moved(colour, 'ON_HOLD', 'READY', 'MANUAL'));
  });

  it('that was blocked stays blocked whatever is uploaded', () => {
    const { state } = given(deliverableDecider, [create, move(edit, 'ON_HOLD'), upload(edit, v1)]);
    expect(legalMoves(state!.stages[1]!, state!.stages)).toEqual(['BLOCKED', 'OMITTED']);
  });
});

describe('an omitted card', () => {
  it('comes back to where it would be', () => {
    given(deliverableDecider, [...ingested, move(edit, 'OMITTED')])
      .when(move(edit, 'READY'))
      .then(
        moved(edit, 'OMITTED', 'READY', 'MANUAL'),
        moved(colour, 'READY', 'BLOCKED', 'DEPENDENCY'),
        moved(sound, 'READY', 'BLOCKED', 'DEPENDENCY'),
      );
    const { state } = given(deliverableDecider, [...inReview, move(edit, 'OMITTED'), upload(edit, v3)]);
    expect(legalMoves(state!.stages[1]!, state!.stages)).toEqual(['IN_REVIEW']);
  });
});

describe('whatever happens to the cards', () => {
  const keys = ['ingest', 'edit', 'colour', 'sound', 'online'] as const;
  const versions = [v1, v2, v3, uuid(0x24), uuid(0x25)];
  /** A pipeline without circles: every stage may depend on earlier ones, in any order of listing. */
  const pipeline = fc
    .tuple(...keys.map((_, i) => fc.tuple(fc.subarray(keys.slice(0, i)), fc.boolean())))
    .chain((list) =>
      fc.shuffledSubarray(
        list.map(([dependsOn, onUpload], i) => ({
          ...stage(keys[i]!, ...dependsOn),
          completesOn: onUpload ? ('UPLOAD' as const) : ('APPROVAL' as const),
        })),
        { minLength: keys.length },
      ),
    )
    .map((list) => command('CreateDeliverable', { ...base, stages: planStages(list, ids) }));
  const stageId = fc.constantFrom(...Object.values(ids));
  const versionId = fc.constantFrom(...versions);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(stageId, fc.constantFrom(...STAGE_STATES)).map(([s, to]) => move(s, to)) },
    { weight: 2, arbitrary: fc.tuple(stageId, versionId).map(([s, v]) => upload(s, v)) },
    {
      weight: 3,
      arbitrary: fc
        .tuple(stageId, versionId, fc.constantFrom('PENDING', 'APPROVED', 'CHANGES_REQUESTED', 'REJECTED'))
        .map(([s, v, o]) => decided(s, v, o)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(stageId, versionId, fc.option(versionId)).map(([s, v, c]) => withdraw(s, v, c)),
    },
  );

  it('every move is on the graph, a card waits exactly while it must, and twice is as good as once', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(pipeline, fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), (begin, steps) => {
        let { state, events } = play(deliverableDecider, deliverableDecider.initialState, begin);
        const history: DeliverableEvent[] = [...events];
        for (const next of steps) {
          const cards = new Map(state!.stages.map((each) => [each.stageId, each.state]));
          const before = state;
          ({ state, events } = play(deliverableDecider, state, next));
          history.push(...events);
          for (const event of events) {
            if (event.type !== 'StageStateChanged') continue;
            const { stageId: card, from, to, cause } = event.data;
            expect(cards.get(card)).toBe(from);
            expect(TRANSITIONS[from]).toContain(to);
            if (cause === 'DEPENDENCY') expect(['BLOCKED READY', 'READY BLOCKED']).toContain(`${from} ${to}`);
            seen.add(`${from} ${to}`);
            cards.set(card, to);
          }
          for (const { state: now, dependsOn } of state!.stages) {
            const free = dependsOn.every((on) => isDone(cards.get(on)!));
            if (now === 'READY') expect(free).toBe(true);
            if (now === 'BLOCKED') expect(free).toBe(false);
          }
          // A second time: nothing, or no.
          expect(play(deliverableDecider, state, next).events).toEqual([]);
          // The graph told to people is the one that is kept.
          if (next.type === 'ChangeStageState') {
            const card = before!.stages.find((each) => each.stageId === next.data.stageId)!;
            const legal = legalMoves(card, before!.stages);
            const { refusal } = play(deliverableDecider, before, next);
            expect(refusal?.code).toBe(
              legal.includes(next.data.to) || card.state === next.data.to ? undefined : 'ILLEGAL_TRANSITION',
            );
            for (const to of legal) expect(TRANSITIONS[card.state]).toContain(to);
          }
        }
        expect(fold(deliverableDecider, history)).toEqual(state);
      }),
      { numRuns: 120 },
    );
    // The walk went over most of the graph, so the property says something.
    const all = STAGE_STATES.flatMap((from) => TRANSITIONS[from].map((to) => `${from} ${to}`));
    expect(all.filter((edge) => seen.has(edge)).length).toBeGreaterThan(all.length * 0.7);
  });
});
