import { useEffect, useRef, useState } from 'react';
import {
  ParkedEventsDocument,
  type ParkedPartsFragment,
  type ParkedReactionPartsFragment,
  ParkedReactionsDocument,
  RetryParkedEventDocument,
  RetryReactionDocument,
  SkipParkedEventDocument,
  SkipReactionDocument,
} from '../../generated/graphql.js';
import { useSession } from '../../net/context.jsx';
import { Button } from '../../ui/parts.jsx';
import { clock } from '../../ui/words.js';
import { useAct } from './acts.js';

interface PutAside {
  readonly key: string;
  readonly what: string;
  readonly where: string;
  readonly state: string;
  readonly notes: string;
  readonly error: string | null;
  retry(): Promise<boolean>;
  skip(reason: string): Promise<boolean>;
}

const tried = (attempts: number): string => (attempts > 0 ? ` · tried ${attempts} times` : '');

/** Asked anew when the number changes. */
function useWhenCounted<T>(count: number, ask: () => Promise<readonly T[]>): readonly T[] {
  const [found, setFound] = useState<readonly T[]>([]);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (count === 0) return setFound([]);
    let over = false;
    latest.current().then(
      (all) => {
        if (!over) setFound(all);
      },
      () => undefined, // the next look asks again
    );
    return () => {
      over = true;
    };
  }, [count]);
  return found;
}

/** Events that a projection has put aside, with what can be done about them. */
export function ParkedSection({ count }: { count: number }) {
  const { api } = useSession();
  const { act, busy } = useAct();
  const events = useWhenCounted<ParkedPartsFragment>(count, () =>
    api.ask(ParkedEventsDocument, {}).then(({ parkedEvents }) => parkedEvents.edges.map(({ node }) => node)),
  );
  if (count === 0) return null;
  return (
    <PutAsideList
      title="Parked events"
      about={`${count} ${count === 1 ? 'event' : 'events'} could not be projected, or wait for one that could not. Everything else goes on.`}
      question="Why is it left out, for good and of later rebuilds too?"
      busy={busy}
      items={events.map((event) => {
        const { projection, position } = event;
        return {
          key: `${projection} ${position}`,
          what: event.eventType,
          where: projection,
          state: event.state,
          notes: `${event.stream} · position ${position} · ${event.state.toLowerCase()}${tried(event.attempts)}`,
          error: event.error,
          retry: () => act(RetryParkedEventDocument, { projection, position }),
          skip: (reason) => act(SkipParkedEventDocument, { projection, position, reason }),
        };
      })}
    />
  );
}

/** Events that a reaction has put aside: a job or a command that should have followed from them has not. */
export function ParkedReactionsSection({ count }: { count: number }) {
  const { api } = useSession();
  const { act, busy } = useAct();
  const events = useWhenCounted<ParkedReactionPartsFragment>(count, () =>
    api
      .ask(ParkedReactionsDocument, {})
      .then(({ parkedReactions }) => parkedReactions.filter(({ state }) => state !== 'SKIPPED')),
  );
  if (count === 0) return null;
  return (
    <PutAsideList
      title="Parked reactions"
      about={`${count} ${count === 1 ? 'event was' : 'events were'} not reacted to. They are tried again by themselves, ever more seldom.`}
      question="Why is it left out for good?"
      busy={busy}
      items={events.map((event) => {
        const { reaction, position } = event;
        return {
          key: `${reaction} ${position}`,
          what: event.eventType,
          where: reaction,
          state: event.state,
          notes: `${event.stream} · position ${position} · ${event.state.toLowerCase()}${tried(event.attempts)}${
            event.retryAt === null ? '' : ` · again at ${clock(event.retryAt)}`
          }`,
          error: event.error,
          retry: () => act(RetryReactionDocument, { reaction, position }),
          skip: (reason) => act(SkipReactionDocument, { reaction, position, reason }),
        };
      })}
    />
  );
}

function PutAsideList({
  title,
  about,
  question,
  items,
  busy,
}: {
  title: string;
  about: string;
  question: string;
  items: readonly PutAside[];
  busy: boolean;
}) {
  const [skipping, setSkipping] = useState<string | null>(null);
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <p className="grid-late">{about}</p>
      <ul className="parked">
        {items.map((item) => (
          <li key={item.key}>
            <div className="parked-what">
              <strong>{item.what}</strong> in {item.where}
              <small>{item.notes}</small>
              {item.error !== null && <code>{item.error.split('\n')[0]}</code>}
            </div>
            {item.state !== 'WAITING' && (
              <div className="row">
                <Button busy={busy} onClick={() => void item.retry()}>
                  Retry
                </Button>
                <Button onClick={() => setSkipping(item.key === skipping ? null : item.key)}>Skip…</Button>
              </div>
            )}
            {item.key === skipping && (
              <SkipForm
                busy={busy}
                question={question}
                onSkip={async (reason) => {
                  if (await item.skip(reason)) setSkipping(null);
                }}
              />
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function SkipForm({
  busy,
  question,
  onSkip,
}: {
  busy: boolean;
  question: string;
  onSkip: (reason: string) => Promise<void>;
}) {
  const [reason, setReason] = useState('');
  return (
    <form
      className="row"
      aria-label="Skip the event"
      onSubmit={(event) => {
        event.preventDefault();
        void onSkip(reason.trim());
      }}
    >
      <label className="parked-reason">
        {question}
        <input
          className="input"
          value={reason}
          onChange={(event) => setReason(event.target.value)}
          required
          autoFocus
        />
      </label>
      <Button type="submit" tone="changes" busy={busy} disabled={reason.trim() === ''}>
        Skip this event
      </Button>
    </form>
  );
}
