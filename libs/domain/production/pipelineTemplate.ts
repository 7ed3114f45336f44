/** A pipeline template: stages and what they depend on. Stream `pipelineTemplate-<templateId>`. */
import { z } from 'zod';
import {
  id,
  PipelineTemplateCreated,
  type Decider,
  type PipelineTemplateEvent,
  type TemplateStage,
} from '#libs/events/catalogue/index.js';
import { alreadyThere, isOf, notFound, type CommandsOf } from '../kit.js';
import { checkPipeline } from './pipeline.js';

export const commands = {
  CreatePipelineTemplate: PipelineTemplateCreated.schema.omit({ organisationId: true }),
  ArchivePipelineTemplate: z.object({ templateId: id }),
};
export type PipelineTemplateCommand = CommandsOf<typeof commands>;

export type PipelineTemplateState = {
  readonly templateId: string;
  readonly organisationId: string;
  readonly stages: readonly TemplateStage[];
  readonly archived: boolean;
} | null;

export const pipelineTemplateDecider: Decider<PipelineTemplateState, PipelineTemplateCommand, PipelineTemplateEvent> = {
  category: 'pipelineTemplate',
  initialState: null,
  decide(command, state) {
    const { meta } = command;
    if (command.type === 'CreatePipelineTemplate') {
      if (state) return alreadyThere('pipeline template', state, meta);
      const refusal = checkPipeline(command.data.stages);
      if (refusal) return refusal;
      return [{ type: 'PipelineTemplateCreated', data: { ...command.data, organisationId: meta.organisationId } }];
    }
    if (!isOf(state, meta)) return notFound('pipeline template');
    if (state.archived) return [];
    return [
      {
        type: 'PipelineTemplateArchived',
        data: { templateId: state.templateId, organisationId: state.organisationId },
      },
    ];
  },
  evolve(state, event) {
    switch (event.type) {
      case 'PipelineTemplateCreated': {
        const { templateId, organisationId, stages } = event.data;
        return { templateId, organisationId, stages, archived: false };
      }
      case 'PipelineTemplateArchived':
        return state && { ...state, archived: true };
      default:
        return state;
    }
  },
};
