import { useCallback, useEffect, useState } from 'react';
import {
  CompareVersionsDocument,
  ComparisonDocument,
  ComparisonProgressDocument,
  type ComparisonQuery,
} from '../../generated/graphql.js';
import { ApiFailure } from '../../net/client.js';
import { useSession } from '../../net/context.jsx';
import { useLive } from '../../net/live.js';
import { Button, ProgressBar } from '../../ui/parts.jsx';
import { differencesOf, type Difference } from './differences.js';
import type { Version } from './state.js';

type Shown = NonNullable<ComparisonQuery['comparison']>;

const WORDS: Readonly<Record<Difference['kind'], string>> = {
  CHANGED: 'Changed',
  MOVED: 'Moved',
  RETIMED: 'Other speed',
  REPLACED: 'Replaced',
  INSERTED: 'New',
  REMOVED: 'Removed',
};

/** How the version differs from an earlier one: a list of ranges that lead to their frames. */
export function Compare({
  version,
  earlier,
  ended,
  onSeek,
  onTogether,
}: {
  version: Version;
  /** Those it can be compared with, newest first; at least one. */
  earlier: readonly Version[];
  /** State of each comparison that was told of while the room is open. */
  ended: ReadonlyMap<string, string>;
  onSeek: (frame: number) => void;
  /** Shows the other one's picture too. */
  onTogether: (versionId: string) => void;
}) {
  const { api } = useSession();
  const [against, setAgainst] = useState(earlier[0]!.id);
  const [id, setId] = useState<string | null>(null);
  const [shown, setShown] = useState<Shown | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  const failed = useCallback(
    (cause: unknown) => setError(cause instanceof ApiFailure ? cause.message : String(cause)),
    [],
  );
  const told = id === null ? undefined : ended.get(id);
  useEffect(() => {
    if (id === null) return;
    let stale = false;
    api.ask(ComparisonDocument, { id }).then(({ comparison }) => !stale && setShown(comparison), failed);
    return () => {
      stale = true;
    };
    // Asked again when a message says that it ended.
  }, [api, id, told, failed]);

  async function ask() {
    setBusy(true);
    setError(null);
    try {
      const { compareVersions } = await api.send(CompareVersionsDocument, {
        versionId: version.id,
        withVersionId: against,
      });
      if (compareVersions.errors.length > 0) setError(compareVersions.errors.map(({ message }) => message).join(' '));
      else {
        setShown(null);
        setId(compareVersions.comparison?.id ?? null);
      }
    } catch (cause) {
      failed(cause);
    } finally {
      setBusy(false);
    }
  }

  const number = earlier.find((one) => one.id === against)?.number;
  const differences = shown?.status === 'READY' ? differencesOf(shown.ranges.edges.map(({ node }) => node)) : null;
  const alike = shown?.ssim?.mean;
  return (
    <section className="compare" aria-label="Comparison" data-comparison={shown?.status}>
      <div className="compare-head">
        <label>
          Compare with{' '}
          <select
            value={against}
            onChange={({ target }) => {
              setAgainst(target.value);
              setId(null);
              setShown(null);
              setError(null);
            }}
          >
            {earlier.map((one) => (
              <option key={one.id} value={one.id}>
                Version {one.number}
              </option>
            ))}
          </select>
        </label>
        {earlier.find((one) => one.id === against)?.media.status === 'READY' && (
          <Button tone="ghost" onClick={() => onTogether(against)}>
            Show both
          </Button>
        )}
        {(id === null || shown?.status === 'FAILED') && (
          <Button busy={busy} onClick={() => void ask()}>
            {id === null ? 'Compare' : 'Try again'}
          </Button>
        )}
      </div>
      {error !== null && <p role="alert">{error}</p>}
      {id !== null && shown?.status !== 'READY' && shown?.status !== 'FAILED' && <Comparing id={id} />}
      {shown?.failure && <p role="alert">{shown.failure.reason}</p>}
      {differences?.length === 0 && (
        <p>
          {alike === 1
            ? `Nothing differs from v${number}.`
            : `No frames stand out: all are much like those of v${number}.`}
        </p>
      )}
      {differences !== null && differences.length > 0 && (
        <ol className="compare-list">
          {differences.map((one) => (
            <li key={`${one.kind} ${one.at} ${one.timecode}`}>
              <button type="button" data-kind={one.kind} data-at={one.at} onClick={() => onSeek(one.at)}>
                {one.still !== null && <img src={one.still} alt="" loading="lazy" />}
                <span>
                  <b>{WORDS[one.kind]}</b> {one.timecode}
                  <small>
                    {one.frames} {one.frames === 1 ? 'frame' : 'frames'}
                    {one.kind === 'REMOVED' && ` of v${number}`}
                  </small>
                </span>
              </button>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Comparing({ id }: { id: string }) {
  const [fraction, setFraction] = useState<number | null>(null);
  useLive(ComparisonProgressDocument, { comparisonId: id }, ({ comparisonProgress }) =>
    setFraction(comparisonProgress.fraction),
  );
  return <ProgressBar fraction={fraction} label="Comparing" />;
}
