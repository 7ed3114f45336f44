import { type KeyboardEvent, memo, useEffect, useRef, useState } from 'react';
import { personColour } from '../../media/colours.js';
import { type Labelling, timecodeAt } from '../../media/timecode.js';
import { CheckIcon, CommentIcon, LockIcon, PencilIcon, ReplyIcon, RetakeIcon, TrashIcon } from '../../ui/icons.jsx';
import { Avatar, Blank, Button, IconButton } from '../../ui/parts.jsx';
import { when } from '../../ui/words.js';
import { type Comment, personOf } from './state.js';
import {
  filterThreads,
  orderThreads,
  placeOf,
  type Thread,
  type ThreadFilter,
  type ThreadOrder,
  visibleDrawings,
} from './threads.js';

/** What the list may ask for. Each answers with an error to show in place, or null. */
export interface CommentCommands {
  answer(parent: Comment, text: string): Promise<string | null>;
  edit(comment: Comment, text: string): Promise<string | null>;
  remove(comment: Comment): Promise<string | null>;
  resolve(comment: Comment, resolved: boolean): Promise<string | null>;
  removeDrawing(comment: Comment, annotationId: string): Promise<string | null>;
}

const FILTERS: readonly [ThreadFilter, string][] = [
  ['all', 'All'],
  ['open', 'Open'],
  ['resolved', 'Resolved'],
  ['mine', 'Mine'],
  ['drawings', 'With drawings'],
];

