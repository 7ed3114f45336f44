import { type FormEvent, useState } from 'react';
import { LoginDocument } from '../../generated/graphql.js';
import { createApi, failureOf } from '../../net/client.js';
import { generalRefusal, type Refusal, refusalFor } from '../../net/refusals.js';
import { session } from '../../net/session.js';
import { LogoMark } from '../../ui/icons.jsx';
import { Button, Field, Notice } from '../../ui/parts.jsx';

export function LoginScreen() {
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [keep, setKeep] = useState(false);
  const [busy, setBusy] = useState(false);
  const [errors, setErrors] = useState<readonly Refusal[]>([]);
  const [failure, setFailure] = useState<string | null>(null);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setErrors([]);
    setFailure(null);
    const api = createApi(null);
    try {
      const result = await api.client
        .mutation(LoginDocument, { input: { email: email.trim(), password, device: 'Web' } })
        .toPromise();
      if (result.data?.login.token) {
        session.begin(result.data.login.token, keep);
        return;
      }
      if (result.error) setFailure(failureOf(result.error).message);
      else setErrors(result.data?.login.errors ?? []);
    } finally {
      api.close();
      setBusy(false);
    }
  }

  const general = failure ?? generalRefusal(errors, ['email', 'password']);
  return (
    <main className="login">
      <form className="login-card" onSubmit={(event) => void submit(event)} noValidate>
        <div className="login-brand">
          <LogoMark size={28} />
          <span>Picturelock</span>
        </div>
        <h1>Sign in</h1>
        {general && <Notice tone="error">{general}</Notice>}
        <Field label="E-mail" error={refusalFor(errors, 'email')?.message}>
          {(ids) => (
            <input
              {...ids}
              type="email"
              name="email"
              autoComplete="username"
              autoFocus
              required
              value={email}
              onChange={(event) => setEmail(event.target.value)}
            />
          )}
        </Field>
        <Field label="Password" error={refusalFor(errors, 'password')?.message}>
          {(ids) => (
            <input
              {...ids}
              type="password"
              name="password"
              autoComplete="current-password"
              required
              value={password}
              onChange={(event) => setPassword(event.target.value)}
            />
          )}
        </Field>
        <label className="check">
          <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} />
          Keep me signed in on this computer
        </label>
        <Button tone="primary" type="submit" busy={busy} className="button-wide">
          Sign in
        </Button>
      </form>
    </main>
  );
}
