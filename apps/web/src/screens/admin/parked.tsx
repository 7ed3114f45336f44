import { useEffect, useState } from 'react';
import {
  ParkedEventsDocument,
  type ParkedPartsFragment,
  RetryParkedEventDocument,
  SkipParkedEventDocument,
} from '../../generated/graphql.js';
import { useSession } from '../../net/context.jsx';
import { Button } from '../../ui/parts.jsx';
import { useAct } from './acts.js';

/** Events that a projection has put aside, with what can be done about them. Asked anew when their number changes. */
export function ParkedSection({ count }: { count: number }) {
  const { api } = useSession();
  const [events, setEvents] = useState<readonly ParkedPartsFragment[]>([]);
  const [skipping, setSkipping] = useState<ParkedPartsFragment | null>(null);
  const { act, busy } = useAct();
  useEffect(() => {
    if (count === 0) return setEvents([]);
    let over = false;
    api.ask(ParkedEventsDocument, {}).then(
      ({ parkedEvents }) => {
        if (!over) setEvents(parkedEvents.edges.map(({ node }) => node));
      },
      () => undefined, // the next look asks again
    );
    return () => {
      over = true;
    };
  }, [api, count]);

  if (count === 0) return null;
  return (
    <section aria-label="Parked events">
      <h2>Parked events</h2>
      <p className="grid-late">
        {count} {count === 1 ? 'event' : 'events'} could not be projected, or wait for one that could not. Everything
        else goes on.
      </p>
      <ul className="parked">
        {events.map((event) => (
          <li key={`${event.projection} ${event.position}`}>
            <div className="parked-what">
              <strong>{event.eventType}</strong> in {event.projection}
              <small>
                {event.stream} · position {event.position} · {event.state.toLowerCase()}
                {event.attempts > 0 && ` · tried ${event.attempts} times`}
              </small>
              {event.error !== null && <code>{event.error.split('\n')[0]}</code>}
            </div>
            {event.state !== 'WAITING' && (
              <div className="row">
                <Button
                  busy={busy}
                  onClick={() =>
                    void act(RetryParkedEventDocument, { projection: event.projection, position: event.position })
                  }
                >
                  Retry
                </Button>
                <Button onClick={() => setSkipping(event === skipping ? null : event)}>Skip…</Button>
              </div>
            )}
            {event === skipping && (
              <SkipForm
                busy={busy}
                onSkip={async (reason) => {
                  const { projection, position } = event;
                  if (await act(SkipParkedEventDocument, { projection, position, reason })) setSkipping(null);
                }}
              />
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function SkipForm({ busy, onSkip }: { busy: boolean; onSkip: (reason: string) => Promise<void> }) {
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
        Why is it left out, for good and of later rebuilds too?
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
