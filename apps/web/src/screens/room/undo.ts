/**
 * Undo and redo of drawings. Pure. Nothing is forgotten: undoing a drawing is the command removeAnnotation, redoing it is
 * restoreAnnotation, and both are events that everybody sees.
 */
export interface Step {
  readonly annotationId: string;
  readonly versionId: string;
  /** What the person did; undoing does the opposite. */
  readonly did: 'drew' | 'removed';
}

export interface UndoStacks {
  readonly done: readonly Step[];
  readonly undone: readonly Step[];
}

export const NOTHING_DONE: UndoStacks = { done: [], undone: [] };

/** A new deed ends the possibility to redo what was undone before. */
export function did(stacks: UndoStacks, steps: readonly Step[]): UndoStacks {
  return steps.length === 0 ? stacks : { done: [...stacks.done, ...steps].slice(-200), undone: [] };
}

export function commandOf(step: Step, direction: 'undo' | 'redo'): 'removeAnnotation' | 'restoreAnnotation' {
  return (step.did === 'drew') === (direction === 'undo') ? 'removeAnnotation' : 'restoreAnnotation';
}

/** The step to undo or redo next on a version, or null. */
export function nextStep(stacks: UndoStacks, direction: 'undo' | 'redo', versionId: string): Step | null {
  const list = direction === 'undo' ? stacks.done : stacks.undone;
  return list.findLast((step) => step.versionId === versionId) ?? null;
}

/** Moves a step to the other side once its command was accepted. */
export function moved(stacks: UndoStacks, direction: 'undo' | 'redo', step: Step): UndoStacks {
  const without = (list: readonly Step[]) => list.filter((other) => other !== step);
  return direction === 'undo'
    ? { done: without(stacks.done), undone: [...stacks.undone, step] }
    : { done: [...stacks.done, step], undone: without(stacks.undone) };
}
