import { z } from 'zod';
import { approvalPolicy, EXAMPLE, id, outcome, stageState } from './common.js';
import { defineEvent, type EventsOf } from './define.js';

const context = 'production' as const;
const name = z.string().min(1).max(200);

/** When a stage is done: as soon as something is uploaded (an ingest), or when its approval policy is met. */
export const completesOn = z.enum(['UPLOAD', 'APPROVAL']);

/** One stage of a pipeline template. `key` is unique in the template; `dependsOn` names keys, without cycles. */
export const templateStage = z.object({
  key: z.string().regex(/^[a-z][a-z0-9-]{0,39}$/),
  name,
  dependsOn: z.array(z.string()).max(50),
  completesOn,
  approvalPolicy,
  /** Display names per state, as in `{ READY: 'Ready for colour' }`. */
  labels: z.partialRecord(stageState, z.string().min(1).max(80)),
});
export type TemplateStage = z.infer<typeof templateStage>;

/** A stage of a running deliverable: a copy of its template, so that later template edits never change it. */
export const deliverableStage = z.object({
  stageId: id,
  key: z.string(),
  name,
  dependsOn: z.array(id),
  completesOn,
  approvalPolicy,
  labels: z.partialRecord(stageState, z.string()),
  state: stageState,
});
export type DeliverableStage = z.infer<typeof deliverableStage>;

const exampleStage: TemplateStage = {
  key: 'edit',
  name: 'Edit',
  dependsOn: ['ingest'],
  completesOn: 'APPROVAL',
  approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
  labels: { READY: 'Ready for edit', IN_REVIEW: 'Ready for review', CHANGES_REQUESTED: 'Revision needed' },
};

export const PipelineTemplateCreated = defineEvent({
  type: 'PipelineTemplateCreated',
  context,
  category: 'pipelineTemplate',
  description: 'A pipeline template with its stages; the dependencies form a directed graph without cycles.',
  schema: z.object({ templateId: id, organisationId: id, name, stages: z.array(templateStage).min(1).max(50) }),
  example: {
    templateId: EXAMPLE.template,
    organisationId: EXAMPLE.organisation,
    name: 'Commercial',
    stages: [{ ...exampleStage, key: 'ingest', name: 'Ingest', dependsOn: [], completesOn: 'UPLOAD' }, exampleStage],
  },
});
export const PipelineTemplateArchived = defineEvent({
  type: 'PipelineTemplateArchived',
  context,
  category: 'pipelineTemplate',
  description: 'The template is no longer offered; running deliverables go on.',
  schema: z.object({ templateId: id, organisationId: id }),
  example: { templateId: EXAMPLE.template, organisationId: EXAMPLE.organisation },
});

export const ProjectCreated = defineEvent({
  type: 'ProjectCreated',
  context,
  category: 'project',
  description: 'A project begins.',
  schema: z.object({
    projectId: id,
    organisationId: id,
    name,
    code: z.string().regex(/^[A-Z0-9][A-Z0-9_-]{0,31}$/),
    templateId: id.nullable(),
  }),
  example: {
    projectId: EXAMPLE.project,
    organisationId: EXAMPLE.organisation,
    name: 'Harbour at Dawn',
    code: 'HARBOUR',
    templateId: EXAMPLE.template,
  },
});
export const ProjectRenamed = defineEvent({
  type: 'ProjectRenamed',
  context,
  category: 'project',
  description: 'The project has another name.',
  schema: z.object({ projectId: id, organisationId: id, from: name, to: name }),
  example: {
    projectId: EXAMPLE.project,
    organisationId: EXAMPLE.organisation,
    from: 'Harbour at Dawn',
    to: 'Harbour at Dusk',
  },
});
export const ProjectArchived = defineEvent({
  type: 'ProjectArchived',
  context,
  category: 'project',
  description: 'The project is closed; reading goes on.',
  schema: z.object({ projectId: id, organisationId: id }),
  example: { projectId: EXAMPLE.project, organisationId: EXAMPLE.organisation },
});
export const ProjectMemberAdded = defineEvent({
  type: 'ProjectMemberAdded',
  context,
  category: 'project',
  description: 'A person (usually a reviewer or client) may see and review the whole project from now on.',
  schema: z.object({ projectId: id, organisationId: id, userId: id }),
  example: { projectId: EXAMPLE.project, organisationId: EXAMPLE.organisation, userId: EXAMPLE.user },
});
export const ProjectMemberRemoved = defineEvent({
  type: 'ProjectMemberRemoved',
  context,
  category: 'project',
  description: 'The membership ends; assignments are not touched.',
  schema: z.object({ projectId: id, organisationId: id, userId: id }),
  example: { projectId: EXAMPLE.project, organisationId: EXAMPLE.organisation, userId: EXAMPLE.user },
});

