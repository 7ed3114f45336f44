import fc from 'fast-check';
import { isRefusal, type TemplateStage } from '#libs/events/catalogue/index.js';
import { command, given, OTHER_ORGANISATION, uuid } from '../testing.js';
import { orphanStages, planStages } from './pipeline.js';
import { pipelineTemplateDecider } from './pipelineTemplate.js';

const templateId = uuid(1);
const stage = (key: string, ...dependsOn: string[]): TemplateStage => ({
  key,
  name: key,
  dependsOn,
  completesOn: 'APPROVAL',
  approvalPolicy: { kind: 'ANY' },
  labels: {},
});
const create = (...stages: TemplateStage[]) =>
  command('CreatePipelineTemplate', { templateId, name: 'Commercial', stages });
const relay = create(stage('ingest'), stage('edit', 'ingest'), stage('colour', 'edit'), stage('sound', 'edit'));

describe('a pipeline template', () => {
  it('is created with its stages', () => {
    given(pipelineTemplateDecider)
      .when(relay)
      .then({ type: 'PipelineTemplateCreated', data: { name: 'Commercial', stages: relay.data.stages } });
    given(pipelineTemplateDecider, [relay]).when(relay).thenRefused('ALREADY_EXISTS');
  });

  it('is archived once', () => {
    const archive = command('ArchivePipelineTemplate', { templateId });
    given(pipelineTemplateDecider, [relay]).when(archive).then({ type: 'PipelineTemplateArchived' });
    given(pipelineTemplateDecider, [relay, archive]).when(archive).thenNothing();
    given(pipelineTemplateDecider).when(archive).thenRefused('NOT_FOUND');
    given(pipelineTemplateDecider, [relay])
      .when({ ...archive, meta: { ...archive.meta, organisationId: OTHER_ORGANISATION } })
      .thenRefused('NOT_FOUND');
  });

  it('has no two stages of one key', () => {
    given(pipelineTemplateDecider)
      .when(create(stage('edit'), stage('colour'), stage('edit')))
      .thenRefused('DUPLICATE_STAGE', { path: ['stages', 2, 'key'] });
  });

  it('depends on nothing it does not have', () => {
    given(pipelineTemplateDecider)
      .when(create(stage('ingest'), stage('edit', 'ingest', 'shoot')))
      .thenRefused('UNKNOWN_STAGE', { path: ['stages', 1, 'dependsOn', 1] });
  });

  it('has no circles', () => {
    given(pipelineTemplateDecider)
      .when(create(stage('a', 'b'), stage('b', 'c'), stage('c', 'b')))
      .thenRefused('PIPELINE_CYCLE', { path: ['stages', 2, 'dependsOn', 0], details: { cycle: ['b', 'c', 'b'] } });
    given(pipelineTemplateDecider)
      .when(create(stage('a', 'a')))
      .thenRefused('PIPELINE_CYCLE', { path: ['stages', 0, 'dependsOn', 0], details: { cycle: ['a', 'a'] } });
  });

  it('is accepted exactly when it can be put in order, and a circle that is named is there', () => {
    const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
    const graph = fc
      .integer({ min: 2, max: keys.length })
      .chain((n) => fc.tuple(...keys.slice(0, n).map(() => fc.subarray(keys.slice(0, n), { maxLength: 2 }))))
      .map((edges) => edges.map((dependsOn, i) => stage(keys[i]!, ...dependsOn)));
    const verdicts = { accepted: 0, refused: 0 };
    fc.assert(
      fc.property(graph, (stages) => {
        const result = pipelineTemplateDecider.decide(create(...stages), null);
        // Kahn: take away what waits for nothing until nothing is left.
        let rest = stages;
        for (;;) {
          const names = new Set(rest.map(({ key }) => key));
          const waiting = rest.filter(({ dependsOn }) => dependsOn.some((on) => names.has(on)));
          if (waiting.length === rest.length) break;
          rest = waiting;
        }
        expect(isRefusal(result)).toBe(rest.length > 0);
        if (!isRefusal(result)) return void verdicts.accepted++;
        verdicts.refused++;
        expect(result.code).toBe('PIPELINE_CYCLE');
        const cycle = result.details!['cycle'] as string[];
        expect(cycle.length).toBeGreaterThan(1);
        expect(cycle[0]).toBe(cycle.at(-1));
        for (const [i, key] of cycle.slice(0, -1).entries()) {
          expect(stages.find((each) => each.key === key)!.dependsOn).toContain(cycle[i + 1]);
        }
      }),
      { numRuns: 500 },
    );
    expect(verdicts.accepted).toBeGreaterThan(20);
    expect(verdicts.refused).toBeGreaterThan(20);
  });
});

describe('orphan stages', () => {
  it('neither wait nor are waited for', () => {
    expect(orphanStages([stage('ingest'), stage('edit', 'ingest'), stage('poster')])).toEqual(['poster']);
    expect(orphanStages([stage('only')])).toEqual([]);
  });
});

describe('planning a deliverable', () => {
  it('gives every stage its id, in dependencies too', () => {
    const planned = planStages([stage('ingest'), stage('edit', 'ingest')], { ingest: uuid(1), edit: uuid(2) });
    expect(planned).toMatchObject([
      { key: 'ingest', stageId: uuid(1), dependsOn: [] },
      { key: 'edit', stageId: uuid(2), dependsOn: [uuid(1)] },
    ]);
    expect(() => planStages([stage('ingest')], {})).toThrow(TypeError);
  });
});
