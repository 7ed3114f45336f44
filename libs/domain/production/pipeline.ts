/** The graph of a pipeline: stages and the stages they depend on. Pure. */
import type { Refusal, TemplateStage } from '#libs/events/catalogue/index.js';
import { refused } from '../kit.js';

/** A node: its own name and the names it waits for. Templates name stages by key, deliverables by id. */
export interface PipelineNode {
  readonly key: string;
  readonly dependsOn: readonly string[];
}

/**
 * Refuses what is no pipeline: two stages of one key (`DUPLICATE_STAGE`, path `['stages', i, 'key']`), a dependency
 * that is not there (`UNKNOWN_STAGE`, path `['stages', i, 'dependsOn', j]`), a circle (`PIPELINE_CYCLE`, the path of
 * the dependency that closes it, `details.cycle` with its keys, first and last the same). Null when all is well.
 */
export function checkPipeline(stages: readonly PipelineNode[]): Refusal | null {
  const twice = findDuplicate(stages.map(({ key }) => key));
  if (twice !== null) {
    return refused('DUPLICATE_STAGE', `Two stages are called “${stages[twice]!.key}”.`, {
      path: ['stages', twice, 'key'],
    });
  }
  const index = new Map(stages.map(({ key }, i) => [key, i]));
  for (const [i, { key, dependsOn }] of stages.entries()) {
    for (const [j, name] of dependsOn.entries()) {
      if (!index.has(name)) {
        return refused('UNKNOWN_STAGE', `“${key}” depends on “${name}”, which is no stage here.`, {
          path: ['stages', i, 'dependsOn', j],
        });
      }
    }
  }
  return findCycle(stages, index);
}

function findCycle(stages: readonly PipelineNode[], index: ReadonlyMap<string, number>): Refusal | null {
  const done = new Set<string>();
  // Depth first, at most 50 deep; `trail` is the way from the start to here.
  const visit = (i: number, trail: readonly string[]): Refusal | null => {
    const { key, dependsOn } = stages[i]!;
    if (done.has(key)) return null;
    const here = [...trail, key];
    for (const [j, name] of dependsOn.entries()) {
      const start = here.indexOf(name);
      if (start >= 0) {
        const cycle = [...here.slice(start), name];
        return refused('PIPELINE_CYCLE', `Stages wait for each other: ${cycle.join(' → ')}.`, {
          path: ['stages', i, 'dependsOn', j],
          details: { cycle },
        });
      }
      const deeper = visit(index.get(name)!, here);
      if (deeper) return deeper;
    }
    done.add(key);
    return null;
  };
  for (const i of stages.keys()) {
    const refusal = visit(i, []);
    if (refusal) return refusal;
  }
  return null;
}

/** Position of the first value that stands there a second time; null when all differ. */
export function findDuplicate(values: readonly string[]): number | null {
  const seen = new Set<string>();
  for (const [i, value] of values.entries()) {
    if (seen.has(value)) return i;
    seen.add(value);
  }
  return null;
}

/** Keys of stages that neither wait for another nor are waited for. A pipeline of one stage has none. */
export function orphanStages(stages: readonly PipelineNode[]): readonly string[] {
  if (stages.length < 2) return [];
  const wanted = new Set(stages.flatMap((stage) => stage.dependsOn));
  return stages.filter(({ key, dependsOn }) => dependsOn.length === 0 && !wanted.has(key)).map(({ key }) => key);
}

/** A deliverable's stage before the decider has given it a state. */
export type PlannedStage = Omit<TemplateStage, 'dependsOn'> & { stageId: string; dependsOn: string[] };

/**
 * Copies a template's stages for a deliverable: every stage gets the id that `stageIds` has for its key, and
 * dependencies become ids. Throws TypeError when an id is missing (the caller makes them).
 */
export function planStages(
  stages: readonly TemplateStage[],
  stageIds: Readonly<Record<string, string>>,
): PlannedStage[] {
  const idOf = (key: string): string => {
    const stageId = stageIds[key];
    if (stageId === undefined) throw new TypeError(`No id was made for stage ${key}`);
    return stageId;
  };
  return stages.map((stage) => ({ ...stage, stageId: idOf(stage.key), dependsOn: stage.dependsOn.map(idOf) }));
}