const stageRef = { deliverableId: id, projectId: id, organisationId: id, stageId: id };
const exampleRef = {
  deliverableId: EXAMPLE.deliverable,
  projectId: EXAMPLE.project,
  organisationId: EXAMPLE.organisation,
  stageId: EXAMPLE.stage,
};

export const DeliverableCreated = defineEvent({
  type: 'DeliverableCreated',
  context,
  category: 'deliverable',
  description: 'A deliverable with its stages, instantiated from a pipeline template.',
  schema: z.object({
    deliverableId: id,
    projectId: id,
    organisationId: id,
    name,
    templateId: id,
    stages: z.array(deliverableStage).min(1).max(50),
  }),
  example: {
    deliverableId: EXAMPLE.deliverable,
    projectId: EXAMPLE.project,
    organisationId: EXAMPLE.organisation,
    name: '30 second spot',
    templateId: EXAMPLE.template,
    stages: [{ ...exampleStage, stageId: EXAMPLE.stage, dependsOn: [], state: 'READY' }],
  },
});
export const StageAssigned = defineEvent({
  type: 'StageAssigned',
  context,
  category: 'deliverable',
  description: 'A person works on a stage; from this moment they see the project.',
  schema: z.object({ ...stageRef, userId: id }),
  example: { ...exampleRef, userId: EXAMPLE.user },
});
export const StageUnassigned = defineEvent({
  type: 'StageUnassigned',
  context,
  category: 'deliverable',
  description: 'The assignment ends, and with it the sight of the project unless something else grants it.',
  schema: z.object({ ...stageRef, userId: id }),
  example: { ...exampleRef, userId: EXAMPLE.user },
});
export const StageStateChanged = defineEvent({
  type: 'StageStateChanged',
  context,
  category: 'deliverable',
  description: 'The job card moves: by hand, by an upload, by a decision, or because what it depends on is done.',
  schema: z.object({
    ...stageRef,
    from: stageState,
    to: stageState,
    cause: z.enum(['MANUAL', 'UPLOAD', 'DECISION', 'DEPENDENCY', 'WITHDRAWAL']),
    versionId: id.nullable(),
    reason: z.string().max(2000).nullable(),
  }),
  example: { ...exampleRef, from: 'READY', to: 'IN_REVIEW', cause: 'UPLOAD', versionId: EXAMPLE.version, reason: null },
});
export const StageVersionRecorded = defineEvent({
  type: 'StageVersionRecorded',
  context,
  category: 'deliverable',
  description:
    'What the job card knows of its review: the newest version that stands, and what the decisions on it come to. Kept also while the card does not move, as on hold.',
  schema: z.object({
    ...stageRef,
    /** Null when every version was withdrawn. */
    versionId: id.nullable(),
    outcome,
  }),
  example: { ...exampleRef, versionId: EXAMPLE.version, outcome: 'PENDING' },
});

export const pipelineTemplateEvents = [PipelineTemplateCreated, PipelineTemplateArchived] as const;
export const projectEvents = [
  ProjectCreated,
  ProjectRenamed,
  ProjectArchived,
  ProjectMemberAdded,
  ProjectMemberRemoved,
] as const;
export const deliverableEvents = [
  DeliverableCreated,
  StageAssigned,
  StageUnassigned,
  StageStateChanged,
  StageVersionRecorded,
] as const;
export type PipelineTemplateEvent = EventsOf<typeof pipelineTemplateEvents>;
export type ProjectEvent = EventsOf<typeof projectEvents>;
export type DeliverableEvent = EventsOf<typeof deliverableEvents>;