export function CommentList({
  threads,
  viewerId,
  labels,
  locked,
  chosen,
  onChoose,
  commands,
}: {
  threads: readonly Thread[];
  viewerId: string;
  labels: Labelling | null;
  /** Read-only version: reading and resolving only. */
  locked: boolean;
  chosen: string | null;
  onChoose: (comment: Comment) => void;
  commands: CommentCommands;
}) {
  const [filter, setFilter] = useState<ThreadFilter>('all');
  const [order, setOrder] = useState<ThreadOrder>('timecode');
  const shown = orderThreads(filterThreads(threads, filter, viewerId), order);
  const open = threads.filter(({ root }) => !root.resolved).length;
  return (
    <section className="comments" aria-label="Comments">
      <header className="comments-head">
        <h2>
          Comments <span className="count">{threads.length}</span>
          {threads.length > 0 && <small>{open === 0 ? 'all resolved' : `${open} open`}</small>}
        </h2>
        <div className="row">
          <select
            className="small-select"
            aria-label="Show"
            value={filter}
            onChange={(event) => setFilter(event.target.value as ThreadFilter)}
          >
            {FILTERS.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
          <select
            className="small-select"
            aria-label="Order"
            value={order}
            onChange={(event) => setOrder(event.target.value as ThreadOrder)}
          >
            <option value="timecode">By timecode</option>
            <option value="newest">Newest first</option>
          </select>
        </div>
      </header>
      <div className="comments-list">
        {shown.map((thread) => (
          <ThreadItem
            key={thread.root.id}
            thread={thread}
            viewerId={viewerId}
            labels={labels}
            locked={locked}
            chosen={chosen}
            onChoose={onChoose}
            commands={commands}
          />
        ))}
        {shown.length === 0 &&
          (threads.length === 0 ? (
            <Blank icon={<CommentIcon size={24} />} title="No comments yet">
              {locked
                ? 'Nobody commented on this version.'
                : 'Pause on a frame and write below, or draw on the picture.'}
            </Blank>
          ) : (
            <Blank title="No comment matches" action={<Button onClick={() => setFilter('all')}>Show all</Button>} />
          ))}
      </div>
    </section>
  );
}

const ThreadItem = memo(function ThreadItem({
  thread,
  viewerId,
  labels,
  locked,
  chosen,
  onChoose,
  commands,
}: {
  thread: Thread;
  viewerId: string;
  labels: Labelling | null;
  locked: boolean;
  chosen: string | null;
  onChoose: (comment: Comment) => void;
  commands: CommentCommands;
}) {
  const [answering, setAnswering] = useState(false);
  const { root, answers } = thread;
  const item = useRef<HTMLElement>(null);
  const isChosen = chosen === root.id;
  useEffect(() => {
    if (isChosen) item.current?.scrollIntoView({ block: 'nearest' });
  }, [isChosen]);
  return (
    <article
      ref={item}
      className={`thread ${root.resolved ? 'thread-resolved' : ''} ${isChosen ? 'thread-chosen' : ''}`}
      style={{ borderLeftColor: personColour(personOf(root.author).id) }}
      aria-label={`Comment of ${personOf(root.author).name}`}
    >
      <CommentItem
        comment={root}
        viewerId={viewerId}
        labels={labels}
        locked={locked}
        onChoose={onChoose}
        commands={commands}
        onAnswer={locked ? undefined : () => setAnswering(true)}
      />
      {answers.map((answer) => (
        <div key={answer.id} className="answer">
          <CommentItem
            comment={answer}
            viewerId={viewerId}
            labels={labels}
            locked={locked}
            onChoose={onChoose}
            commands={commands}
          />
        </div>
      ))}
      {answering && (
        <Writer
          label="Answer"
          placeholder={`Answer ${personOf(root.author).name}…`}
          initial=""
          button="Answer"
          onCancel={() => setAnswering(false)}
          onSave={async (text) => {
            const error = await commands.answer(root, text);
            if (error === null) setAnswering(false);
            return error;
          }}
        />
      )}
    </article>
  );
});

function CommentItem({
  comment,
  viewerId,
  labels,
  locked,
  onChoose,
  commands,
  onAnswer,
}: {
  comment: Comment;
  viewerId: string;
  labels: Labelling | null;
  locked: boolean;
  onChoose: (comment: Comment) => void;
  commands: CommentCommands;
  onAnswer?: () => void;
}) {
  const [editing, setEditing] = useState(false);
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const place = placeOf(comment);
  const own = comment.author?.id === viewerId;
  const drawings = visibleDrawings(comment);

  async function act(work: () => Promise<string | null>) {
    setBusy(true);
    setError(await work());
    setBusy(false);
  }

  return (
    <div className="comment" data-comment={comment.id}>
      <div className="comment-head">
        <Avatar person={personOf(comment.author)} />
        <span className="comment-author">{personOf(comment.author).name}</span>
        <time dateTime={comment.createdAt}>{when(comment.createdAt, new Date())}</time>
        {comment.editedAt !== null && !comment.deleted && <span className="edited">edited</span>}
        {comment.resolved && (
          <span className="resolved-tag">
            <CheckIcon size={11} /> Resolved
          </span>
        )}
      </div>
      <div className="comment-body">
        {labels && place && !comment.deleted && (
          <button type="button" className="timecode-chip" onClick={() => onChoose(comment)}>
            {timecodeAt(place.in, labels)}
            {place.out > place.in && ` – ${timecodeAt(place.out, labels).slice(-5)}`}
          </button>
        )}
        {comment.deleted ? (
          <p className="comment-gone">This comment was deleted.</p>
        ) : editing ? (
          <Writer
            label="Edit comment"
            initial={comment.text}
            button="Save"
            onCancel={() => setEditing(false)}
            onSave={async (text) => {
              const refused = await commands.edit(comment, text);
              if (refused === null) setEditing(false);
              return refused;
            }}
          />
        ) : (
          comment.text !== '' && <p className="comment-text">{comment.text}</p>
        )}
        {drawings.length > 0 && (
          <div className="comment-drawings">
            {drawings.map((drawing) => (
              <span key={drawing.id} className="drawing-chip">
                <span className="layer-dot" style={{ backgroundColor: drawing.colour }} />
                <button type="button" className="drawing-name" onClick={() => onChoose(comment)}>
                  {drawing.shape.kind.toLowerCase()}
                </button>
                {drawing.author?.id === viewerId && !locked && (
                  <IconButton
                    label={`Remove the ${drawing.shape.kind.toLowerCase()}`}
                    disabled={busy}
                    onClick={() => void act(() => commands.removeDrawing(comment, drawing.id))}
                  >
                    <TrashIcon size={11} />
                  </IconButton>
                )}
              </span>
            ))}
          </div>
        )}
        {error && (
          <p className="field-error" role="alert">
            {error}
          </p>
        )}
        {!editing && !comment.deleted && (
          <div className="comment-actions">
            {asking ? (
              <>
                <span>Delete this comment?</span>
                <Button tone="reject" busy={busy} onClick={() => void act(() => commands.remove(comment))}>
                  Delete
                </Button>
                <Button tone="ghost" onClick={() => setAsking(false)}>
                  Keep
                </Button>
              </>
            ) : (
              <>
                {onAnswer && (
                  <Button tone="ghost" onClick={onAnswer}>
                    <ReplyIcon size={12} /> Answer
                  </Button>
                )}
                {comment.parentId === null && (
                  <Button
                    tone="ghost"
                    busy={busy}
                    onClick={() => void act(() => commands.resolve(comment, !comment.resolved))}
                  >
                    {comment.resolved ? <RetakeIcon size={12} /> : <CheckIcon size={12} />}
                    {comment.resolved ? 'Reopen' : 'Resolve'}
                  </Button>
                )}
                {own && !locked && (
                  <>
                    <IconButton label="Edit" onClick={() => setEditing(true)}>
                      <PencilIcon size={13} />
                    </IconButton>
                    <IconButton label="Delete" onClick={() => setAsking(true)}>
                      <TrashIcon size={13} />
                    </IconButton>
                  </>
                )}
                {locked && comment.parentId === null && (
                  <span className="locked-tag" title="Only the current version takes new comments">
                    <LockIcon size={11} />
                  </span>
                )}
              </>
            )}
          </div>
        )}
      </div>
    </div>
  );
}

function Writer({
  label,
  placeholder,
  initial,
  button,
  onSave,
  onCancel,
}: {
  label: string;
  placeholder?: string;
  initial: string;
  button: string;
  onSave: (text: string) => Promise<string | null>;
  onCancel: () => void;
}) {
  const [text, setText] = useState(initial);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  async function save() {
    setBusy(true);
    const refused = await onSave(text.trim());
    // After success this form is gone.
    if (refused !== null) {
      setError(refused);
      setBusy(false);
    }
  }
  return (
    <div className={`writer ${error ? 'field-wrong' : ''}`}>
      <textarea
        aria-label={label}
        aria-invalid={error ? true : undefined}
        rows={2}
        autoFocus
        maxLength={10_000}
        placeholder={placeholder}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event: KeyboardEvent) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void save();
          if (event.key === 'Escape') onCancel();
        }}
      />
      {error && (
        <p className="field-error" role="alert">
          {error}
        </p>
      )}
      <div className="row row-end">
        <Button tone="ghost" onClick={onCancel}>
          Cancel
        </Button>
        <Button busy={busy} disabled={text.trim() === ''} onClick={() => void save()}>
          {button}
        </Button>
      </div>
    </div>
  );
}
