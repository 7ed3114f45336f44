import {
  AnnotationRow,
  CommentRow,
  DecisionRow,
  ReferenceMediaRow,
  ReferenceRow,
  review as model,
  type Row,
  type TranscodedMedia,
  VersionMediaRow,
  VersionRow,
  VersionStackRow,
} from '#libs/read-models/index.js';
import type { EventOf, Projection } from '../projection.js';

/** A comment is taken down with its drawings, however long ago they were made. */
const REMOVE_ANNOTATIONS = `
  WITH removed AS (
    UPDATE $schema.annotation SET removed = true WHERE comment_id = ANY($1::uuid[]) AND NOT removed RETURNING version_id
  ), counted AS (SELECT version_id, count(*) AS n FROM removed GROUP BY version_id)
  UPDATE $schema.version AS v SET annotation_count = v.annotation_count - counted.n FROM counted WHERE v.id = counted.version_id`;

/** Columns of what was uploaded; its opening and its joining the stack carry the same. */
const uploaded = (data: EventOf<'VersionOpened' | 'ReferenceAttached'>['data']) => ({
  filename: data.filename,
  note: data.note,
  blobHash: data.blob.hash,
  blobSize: String(data.blob.size),
  mediaKind: data.media.kind,
  container: data.media.container,
  mime: data.media.mime,
  durationFrames: data.media.durationFrames,
  durationSeconds: data.media.durationSeconds,
  rateNum: data.media.rate?.num ?? null,
  rateDen: data.media.rate?.den ?? null,
  startTimecode: data.media.startTimecode,
  dropFrame: data.media.dropFrame,
  width: data.media.width,
  height: data.media.height,
  videoCodec: data.media.videoCodec,
  audioTracks: data.media.audioTracks,
});

/** Columns of review copies that are yet to be made. */
const processing = (updatedAt: string) => ({
  status: 'PROCESSING' as const,
  manifestHash: null,
  manifestSize: null,
  frames: null,
  files: [],
  failureCode: null,
  failureReason: null,
  updatedAt,
});

