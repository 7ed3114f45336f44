import { useEffect, useState } from 'react';
import {
  DropAsOfDocument,
  DropStreamSnapshotsDocument,
  UpkeepDocument,
  type UpkeepQuery,
} from '../../generated/graphql.js';
import { useSession } from '../../net/context.jsx';
import { Button } from '../../ui/parts.jsx';
import { bytes, clock, when } from '../../ui/words.js';
import { useAct } from './acts.js';

const EVERY_MS = 3000;

/** Who follows, and what is kept beside the read models: looked at every few seconds while the page is open. */
export function UpkeepSections() {
  const { api } = useSession();
  const { act, busy } = useAct();
  const [seen, setSeen] = useState<UpkeepQuery | null>(null);
  useEffect(() => {
    let over = false;
    const look = () => {
      api.ask(UpkeepDocument, {}).then(
        (found) => {
          if (!over) setSeen(found);
        },
        () => undefined, // the next look asks again
      );
    };
    look();
    const timer = setInterval(look, EVERY_MS);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [api]);
  if (seen === null) return null;
  const { subscribers, streamSnapshots, asOfMoments } = seen;
  const now = new Date();
  return (
    <>
      <section aria-label="Subscriptions">
        <h2>Subscriptions</h2>
        {subscribers.length === 0 ? (
          <p>Nobody follows changes.</p>
        ) : (
          <table className="grid">
            <thead>
              <tr>
                <th>Person</th>
                <th>Follows</th>
                <th>Since</th>
                <th className="number">Position</th>
                <th className="number">Waiting</th>
                <th>State</th>
                <th>Socket</th>
              </tr>
            </thead>
            <tbody>
              {subscribers.map((one, n) => (
                <tr key={`${one.socket} ${one.topicId} ${n}`}>
                  <th scope="row">{one.name ?? one.userId}</th>
                  <td>
                    {one.topic} {one.topicId}
                  </td>
                  <td>{when(one.since, now)}</td>
                  <td className="number">{one.position}</td>
                  <td className={`number ${one.waiting > 100 ? 'grid-late' : ''}`}>{one.waiting}</td>
                  <td>{one.catchingUp ? 'catches up' : 'live'}</td>
                  <td title={one.process}>{one.socket.slice(0, 8)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>

      <section aria-label="Snapshots">
        <h2>Snapshots</h2>
        <div className="row">
          <p>
            {streamSnapshots.snapshots} long {streamSnapshots.snapshots === 1 ? 'stream' : 'streams'},{' '}
            {bytes(streamSnapshots.bytes)}.
          </p>
          {streamSnapshots.snapshots > 0 && (
            <Button busy={busy} onClick={() => void act(DropStreamSnapshotsDocument, { stream: null })}>
              Drop all
            </Button>
          )}
        </div>
        {streamSnapshots.largest.length > 0 && (
          <table className="grid">
            <thead>
              <tr>
                <th>Stream</th>
                <th className="number">Revision</th>
                <th className="number">Size</th>
                <th>Taken</th>
              </tr>
            </thead>
            <tbody>
              {streamSnapshots.largest.map((one) => (
                <tr key={one.stream}>
                  <th scope="row">{one.stream}</th>
                  <td className="number">{one.revision}</td>
                  <td className="number">{bytes(String(one.bytes))}</td>
                  <td>{when(one.takenAt, now)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>

      <section aria-label="Moments">
        <h2>Moments</h2>
        {asOfMoments.length === 0 ? (
          <p>No read models of an earlier moment are built.</p>
        ) : (
          <table className="grid">
            <thead>
              <tr>
                <th className="number">Position</th>
                <th>Organisation</th>
                <th>State</th>
                <th className="number">Size</th>
                <th>Until</th>
                <th>
                  <span className="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {asOfMoments.map((one) => (
                <tr key={one.id}>
                  <th scope="row" className="number">
                    {one.position}
                  </th>
                  <td>{one.organisationId}</td>
                  <td className={one.state === 'FAILED' ? 'grid-bad' : ''} title={one.failure ?? undefined}>
                    {one.state.toLowerCase()}
                  </td>
                  <td className="number">{bytes(one.bytes)}</td>
                  <td>{clock(one.expiresAt)}</td>
                  <td>
                    <Button busy={busy} onClick={() => void act(DropAsOfDocument, { id: one.id })}>
                      Drop
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>
    </>
  );
}
