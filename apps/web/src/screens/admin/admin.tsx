import { useCallback, useEffect, useState } from 'react';
import {
  CancelRebuildDocument,
  type LagPartsFragment,
  LogStatisticsDocument,
  type LogStatisticsQuery,
  OperationsLookedDocument,
  OperationsNowDocument,
  type OperationsPartsFragment,
  RebuildProjectionsDocument,
  type RebuildPartsFragment,
} from '../../generated/graphql.js';
import { ApiFailure } from '../../net/client.js';
import { useSession } from '../../net/context.jsx';
import { useLive } from '../../net/live.js';
import { WarningIcon } from '../../ui/icons.jsx';
import { Blank, Button, Loading, ProgressBar } from '../../ui/parts.jsx';
import { bytes, when } from '../../ui/words.js';
import { useAct } from './acts.js';
import { ParkedReactionsSection, ParkedSection } from './parked.jsx';
import { Plot } from './plot.jsx';
import { appended, behind, type Sample } from './samples.js';
import { UpkeepSections } from './upkeep.jsx';

const RATE = 'Events per second';
const REBUILT = { DONE: 'rebuilt', CANCELLED: 'cancelled', FAILED: 'failed' } as const;

/** The operator's page: how far everything that follows the log is, live. */
export function AdminScreen() {
  const { api } = useSession();
  const [now, setNow] = useState<OperationsPartsFragment | null>(null);
  const [lines, setLines] = useState<ReadonlyMap<string, readonly Sample[]>>(new Map());
  const [failure, setFailure] = useState<ApiFailure | null>(null);

  const take = useCallback((seen: OperationsPartsFragment) => {
    const at = Date.parse(seen.at);
    setNow(seen);
    setLines((before) => {
      const next = new Map(before);
      const add = (name: string, value: number | null) =>
        next.set(name, appended(before.get(name) ?? [], { at, value }));
      add(RATE, seen.eventsPerSecond);
      for (const { name, lag } of seen.projections) add(name, lag.seconds);
      return next;
    });
  }, []);
  const load = useCallback(() => {
    api.ask(OperationsNowDocument, {}).then(
      ({ operations }) => {
        take(operations);
        setFailure(null);
      },
      (error: unknown) =>
        setFailure(error instanceof ApiFailure ? error : new ApiFailure('INTERNAL_ERROR', 'Something went wrong.')),
    );
  }, [api, take]);
  useEffect(load, [load]);
  useLive(OperationsLookedDocument, now === null ? null : {}, ({ operationsLooked }) => take(operationsLooked), load);

  if (failure !== null && now === null) {
    const forbidden = failure.code === 'FORBIDDEN';
    return (
      <Blank
        icon={<WarningIcon size={28} />}
        title={forbidden ? 'This page is the operator’s' : 'The installation didn’t answer'}
        action={forbidden ? undefined : <Button onClick={load}>Try again</Button>}
      >
        {forbidden ? 'Ask an administrator of the organisation that runs this installation.' : failure.message}
      </Blank>
    );
  }
  if (now === null) return <Loading label="Looking at the installation" />;
  const moment = Date.parse(now.at);
  return (
    <div className="admin">
      <header className="admin-head">
        <h1>Installation</h1>
        <dl className="admin-facts">
          <Fact name="Log position" value={now.head} />
          <Fact name="Subscribers" value={String(now.subscribers.followers)} />
          <Fact name="Catching up" value={String(now.subscribers.catchingUp)} />
        </dl>
      </header>

      {now.parkedAccess > 0 && (
        <p className="admin-alarm" role="alert">
          <WarningIcon />
          {now.parkedAccess} parked {now.parkedAccess === 1 ? 'event guards' : 'events guard'} access: somebody may see
          what they no longer should.
        </p>
      )}

      <div className="admin-plots">
        <Plot
          title={RATE}
          now={moment}
          series={[{ name: 'projected', samples: lines.get(RATE) ?? [] }]}
          format={(value) => (value < 10 ? value.toFixed(1) : String(Math.round(value)))}
        />
        <Plot
          title="Seconds behind the log"
          now={moment}
          series={now.projections.map(({ name }) => ({ name, samples: lines.get(name) ?? [] }))}
          format={behind}
        />
      </div>

      <section aria-label="Projections">
        <h2>Projections</h2>
        <table className="grid">
          <thead>
            <tr>
              <th>Name</th>
              <th className="number">Version</th>
              <th className="number">Position</th>
              <th>Last moved</th>
              <LagHeads />
              <th>Rebuild</th>
            </tr>
          </thead>
          <tbody>
            {now.projections.map(({ name, version, position, movedAt, lag }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td className="number">{version}</td>
                <td className="number">{position ?? '–'}</td>
                <td>{movedAt === null ? 'never' : when(movedAt, new Date(moment))}</td>
                <LagCells lag={lag} />
                <td>
                  <RebuildCell
                    projection={name}
                    rebuild={now.rebuilds.find(({ projection }) => projection === name) ?? null}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>

      <ParkedSection count={now.parked} />

      <section aria-label="Reactions">
        <h2>Reactions</h2>
        <table className="grid">
          <thead>
            <tr>
              <th>Name</th>
              <th className="number">Position</th>
              <th>Last moved</th>
              <LagHeads />
              <th className="number">Parked</th>
            </tr>
          </thead>
          <tbody>
            {now.reactions.map(({ name, position, movedAt, lag, parked }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td className="number">{position}</td>
                <td>{when(movedAt, new Date(moment))}</td>
                <LagCells lag={lag} />
                <td className={`number ${parked > 0 ? 'grid-bad' : ''}`}>{parked}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>

      <ParkedReactionsSection count={now.reactions.reduce((sum, { parked }) => sum + parked, 0)} />

      <section aria-label="Queues">
        <h2>Queues</h2>
        <table className="grid">
          <thead>
            <tr>
              <th>Name</th>
              <th className="number">Waiting</th>
              <th className="number">Delayed</th>
              <th className="number">Active</th>
              <th className="number">Done</th>
              <th className="number">Failed</th>
            </tr>
          </thead>
          <tbody>
            {now.queues.map((queue) => (
              <tr key={queue.name}>
                <th scope="row">{queue.name}</th>
                <td className="number">{queue.waiting}</td>
                <td className="number">{queue.delayed}</td>
                <td className="number">{queue.active}</td>
                <td className="number">{queue.completed}</td>
                <td className={`number ${queue.failed > 0 ? 'grid-bad' : ''}`}>{queue.failed}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <ul className="failures">
          {now.queues.flatMap(({ name, newestFailures }) =>
            newestFailures.map(({ id, reason, attempts, failedAt }) => (
              <li key={`${name} ${id}`}>
                <WarningIcon />
                <div>
                  <p>{reason}</p>
                  <small>
                    {name} · {id} · {attempts} {attempts === 1 ? 'attempt' : 'attempts'} ·{' '}
                    {when(failedAt, new Date(moment))}
                  </small>
                </div>
              </li>
            )),
          )}
        </ul>
      </section>

      <UpkeepSections />

      <LogSection />
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** A button, or how far it is. What is read stays as it is until the new rows take its place. */
function RebuildCell({ projection, rebuild }: { projection: string; rebuild: RebuildPartsFragment | null }) {
  const { act, busy } = useAct();
  if (rebuild?.state === 'REQUESTED' || rebuild?.state === 'RUNNING') {
    const { head, position, eventsPerSecond, secondsLeft } = rebuild;
    const known = head !== null && position !== null && Number(head) > 0;
    return (
      <div className="rebuild">
        <ProgressBar
          fraction={known ? Math.min(1, Number(position) / Number(head)) : null}
          label={`Rebuild of ${projection}`}
        />
        <small>
          {eventsPerSecond === null ? 'waiting' : `${Math.round(eventsPerSecond)} events/s`}
          {secondsLeft !== null && `, ${behind(secondsLeft)} left`}
        </small>
        <Button tone="ghost" busy={busy} onClick={() => void act(CancelRebuildDocument, { projection })}>
          Cancel
        </Button>
      </div>
    );
  }
  return (
    <div className="rebuild">
      <Button busy={busy} onClick={() => void act(RebuildProjectionsDocument, { projections: [projection] })}>
        Rebuild
      </Button>
      {rebuild !== null && (
        <small className={rebuild.state === 'FAILED' ? 'grid-bad' : ''} title={rebuild.error ?? undefined}>
          {REBUILT[rebuild.state]}
        </small>
      )}
    </div>
  );
}

function LagHeads() {
  return (
    <>
      <th className="number">Lag</th>
      <th className="number">Behind</th>
    </>
  );
}

function LagCells({ lag: { events, more, seconds } }: { lag: LagPartsFragment }) {
  const tint = events === 0 ? '' : seconds > 60 ? 'grid-bad' : seconds > 5 ? 'grid-late' : '';
  return (
    <>
      <td className={`number ${tint}`}>
        {events}
        {more ? '+' : ''}
      </td>
      <td className={`number ${tint}`}>{behind(seconds)}</td>
    </>
  );
}

/** Counting everything takes a while on a long log, so it is asked for. */
function LogSection() {
  const { api } = useSession();
  const [counted, setCounted] = useState<LogStatisticsQuery['logStatistics'] | null>(null);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<string | null>(null);
  const count = () => {
    setBusy(true);
    api
      .ask(LogStatisticsDocument, {})
      .then(
        ({ logStatistics }) => {
          setCounted(logStatistics);
          setFailure(null);
        },
        (error: unknown) => setFailure(error instanceof ApiFailure ? error.message : 'Something went wrong.'),
      )
      .finally(() => setBusy(false));
  };
  return (
    <section aria-label="Log">
      <h2>Log</h2>
      <div className="row">
        <Button busy={busy} onClick={count}>
          {counted === null ? 'Count events' : 'Count again'}
        </Button>
        {failure !== null && <p role="alert">{failure}</p>}
        {counted !== null && (
          <p>
            {counted.events} domain events up to position {counted.position}; the read models take{' '}
            {bytes(counted.readModelBytes)}.
          </p>
        )}
      </div>
      {counted !== null && (
        <table className="grid">
          <thead>
            <tr>
              <th>Event</th>
              <th className="number">Count</th>
              <th>Last</th>
            </tr>
          </thead>
          <tbody>
            {counted.types.map(({ type, events, lastAt }) => (
              <tr key={type}>
                <th scope="row">{type}</th>
                <td className="number">{events}</td>
                <td>{when(lastAt, new Date())}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