export const review: Projection = {
  model,
  begin: ({ bulk, flush }) => {
    /** Comments deleted in this batch whose drawings are still to be removed. */
    let deleted: string[] = [];
    const removeTheirAnnotations = (): void => {
      if (deleted.length > 0) bulk.later(REMOVE_ANNOTATIONS, [deleted]);
      deleted = [];
    };
    /** A drawing that changes after its comment was deleted needs the removal done first, to keep the order of events. */
    const settled = (commentId: string): Promise<void> | undefined => {
      if (!deleted.includes(commentId)) return undefined;
      removeTheirAnnotations();
      return flush();
    };
    const annotation = (commentId: string, apply: () => void): void | Promise<void> => {
      const waiting = deleted.length > 0 ? settled(commentId) : undefined;
      return waiting ? waiting.then(apply) : apply();
    };

    /** The copies of a version, or of a reference beside it. */
    const copies = (
      { versionId, referenceId }: { versionId: string; referenceId?: string },
      columns: Partial<Row<TranscodedMedia>>,
    ): void =>
      referenceId === undefined
        ? bulk.update<VersionMediaRow>(VersionMediaRow, { versionId }, columns)
        : bulk.update<ReferenceMediaRow>(ReferenceMediaRow, { referenceId }, columns);

    return {
      on: {
        DeliverableCreated: ({ data }) => {
          for (const stage of data.stages)
            bulk.insert(VersionStackRow, {
              id: stage.stageId,
              deliverableId: data.deliverableId,
              projectId: data.projectId,
              organisationId: data.organisationId,
              currentVersionId: null,
              revision: null,
            });
        },
        VersionUploaded: ({ data, metadata, revision, position }) => {
          bulk.update(VersionStackRow, { id: data.stackId }, { currentVersionId: data.versionId, revision });
          if (data.supersedes !== null)
            bulk.update(VersionRow, { id: data.supersedes }, { status: 'LOCKED', closedBy: data.versionId });
          bulk.update(
            VersionRow,
            { id: data.versionId },
            {
              number: data.number,
              status: 'CURRENT',
              uploadedBy: metadata.actor.userId,
              uploadedAt: metadata.at,
              position: String(position),
            },
          );
        },
        VersionWithdrawn: ({ data, revision }) => {
          bulk.update(VersionStackRow, { id: data.stackId }, { currentVersionId: data.current, revision });
          bulk.update(VersionRow, { id: data.versionId }, { status: 'WITHDRAWN', withdrawnReason: data.reason });
          if (data.current !== null)
            bulk.update(VersionRow, { id: data.current }, { status: 'CURRENT', closedBy: null });
        },

        VersionOpened: ({ data, metadata, revision, position }) => {
          bulk.insert(VersionRow, {
            id: data.versionId,
            stackId: data.stackId,
            deliverableId: data.deliverableId,
            projectId: data.projectId,
            organisationId: data.organisationId,
            number: null,
            status: 'CURRENT',
            ...uploaded(data),
            revertsTo: data.revertsTo,
            uploadedBy: metadata.actor.userId,
            uploadedAt: metadata.at,
            outcome: 'PENDING',
            closedBy: null,
            withdrawnReason: null,
            commentCount: 0,
            annotationCount: 0,
            revision,
            position: String(position),
          });
          bulk.insert(VersionMediaRow, { versionId: data.versionId, ...processing(metadata.at) });
        },
        VersionClosed: ({ data, revision }) =>
          bulk.update(
            VersionRow,
            { id: data.versionId },
            data.reason === 'WITHDRAWN'
              ? { status: 'WITHDRAWN', withdrawnReason: data.text, revision }
              : { status: 'LOCKED', closedBy: data.by, revision },
          ),
        VersionReopened: ({ data, revision }) =>
          bulk.update(VersionRow, { id: data.versionId }, { status: 'CURRENT', closedBy: null, revision }),

        CommentAdded: ({ data, metadata, revision }) => {
          bulk.insert(CommentRow, {
            id: data.commentId,
            versionId: data.versionId,
            stackId: data.stackId,
            projectId: data.projectId,
            organisationId: data.organisationId,
            parentId: data.parentId,
            authorId: metadata.actor.userId,
            text: data.text,
            rangeIn: data.range?.in ?? null,
            rangeOut: data.range?.out ?? null,
            mentions: data.mentions,
            createdAt: metadata.at,
            editedAt: null,
            resolved: false,
            deleted: false,
            seq: revision,
          });
          bulk.update(VersionRow, { id: data.versionId }, { revision }, { commentCount: 1 });
        },
        CommentEdited: ({ data, metadata, revision }) => {
          bulk.update(
            CommentRow,
            { id: data.commentId },
            { text: data.to, mentions: data.mentions, editedAt: metadata.at },
          );
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },
        CommentDeleted: ({ data, revision }) => {
          bulk.update(CommentRow, { id: data.commentId }, { deleted: true, text: '', mentions: [] });
          bulk.update(VersionRow, { id: data.versionId }, { revision }, { commentCount: -1 });
          deleted.push(data.commentId);
        },
        CommentResolved: ({ data, revision }) => {
          bulk.update(CommentRow, { id: data.commentId }, { resolved: true });
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },
        CommentReopened: ({ data, revision }) => {
          bulk.update(CommentRow, { id: data.commentId }, { resolved: false });
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },

        AnnotationAdded: ({ data, metadata, revision }) =>
          annotation(data.commentId, () => {
            bulk.insert(AnnotationRow, {
              id: data.annotationId,
              commentId: data.commentId,
              versionId: data.versionId,
              stackId: data.stackId,
              projectId: data.projectId,
              organisationId: data.organisationId,
              authorId: metadata.actor.userId,
              rangeIn: data.range?.in ?? null,
              rangeOut: data.range?.out ?? null,
              shape: data.shape,
              colour: data.style.colour,
              strokeWidth: data.style.strokeWidth,
              removed: false,
              createdAt: metadata.at,
              seq: revision,
            });
            bulk.update(VersionRow, { id: data.versionId }, { revision }, { annotationCount: 1 });
          }),
        AnnotationRemoved: ({ data, revision }) =>
          annotation(data.commentId, () => {
            bulk.update(AnnotationRow, { id: data.annotationId }, { removed: true });
            bulk.update(VersionRow, { id: data.versionId }, { revision }, { annotationCount: -1 });
          }),
        AnnotationRestored: ({ data, revision }) =>
          annotation(data.commentId, () => {
            bulk.update(AnnotationRow, { id: data.annotationId }, { removed: false });
            bulk.update(VersionRow, { id: data.versionId }, { revision }, { annotationCount: 1 });
          }),

        DecisionRecorded: ({ data, metadata, revision }) => {
          if (data.supersedes !== null) bulk.update(DecisionRow, { id: data.supersedes }, { standing: false });
          bulk.insert(DecisionRow, {
            id: data.decisionId,
            versionId: data.versionId,
            stackId: data.stackId,
            projectId: data.projectId,
            organisationId: data.organisationId,
            reviewerId: data.reviewerId,
            reviewerRole: data.reviewerRole,
            verdict: data.verdict,
            text: data.text,
            standing: true,
            withdrawn: false,
            withdrawnReason: null,
            supersedes: data.supersedes,
            createdAt: metadata.at,
            seq: revision,
          });
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },
        DecisionWithdrawn: ({ data, revision }) => {
          bulk.update(
            DecisionRow,
            { id: data.decisionId },
            { standing: false, withdrawn: true, withdrawnReason: data.reason },
          );
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },
        VersionOutcomeChanged: ({ data, revision }) =>
          bulk.update(VersionRow, { id: data.versionId }, { outcome: data.to, revision }),

        ReferenceAttached: ({ data, metadata, revision }) => {
          bulk.insert(ReferenceRow, {
            id: data.referenceId,
            versionId: data.versionId,
            stackId: data.stackId,
            projectId: data.projectId,
            organisationId: data.organisationId,
            ...uploaded(data),
            attachedBy: metadata.actor.userId,
            attachedAt: metadata.at,
            detached: false,
            seq: revision,
          });
          bulk.insert(ReferenceMediaRow, { referenceId: data.referenceId, ...processing(metadata.at) });
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },
        ReferenceDetached: ({ data, revision }) => {
          bulk.update(ReferenceRow, { id: data.referenceId }, { detached: true });
          bulk.update(VersionRow, { id: data.versionId }, { revision });
        },

        TranscodeCompleted: ({ data, metadata }) =>
          copies(data, {
            status: 'READY',
            manifestHash: data.manifest.hash,
            manifestSize: String(data.manifest.size),
            frames: data.frames,
            files: data.files,
            failureCode: null,
            failureReason: null,
            updatedAt: metadata.at,
          }),
        TranscodeFailed: ({ data, metadata }) =>
          copies(data, {
            status: 'FAILED',
            failureCode: data.code,
            failureReason: data.reason,
            updatedAt: metadata.at,
          }),
        TranscodeRetried: ({ data, metadata }) =>
          copies(data, { status: 'PROCESSING', failureCode: null, failureReason: null, updatedAt: metadata.at }),
      },
      end: removeTheirAnnotations,
    };
  },
};
