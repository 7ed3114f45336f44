import { ComparedRangeRow, comparison as model, ComparisonRow } from '#libs/read-models/index.js';
import type { Projection } from '../projection.js';

export const comparison: Projection = {
  model,
  begin: ({ bulk }) => ({
    on: {
      ComparisonRequested: ({ data, metadata, revision, position }) => {
        const asked = {
          status: 'PROCESSING' as const,
          requestedBy: metadata.actor.userId,
          requestedAt: metadata.at,
          endedAt: null,
          failureCode: null,
          failureReason: null,
        };
        // Asked for again after a failure.
        if (revision > 0) return bulk.update(ComparisonRow, { id: data.comparisonId }, asked);
        bulk.insert(ComparisonRow, {
          id: data.comparisonId,
          organisationId: data.organisationId,
          projectId: data.projectId,
          stackId: data.stackId,
          versionId: data.versionId,
          fromVersionId: data.from.versionId,
          fromReferenceId: data.from.referenceId,
          ...asked,
          framesFrom: null,
          framesTo: null,
          ssimMean: null,
          ssimMin: null,
          psnrMean: null,
          psnrMin: null,
          worst: [],
          truncated: false,
          reportHash: null,
          files: [],
          position: String(position),
        });
      },
      ComparisonCompleted: ({ data, metadata }) => {
        bulk.update(
          ComparisonRow,
          { id: data.comparisonId },
          {
            status: 'READY',
            endedAt: metadata.at,
            failureCode: null,
            failureReason: null,
            framesFrom: data.frames.from,
            framesTo: data.frames.to,
            ssimMean: data.quality?.ssim.mean ?? null,
            ssimMin: data.quality?.ssim.min ?? null,
            psnrMean: data.quality?.psnr?.mean ?? null,
            psnrMin: data.quality?.psnr?.min ?? null,
            worst: data.worst,
            truncated: data.truncated,
            reportHash: data.report.hash,
            files: data.files,
          },
        );
        // A comparison is completed once.
        data.ranges.forEach(({ kind, from, to, ssim, still }, seq) =>
          bulk.insert(ComparedRangeRow, {
            comparisonId: data.comparisonId,
            seq,
            kind,
            fromIn: from?.in ?? null,
            fromOut: from?.out ?? null,
            toIn: to?.in ?? null,
            toOut: to?.out ?? null,
            ssimMean: ssim?.mean ?? null,
            ssimMin: ssim?.min ?? null,
            still: still?.name ?? null,
            stillFrom: still?.from ?? null,
            stillTo: still?.to ?? null,
          }),
        );
      },
      ComparisonFailed: ({ data, metadata }) =>
        bulk.update(
          ComparisonRow,
          { id: data.comparisonId },
          { status: 'FAILED', endedAt: metadata.at, failureCode: data.code, failureReason: data.reason },
        ),
    },
  }),
};
