import { useState } from 'react';
import type { Verdict } from '../../generated/graphql.js';
import { generalRefusal, type Refusal, refusalFor } from '../../net/refusals.js';
import { CheckIcon, CrossIcon, RetakeIcon } from '../../ui/icons.jsx';
import { Avatar, Button, Field } from '../../ui/parts.jsx';
import { OUTCOMES, ROLES, VERDICTS, when } from '../../ui/words.js';
import { type Decision, personOf, type Version } from './state.js';

const CHOICES = [
  {
    verdict: 'APPROVED',
    label: 'Approve',
    tone: 'approve',
    icon: CheckIcon,
    ask: 'Anything to add?',
    confirm: 'Approve this version',
  },
  {
    verdict: 'CHANGES_REQUESTED',
    label: 'Request changes',
    tone: 'changes',
    icon: RetakeIcon,
    ask: 'What should change?',
    confirm: 'Request changes',
  },
  {
    verdict: 'REJECTED',
    label: 'Reject',
    tone: 'reject',
    icon: CrossIcon,
    ask: 'Why is it rejected?',
    confirm: 'Reject this version',
  },
] as const satisfies readonly { verdict: Verdict; [key: string]: unknown }[];

/** The verdict on a version: the buttons, what stands, and what was said before. */
export function Decisions({
  version,
  decisions,
  viewerId,
  mayDecide,
  onDecide,
  onWithdraw,
}: {
  version: Version;
  decisions: readonly Decision[];
  viewerId: string;
  mayDecide: boolean;
  /** Answers with the refusals; none means that it stands. */
  onDecide: (verdict: Verdict, text: string) => Promise<readonly Refusal[]>;
  onWithdraw: (decision: Decision) => Promise<string | null>;
}) {
  const [choice, setChoice] = useState<Verdict | null>(null);
  const [text, setText] = useState('');
  const [busy, setBusy] = useState(false);
  const [errors, setErrors] = useState<readonly Refusal[]>([]);
  const [withdrawn, setWithdrawn] = useState<string | null>(null);
  const [history, setHistory] = useState(false);

  const standing = decisions.filter((decision) => decision.standing && !decision.withdrawn);
  const older = decisions.filter((decision) => !decision.standing || decision.withdrawn);
  const outcome = OUTCOMES[version.outcome];
  const picked = CHOICES.find(({ verdict }) => verdict === choice);

  const choose = (verdict: Verdict | null) => {
    setChoice(verdict);
    setErrors([]);
  };
  async function confirm() {
    if (!choice) return;
    setBusy(true);
    const refusals = await onDecide(choice, text.trim());
    setBusy(false);
    setErrors(refusals);
    if (refusals.length === 0) {
      setChoice(null);
      setText('');
    }
  }

  return (
    <section className="decisions" aria-label="Decisions">
      <header className="decisions-head">
        <h2>Decision</h2>
        <span className={`badge badge-${outcome.tint}`} data-outcome={version.outcome}>
          {outcome.word}
        </span>
      </header>
      {mayDecide && (
        <div className="decision-buttons" role="group" aria-label="Decide">
          {CHOICES.map(({ verdict, label, tone, icon: Icon }) => (
            <Button
              key={verdict}
              tone={tone}
              aria-pressed={choice === verdict}
              onClick={() => choose(choice === verdict ? null : verdict)}
            >
              <Icon size={14} /> {label}
            </Button>
          ))}
        </div>
      )}
      {mayDecide && picked && (
        <form
          className="decision-form"
          aria-label={picked.label}
          onSubmit={(event) => {
            event.preventDefault();
            void confirm();
          }}
        >
          <Field label={picked.ask} error={refusalFor(errors, 'text')?.message}>
            {(ids) => (
              <textarea
                {...ids}
                rows={2}
                autoFocus
                maxLength={10_000}
                value={text}
                placeholder={picked.verdict === 'APPROVED' ? 'Optional' : ''}
                onChange={(event) => setText(event.target.value)}
              />
            )}
          </Field>
          {generalRefusal(errors, ['text']) && (
            <p className="field-error" role="alert">
              {generalRefusal(errors, ['text'])}
            </p>
          )}
          <div className="row row-end">
            <Button tone="ghost" onClick={() => choose(null)}>
              Cancel
            </Button>
            <Button tone={picked.tone} type="submit" busy={busy}>
              {picked.confirm}
            </Button>
          </div>
        </form>
      )}
      {standing.length === 0 && !mayDecide && <p className="side-note">Nobody has decided on this version.</p>}
      <ul className="decision-list">
        {standing.map((decision) => (
          <DecisionItem key={decision.id} decision={decision}>
            {decision.reviewer?.id === viewerId && mayDecide && (
              <Button tone="ghost" onClick={() => void onWithdraw(decision).then(setWithdrawn)}>
                Withdraw
              </Button>
            )}
          </DecisionItem>
        ))}
      </ul>
      {withdrawn && (
        <p className="field-error" role="alert">
          {withdrawn}
        </p>
      )}
      {older.length > 0 && (
        <>
          <button type="button" className="more" aria-expanded={history} onClick={() => setHistory(!history)}>
            {history ? 'Hide' : 'Show'} {older.length} earlier
          </button>
          {history && (
            <ul className="decision-list decision-list-old">
              {older.map((decision) => (
                <DecisionItem key={decision.id} decision={decision} />
              ))}
            </ul>
          )}
        </>
      )}
    </section>
  );
}

function DecisionItem({ decision, children }: { decision: Decision; children?: React.ReactNode }) {
  const { word, tint } = VERDICTS[decision.verdict];
  return (
    <li className="decision" data-verdict={decision.verdict}>
      <Avatar person={personOf(decision.reviewer)} />
      <div className="decision-words">
        <p>
          <b>{personOf(decision.reviewer).name}</b> <span className={`text-${tint}`}>{word}</span>
          {decision.withdrawn && <span className="edited">withdrawn</span>}
        </p>
        {decision.text !== '' && <p className="decision-text">{decision.text}</p>}
        <p className="decision-meta">
          {decision.reviewerRole ? `${ROLES[decision.reviewerRole]} · ` : ''}
          <time dateTime={decision.createdAt}>{when(decision.createdAt, new Date())}</time>
        </p>
      </div>
      {children}
    </li>
  );
}
