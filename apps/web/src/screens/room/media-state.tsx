import { useState } from 'react';
import { TranscodeProgressDocument } from '../../generated/graphql.js';
import { useLive } from '../../net/live.js';
import { FilmIcon, WarningIcon } from '../../ui/icons.jsx';
import { Button, ProgressBar } from '../../ui/parts.jsx';
import type { Version } from './state.js';

/** The review copies are being made: how far, live. */
export function Processing({ version, onOriginal }: { version: Version; onOriginal: (() => void) | null }) {
  const [progress, setProgress] = useState<{ fraction: number; fps: number | null } | null>(null);
  useLive(TranscodeProgressDocument, { versionId: version.id }, ({ transcodeProgress }) =>
    setProgress({ fraction: transcodeProgress.fraction, fps: transcodeProgress.fps }),
  );
  const percent = progress === null ? null : Math.round(progress.fraction * 100);
  return (
    <div className="media-state" aria-label="Transcoding">
      <FilmIcon size={28} />
      <h2>Making the review copies</h2>
      <p>
        {percent === null
          ? 'Waiting for its turn. You can already read and write comments.'
          : `${percent} %${progress?.fps ? ` · ${Math.round(progress.fps)} frames per second` : ''}`}
      </p>
      <ProgressBar fraction={progress?.fraction ?? null} label="Transcoding" />
      {onOriginal && (
        <Button tone="ghost" onClick={onOriginal}>
          Play the original meanwhile
        </Button>
      )}
    </div>
  );
}

/** The review copies could not be made: why, and what can be done. */
export function TranscodeFailed({
  version,
  mayRetry,
  onRetry,
  onOriginal,
}: {
  version: Version;
  mayRetry: boolean;
  onRetry: () => Promise<void>;
  onOriginal: (() => void) | null;
}) {
  const [busy, setBusy] = useState(false);
  return (
    <div className="media-state media-state-failed" role="alert">
      <WarningIcon size={28} />
      <h2>v{version.number} could not be transcoded</h2>
      <p>The upload itself is kept.{mayRetry ? ' Try again, or upload a repaired file as a new version.' : ''}</p>
      {version.media.failure && (
        <pre className="reason">
          <b>{version.media.failure.code}</b>
          {'\n'}
          {version.media.failure.reason}
        </pre>
      )}
      <div className="row">
        {mayRetry && (
          <Button
            tone="primary"
            busy={busy}
            onClick={() => {
              setBusy(true);
              void onRetry().finally(() => setBusy(false));
            }}
          >
            Transcode again
          </Button>
        )}
        {onOriginal && <Button onClick={onOriginal}>Play the original</Button>}
      </div>
    </div>
  );
}
