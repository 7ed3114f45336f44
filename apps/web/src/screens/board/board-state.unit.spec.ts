import {
  boardReducer,
  type Deliverable,
  EMPTY_BOARD,
  type ProjectMessage,
  type Stage,
  stageToOpen,
} from './board-state.js';

const stage = (id: string, state: Stage['state'], label = ''): Stage => ({
  id,
  key: id,
  name: id,
  state,
  label,
  assignees: [],
});
const deliverable = (id: string, ...stages: Stage[]): Deliverable => ({
  id,
  name: id,
  createdAt: '2026-01-01T00:00:00Z',
  stages,
});
const message = (position: string, change: Partial<ProjectMessage>): ProjectMessage => ({
  position,
  eventType: 'StageStateChanged',
  deliverable: null,
  stage: null,
  ...change,
});

it('a job card moves by its message, once', () => {
  const before = boardReducer(EMPTY_BOARD, {
    type: 'snapshot',
    position: '5',
    deliverables: [deliverable('d', stage('edit', 'IN_REVIEW'), stage('colour', 'BLOCKED'))],
  });
  const moved = message('6', { stage: stage('colour', 'READY', 'Ready for colour') });
  const after = boardReducer(before, { type: 'message', message: moved });
  expect(after.deliverables[0]!.stages.map(({ state }) => state)).toEqual(['IN_REVIEW', 'READY']);
  expect(boardReducer(after, { type: 'message', message: moved })).toBe(after);
});

it('new deliverables appear, known ones are replaced', () => {
  const one = boardReducer(EMPTY_BOARD, { type: 'message', message: message('1', { deliverable: deliverable('d') }) });
  const two = boardReducer(one, {
    type: 'message',
    message: message('2', { deliverable: deliverable('d', stage('edit', 'READY')) }),
  });
  expect(two.deliverables).toHaveLength(1);
  expect(two.deliverables[0]!.stages).toHaveLength(1);
});

it('opens what waits for eyes, else the furthest that is done', () => {
  expect(
    stageToOpen([deliverable('d', stage('a', 'APPROVED'), stage('b', 'IN_REVIEW'), stage('c', 'READY'))])?.id,
  ).toBe('b');
  expect(stageToOpen([deliverable('d', stage('a', 'APPROVED'), stage('b', 'APPROVED'), stage('c', 'READY'))])?.id).toBe(
    'b',
  );
  expect(stageToOpen([deliverable('d', stage('a', 'BLOCKED'))])?.id).toBe('a');
  expect(stageToOpen([])).toBeNull();
});
