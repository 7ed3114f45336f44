import { useEffect, useState, useSyncExternalStore } from 'react';
import { type PersonFragment, ViewerDocument } from './generated/graphql.js';
import { type Api, ApiFailure, createApi } from './net/client.js';
import { SessionContext } from './net/context.jsx';
import { session } from './net/session.js';
import { Workspace } from './screens/board/workspace.jsx';
import { LoginScreen } from './screens/login/login.jsx';
import { Blank, Button, Loading } from './ui/parts.jsx';
import { Toasts } from './ui/toasts.jsx';
import { WarningIcon } from './ui/icons.jsx';

type Entry = { is: 'opening' } | { is: 'open'; api: Api; viewer: PersonFragment } | { is: 'failed'; message: string };

/** The door: the login without a session, the work behind it. */
export function App() {
  const token = useSyncExternalStore(session.subscribe, session.token);
  return <Toasts>{token === null ? <LoginScreen /> : <SignedIn key={token} token={token} />}</Toasts>;
}

function SignedIn({ token }: { token: string }) {
  const [entry, setEntry] = useState<Entry>({ is: 'opening' });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const api = createApi(token);
    let over = false;
    api.ask(ViewerDocument, {}).then(
      ({ viewer }) => {
        if (over) return;
        if (viewer) setEntry({ is: 'open', api, viewer });
        else session.end();
      },
      (error: unknown) => {
        if (!over) setEntry({ is: 'failed', message: error instanceof ApiFailure ? error.message : String(error) });
      },
    );
    return () => {
      over = true;
      api.close();
    };
  }, [token, attempt]);

  if (entry.is === 'opening') return <Loading label="Opening Picturelock" />;
  if (entry.is === 'failed') {
    return (
      <main className="whole-page">
        <Blank
          icon={<WarningIcon size={28} />}
          title="Picturelock can’t be reached"
          action={
            <div className="row">
              <Button
                tone="primary"
                onClick={() => {
                  setEntry({ is: 'opening' });
                  setAttempt(attempt + 1);
                }}
              >
                Try again
              </Button>
              <Button onClick={() => session.end()}>Sign out</Button>
            </div>
          }
        >
          {entry.message}
        </Blank>
      </main>
    );
  }
  return (
    <SessionContext value={{ api: entry.api, viewer: entry.viewer }}>
      <Workspace />
    </SessionContext>
  );
}
