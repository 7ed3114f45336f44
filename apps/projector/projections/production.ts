import {
  DeliverableRow,
  PipelineTemplateRow,
  production as model,
  ProjectMemberRow,
  ProjectRow,
  StageAssignmentRow,
  StageRow,
} from '#libs/read-models/index.js';
import type { Projection } from '../projection.js';

/** What grants sight of a project is counted from the rows that grant it, so it can't drift from them. */
const RECOUNT_ACCESS = `
  WITH touched AS (
    SELECT user_id, project_id, organisation_id,
           (SELECT count(*) FROM $schema.project_member AS m
             WHERE m.project_id = touched.project_id AND m.user_id = touched.user_id)
         + (SELECT count(*) FROM $schema.stage_assignment AS a
             WHERE a.project_id = touched.project_id AND a.user_id = touched.user_id) AS grants
      FROM json_to_recordset($1::json) AS touched(user_id uuid, project_id uuid, organisation_id uuid)
  ), ended AS (
    DELETE FROM $schema.project_access AS p USING touched AS t
     WHERE p.user_id = t.user_id AND p.project_id = t.project_id AND t.grants = 0
  )
  INSERT INTO $schema.project_access (user_id, project_id, organisation_id, grants)
  SELECT user_id, project_id, organisation_id, grants FROM touched WHERE grants > 0
      ON CONFLICT (user_id, project_id) DO UPDATE SET grants = excluded.grants`;

export const production: Projection = {
  model,
  begin: ({ bulk }) => {
    const touched = new Map<string, { user_id: string; project_id: string; organisation_id: string }>();
    const touchAccess = (data: { userId: string; projectId: string; organisationId: string }): void =>
      void touched.set(`${data.userId} ${data.projectId}`, {
        user_id: data.userId,
        project_id: data.projectId,
        organisation_id: data.organisationId,
      });
    return {
      on: {
        PipelineTemplateCreated: ({ data, metadata, revision, position }) =>
          bulk.insert(PipelineTemplateRow, {
            id: data.templateId,
            organisationId: data.organisationId,
            name: data.name,
            archived: false,
            stages: data.stages,
            position: String(position),
            createdAt: metadata.at,
            revision,
          }),
        PipelineTemplateArchived: ({ data, revision }) =>
          bulk.update(PipelineTemplateRow, { id: data.templateId }, { archived: true, revision }),

        ProjectCreated: ({ data, metadata, revision, position }) =>
          bulk.insert(ProjectRow, {
            id: data.projectId,
            organisationId: data.organisationId,
            name: data.name,
            code: data.code,
            templateId: data.templateId,
            archived: false,
            position: String(position),
            createdAt: metadata.at,
            revision,
          }),
        ProjectRenamed: ({ data, revision }) =>
          bulk.update(ProjectRow, { id: data.projectId }, { name: data.to, revision }),
        ProjectArchived: ({ data, revision }) =>
          bulk.update(ProjectRow, { id: data.projectId }, { archived: true, revision }),
        ProjectMemberAdded: ({ data, metadata, revision, position }) => {
          bulk.insert(ProjectMemberRow, {
            projectId: data.projectId,
            userId: data.userId,
            organisationId: data.organisationId,
            position: String(position),
            addedAt: metadata.at,
          });
          bulk.update(ProjectRow, { id: data.projectId }, { revision });
          touchAccess(data);
        },
        ProjectMemberRemoved: ({ data, revision }) => {
          bulk.delete(ProjectMemberRow, { projectId: data.projectId, userId: data.userId });
          bulk.update(ProjectRow, { id: data.projectId }, { revision });
          touchAccess(data);
        },

        DeliverableCreated: ({ data, metadata, revision, position }) => {
          const createdAt = metadata.at;
          bulk.insert(DeliverableRow, {
            id: data.deliverableId,
            projectId: data.projectId,
            organisationId: data.organisationId,
            templateId: data.templateId,
            name: data.name,
            position: String(position),
            createdAt,
            revision,
          });
          data.stages.forEach((stage, ordinal) =>
            bulk.insert(StageRow, {
              id: stage.stageId,
              deliverableId: data.deliverableId,
              projectId: data.projectId,
              organisationId: data.organisationId,
              key: stage.key,
              name: stage.name,
              ordinal,
              state: stage.state,
              stateChangedAt: createdAt,
              dependsOn: stage.dependsOn,
              labels: stage.labels,
              completesOn: stage.completesOn,
              approvalPolicy: stage.approvalPolicy,
              newestVersionId: null,
              newestVersionOutcome: null,
              position: String(position),
            }),
          );
        },
        StageAssigned: ({ data, metadata, revision, position }) => {
          bulk.insert(StageAssignmentRow, {
            stageId: data.stageId,
            userId: data.userId,
            deliverableId: data.deliverableId,
            projectId: data.projectId,
            organisationId: data.organisationId,
            position: String(position),
            assignedAt: metadata.at,
          });
          bulk.update(DeliverableRow, { id: data.deliverableId }, { revision });
          touchAccess(data);
        },
        StageUnassigned: ({ data, revision }) => {
          bulk.delete(StageAssignmentRow, { stageId: data.stageId, userId: data.userId });
          bulk.update(DeliverableRow, { id: data.deliverableId }, { revision });
          touchAccess(data);
        },
        StageStateChanged: ({ data, metadata, revision }) => {
          bulk.update(StageRow, { id: data.stageId }, { state: data.to, stateChangedAt: metadata.at });
          bulk.update(DeliverableRow, { id: data.deliverableId }, { revision });
        },
        StageVersionRecorded: ({ data, revision }) => {
          bulk.update(
            StageRow,
            { id: data.stageId },
            {
              newestVersionId: data.versionId,
              newestVersionOutcome: data.versionId === null ? null : data.outcome,
            },
          );
          bulk.update(DeliverableRow, { id: data.deliverableId }, { revision });
        },
      },
      end: () => {
        if (touched.size > 0) bulk.later(RECOUNT_ACCESS, [JSON.stringify([...touched.values()])]);
      },
    };
  },
};
