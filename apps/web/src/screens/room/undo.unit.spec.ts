import { commandOf, did, moved, nextStep, NOTHING_DONE, type Step } from './undo.js';

const drew = (annotationId: string, versionId = 'v1'): Step => ({ annotationId, versionId, did: 'drew' });
const removed = (annotationId: string): Step => ({ annotationId, versionId: 'v1', did: 'removed' });

it('undoes the newest first, and redoes in the order undone', () => {
  let stacks = did(NOTHING_DONE, [drew('a'), drew('b')]);
  const b = nextStep(stacks, 'undo', 'v1')!;
  expect(b.annotationId).toBe('b');
  stacks = moved(stacks, 'undo', b);
  const a = nextStep(stacks, 'undo', 'v1')!;
  stacks = moved(stacks, 'undo', a);
  expect(nextStep(stacks, 'undo', 'v1')).toBeNull();
  expect(nextStep(stacks, 'redo', 'v1')).toBe(a);
  stacks = moved(stacks, 'redo', a);
  expect(nextStep(stacks, 'redo', 'v1')).toBe(b);
  expect(nextStep(stacks, 'undo', 'v1')).toBe(a);
});

it('is a command of its own each way', () => {
  expect(commandOf(drew('a'), 'undo')).toBe('removeAnnotation');
  expect(commandOf(drew('a'), 'redo')).toBe('restoreAnnotation');
  expect(commandOf(removed('a'), 'undo')).toBe('restoreAnnotation');
  expect(commandOf(removed('a'), 'redo')).toBe('removeAnnotation');
});

it('forgets what was undone when something new is drawn, and stays with its version', () => {
  const undone = moved(did(NOTHING_DONE, [drew('a')]), 'undo', drew('a'));
  expect(did(undone, [drew('b')]).undone).toEqual([]);
  expect(did(undone, [])).toBe(undone);
  expect(nextStep(did(NOTHING_DONE, [drew('a', 'v1')]), 'undo', 'v2')).toBeNull();
});
