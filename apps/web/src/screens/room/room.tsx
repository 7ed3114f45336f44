import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { createPortal } from 'react-dom';
import {
  AddCommentDocument,
  DeleteCommentDocument,
  EditCommentDocument,
  RecordDecisionDocument,
  RemoveAnnotationDocument,
  ReopenCommentDocument,
  ResolveCommentDocument,
  RestoreAnnotationDocument,
  RetryTranscodeDocument,
  WithdrawDecisionDocument,
} from '../../generated/graphql.js';
import { PENS, personColour, STROKES } from '../../media/colours.js';
import { orderedRange } from '../../media/frames.js';
import { type Shape, shapeInput, type ShapeKind } from '../../media/shapes.js';
import { labelling } from '../../media/timecode.js';
import { ApiFailure } from '../../net/client.js';
import { useSession } from '../../net/context.jsx';
import type { Refusal } from '../../net/refusals.js';
import { navigate, stackPath } from '../../net/route.js';
import { FilmIcon, LockIcon, UploadIcon, WarningIcon } from '../../ui/icons.jsx';
import { Blank, Button, Loading, Notice } from '../../ui/parts.jsx';
import { useToast } from '../../ui/toasts.jsx';
import { STATES } from '../../ui/words.js';
import { CommentList, type CommentCommands } from './comments.jsx';
import { Compare } from './compare.jsx';
import { type Binding, Composer } from './composer.jsx';
import { Decisions } from './decisions.jsx';
import { useKeys } from './keys.js';
import { Processing, TranscodeFailed } from './media-state.jsx';
import { type Drawing, Overlay } from './overlay.jsx';
import { Player, type PlayerState } from './player.js';
import {
  type Comment,
  commentList,
  decisionList,
  personOf,
  type StackMessage,
  type Version,
  versionList,
} from './state.js';
import { OtherPicture, TogetherBar, useTogether } from './together.jsx';
import { buildThreads, drawingsAt, layersOf, placeOf, visibleDrawings } from './threads.js';
import { toolOfKey, Tools } from './tools.jsx';
import { type Marker, Transport } from './transport.jsx';
import { commandOf, did, moved, nextStep, NOTHING_DONE } from './undo.js';
import { UploadDialog } from './upload.jsx';
import { type Room, useRoom } from './use-room.js';
import { VersionSelector } from './versions.jsx';
import { Viewer, type Zoom } from './viewer.jsx';

/** The screening room of one stack. */
export function RoomScreen({ stackId, asked }: { stackId: string; asked: number | null }) {
  const { viewer } = useSession();
  const say = useToast();
  const onMessage = useCallback(
    (message: StackMessage) => {
      if (message.actor === null || message.actor.id === viewer.id || message.version === null) return;
      if (message.eventType === 'VersionUploaded') say(`${message.actor.name} uploaded v${message.version.number}.`);
    },
    [say, viewer.id],
  );
  const room = useRoom(stackId, onMessage);
  const versions = useMemo(() => versionList(room.state), [room.state]);
  const [uploading, setUploading] = useState(false);

  // Without a wish the room shows what is current when it opens, and stays there: nobody is torn from what they look at.
  const [opening, setOpening] = useState<string | null>(null);
  if (opening === null && room.state.position !== null && versions.length > 0) {
    setOpening(room.state.currentVersionId ?? versions[0]!.id);
  }
  const selected = versions.find(({ number }) => number === asked) ?? versions.find(({ id }) => id === opening) ?? null;

  const stage = room.state.stage;
  const mayUpload =
    viewer.role === 'PRODUCER' ||
    viewer.role === 'ADMINISTRATOR' ||
    (stage?.assignees.some(({ id }) => id === viewer.id) ?? false);
  const select = (version: Version) => navigate(stackPath(stackId, version.number));
  const nextNumber = Math.max(0, ...versions.map(({ number }) => number)) + 1;
  const slot = document.getElementById('top-slot');

  if (room.failure && room.state.position === null) {
    const missing = room.failure.code === 'NOT_FOUND' || room.failure.code === 'FORBIDDEN';
    return (
      <Blank
        icon={<WarningIcon size={28} />}
        title={missing ? 'Not found' : 'The stack didn’t load'}
        action={
          missing ? (
            <Button onClick={() => navigate('/')}>Go to the newest project</Button>
          ) : (
            <Button onClick={room.retry}>Try again</Button>
          )
        }
      >
        {room.failure.message}
      </Blank>
    );
  }
  if (room.state.position === null || !stage || !room.place) return <Loading label="Loading the stack" />;

  const state = STATES[stage.state];
  return (
    <div className="room">
      {slot &&
        createPortal(
          <>
            <div className="crumbs" aria-label="Where you are">
              <span className="crumb-project">{room.place.project}</span>
              <span className="crumb-deliverable">{room.place.deliverable}</span>
              <span className="crumb-stage">{stage.name}</span>
              <span className={`badge badge-${state.tint}`} data-stage-state={stage.state}>
                {stage.label || state.word}
              </span>
            </div>
            {selected && (
              <VersionSelector
                versions={versions}
                selected={selected}
                mayUpload={mayUpload}
                onSelect={select}
                onUpload={() => setUploading(true)}
              />
            )}
          </>,
          slot,
        )}
      {selected ? (
        <VersionScreen
          key={selected.id}
          room={room}
          version={selected}
          current={versions.find(({ id }) => id === room.state.currentVersionId) ?? null}
          earlier={versions.filter(
            ({ number, status, media }) => number < selected.number && status !== 'WITHDRAWN' && media.kind === 'VIDEO',
          )}
          versions={versions}
          mayUpload={mayUpload}
          onSelect={select}
        />
      ) : (
        <Blank
          icon={<FilmIcon size={28} />}
          title="No version yet"
          action={
            mayUpload ? (
              <Button tone="primary" onClick={() => setUploading(true)}>
                <UploadIcon size={14} /> Upload v1
              </Button>
            ) : undefined
          }
        >
          {mayUpload
            ? 'Upload the first version of this stage to begin its review.'
            : 'The first version appears here by itself as soon as it is uploaded.'}
        </Blank>
      )}
      {uploading && (
        <UploadDialog
          stageId={stage.id}
          nextNumber={nextNumber}
          onClose={() => setUploading(false)}
          onDone={(version) => {
            setUploading(false);
            room.answered({ versions: [version], currentVersionId: version.id });
            select(version);
          }}
        />
      )}
    </div>
  );
}

interface Draft extends Drawing {
  readonly frame: number | null;
}

const STOPPED: PlayerState | null = null;

function VersionScreen({
  room,
  version,
  current,
  earlier,
  versions,
  mayUpload,
  onSelect,
}: {
  room: Room;
  version: Version;
  current: Version | null;
  /** Those it can be compared with, newest first. */
  earlier: readonly Version[];
  versions: readonly Version[];
  mayUpload: boolean;
  onSelect: (version: Version) => void;
}) {
  const { api, viewer } = useSession();
  const say = useToast();
  const { openVersion, renewMedia, answered } = room;
  const [loadFailure, setLoadFailure] = useState<string | null>(null);
  const [useOriginal, setUseOriginal] = useState(false);
  const [zoom, setZoom] = useState<Zoom>('fit');
  const [tool, setTool] = useState<ShapeKind | null>(null);
  const [colour, setColour] = useState<string>(PENS[0]);
  const [strokeWidth, setStrokeWidth] = useState<number>(STROKES[1].value);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [showResolved, setShowResolved] = useState(true);
  const [chosen, setChosen] = useState<string | null>(null);
  const [range, setRange] = useState<{ in: number | null; out: number | null }>({ in: null, out: null });
  const [binding, setBinding] = useState<Binding>('frame');
  const [text, setText] = useState('');
  const [drafts, setDrafts] = useState<readonly Draft[]>([]);
  const [undoneDrafts, setUndoneDrafts] = useState<readonly Draft[]>([]);
  const [stacks, showStacks] = useState(NOTHING_DONE);
  // What was done is known here before it is rendered: two quick clicks must not undo the same drawing twice.
  const stacksNow = useRef(NOTHING_DONE);
  const setStacks = useCallback((change: (before: typeof NOTHING_DONE) => typeof NOTHING_DONE) => {
    stacksNow.current = change(stacksNow.current);
    showStacks(stacksNow.current);
  }, []);
  const undoing = useRef(Promise.resolve());
  const [sending, setSending] = useState(false);
  const [composeError, setComposeError] = useState<string | null>(null);
  const screen = useRef<HTMLDivElement>(null);

  const load = useCallback(() => {
    setLoadFailure(null);
    openVersion(version.id).catch((error: unknown) =>
      setLoadFailure(error instanceof ApiFailure ? error.message : String(error)),
    );
  }, [openVersion, version.id]);
  useEffect(load, [load]);

  // Signed addresses differ in every answer. The player keeps its own until they are refused or the media changes.
  const [renewals, setRenewals] = useState(0);
  const mediaKey = `${version.media.status} ${version.media.hash} ${renewals}`;
  const [pinned, setPinned] = useState({ key: mediaKey, media: version.media });
  if (pinned.key !== mediaKey) setPinned({ key: mediaKey, media: version.media });
  const media = pinned.key === mediaKey ? pinned.media : version.media;

  const rate = media.rate;
  const frames = media.durationFrames;
  const timed = media.kind === 'VIDEO' && rate !== null && frames !== null && frames > 0;
  const player = useMemo(() => {
    if (!timed || !rate || frames === null) return null;
    return new Player({ num: rate.num, den: rate.den }, frames, () => {
      renewMedia(version.id).then(
        () => setRenewals((count) => count + 1),
        () => undefined,
      );
    });
    // A rate is compared by value: every answer brings a new object.
  }, [timed, rate?.num, rate?.den, frames, renewMedia, version.id]);
  const playback = useSyncExternalStore(
    useCallback((listener: () => void) => player?.subscribe(listener) ?? (() => undefined), [player]),
    () => player?.state() ?? STOPPED,
  );
  const frame = playback?.frame ?? 0;
  const together = useTogether(room, version, player, playback, versions);
  const compareView = () => together.open(together.other === null ? (together.candidates[0]?.key ?? null) : null);
  const labels = useMemo(
    () => (rate && timed ? labelling({ num: rate.num, den: rate.den }, media.startTimecode, media.dropFrame) : null),
    [rate?.num, rate?.den, timed, media.startTimecode, media.dropFrame],
  );

  const comments = useMemo(() => commentList(room.state, version.id), [room.state, version.id]);
  const decisions = useMemo(() => decisionList(room.state, version.id), [room.state, version.id]);
  const threads = useMemo(() => buildThreads(comments), [comments]);
  const layers = useMemo(() => layersOf(comments), [comments]);
  const markers = useMemo<Marker[]>(
    () =>
      threads.flatMap(({ root }) => {
        const place = placeOf(root);
        if (!place || root.deleted) return [];
        const words = root.text || `${visibleDrawings(root).length} drawings`;
        return [
          {
            id: root.id,
            range: place,
            colour: personColour(personOf(root.author).id),
            label: `${personOf(root.author).name}: ${words.slice(0, 80)}`,
            resolved: root.resolved,
          },
        ];
      }),
    [threads],
  );
  const locked = version.status !== 'CURRENT';
  const canDraw = !locked && (timed || media.kind === 'IMAGE');
  const still = !timed;
  const posted = useMemo(
    () => drawingsAt(comments, frame, hidden, { still, showResolved }),
    [comments, frame, hidden, still, showResolved],
  );
  const drawings: Drawing[] = [...posted, ...drafts.filter((draft) => draft.frame === null || draft.frame === frame)];
  const chosenDrawings = useMemo(
    () => new Set(posted.filter(({ commentId }) => commentId === chosen).map(({ id }) => id)),
    [posted, chosen],
  );

  // A comment is on the frame it was begun on: that of its first drawing, else what is on screen now.
  const anchor = drafts[0]?.frame ?? frame;
  const bothEnds = range.in !== null && range.out !== null ? orderedRange(range.in, range.out) : null;
  const place =
    !timed || binding === 'version' ? null : binding === 'range' && bothEnds ? bothEnds : { in: anchor, out: anchor };

  const fail = (error: unknown): string => (error instanceof ApiFailure ? error.message : String(error));
  const wordsOf = (errors: readonly Refusal[]): string | null =>
    errors.length === 0 ? null : errors.map(({ message }) => message).join(' ');

  async function send() {
    setSending(true);
    setComposeError(null);
    try {
      const { addComment } = await api.send(AddCommentDocument, {
        versionId: version.id,
        text: text.trim(),
        range: place,
        annotations: drafts.map((draft) => ({
          range:
            draft.frame === null
              ? null
              : binding === 'range' && bothEnds
                ? bothEnds
                : { in: draft.frame, out: draft.frame },
          shape: shapeInput(draft.shape) as never,
          colour: draft.colour,
          strokeWidth: draft.strokeWidth,
        })),
      });
      const refused = wordsOf(addComment.errors);
      if (refused !== null || !addComment.comment) return setComposeError(refused ?? 'Nothing came back.');
      const { comment } = addComment;
      answered({ comments: [comment] }, addComment.position);
      setStacks((before) =>
        did(
          before,
          comment.annotations.map(({ id }) => ({ annotationId: id, versionId: version.id, did: 'drew' as const })),
        ),
      );
      setText('');
      setDrafts([]);
      setUndoneDrafts([]);
      setTool(null);
      if (binding === 'range') {
        setRange({ in: null, out: null });
        setBinding('frame');
      }
    } catch (error) {
      setComposeError(fail(error));
    } finally {
      setSending(false);
    }
  }

  function addDraft(shape: Shape) {
    const draft: Draft = { id: crypto.randomUUID(), shape, colour, strokeWidth, frame: timed ? frame : null };
    setDrafts((before) => [...before, draft]);
    setUndoneDrafts([]);
    if (binding === 'version' && timed) setBinding('frame');
    if (shape.kind === 'TEXT' || shape.kind === 'PIN') setTool(null);
  }

  async function undo(direction: 'undo' | 'redo') {
    if (!canDraw) return;
    // What isn't sent yet goes first: it is the newest.
    const [from, setFrom, setTo] =
      direction === 'undo'
        ? [drafts, setDrafts, setUndoneDrafts]
        : ([undoneDrafts, setUndoneDrafts, setDrafts] as const);
    const draft = from[from.length - 1];
    if (draft) {
      setFrom((before) => before.slice(0, -1));
      setTo((before) => [...before, draft]);
      return;
    }
    undoing.current = undoing.current.then(() => undoSent(direction));
    return undoing.current;
  }

  /** One after another: each starts from what the one before has done. */
  async function undoSent(direction: 'undo' | 'redo') {
    const step = nextStep(stacksNow.current, direction, version.id);
    if (!step) return;
    const input = { annotationId: step.annotationId, versionId: version.id };
    try {
      const payload =
        commandOf(step, direction) === 'removeAnnotation'
          ? (await api.send(RemoveAnnotationDocument, input)).removeAnnotation
          : (await api.send(RestoreAnnotationDocument, input)).restoreAnnotation;
      const refused = wordsOf(payload.errors);
      if (refused !== null) return say(refused, 'error');
      if (payload.annotation) answered({ annotations: [payload.annotation] }, payload.position);
      setStacks((before) => moved(before, direction, step));
    } catch (error) {
      say(fail(error), 'error');
    }
  }

  const choose = useCallback(
    (comment: Comment) => {
      setChosen(comment.parentId ?? comment.id);
      const at = placeOf(comment);
      if (at && player) player.seek(at.in);
    },
    [player],
  );

  const commands = useMemo<CommentCommands>(() => {
    const safely = async (work: () => Promise<string | null>): Promise<string | null> => {
      try {
        return await work();
      } catch (error) {
        return error instanceof ApiFailure ? error.message : String(error);
      }
    };
    const taken = (payload: { comment: Comment | null; errors: readonly Refusal[] }): string | null => {
      if (payload.errors.length > 0) return payload.errors.map(({ message }) => message).join(' ');
      if (payload.comment) answered({ comments: [payload.comment] });
      return null;
    };
    const input = (comment: Comment) => ({ commentId: comment.id, versionId: comment.versionId });
    return {
      answer: (parent, words) =>
        safely(async () => {
          const { addComment } = await api.send(AddCommentDocument, {
            versionId: parent.versionId,
            parentId: parent.id,
            text: words,
          });
          return taken(addComment);
        }),
      edit: (comment, words) =>
        safely(async () =>
          taken((await api.send(EditCommentDocument, { ...input(comment), text: words })).editComment),
        ),
      remove: (comment) =>
        safely(async () => taken((await api.send(DeleteCommentDocument, input(comment))).deleteComment)),
      resolve: (comment, resolved) =>
        safely(async () =>
          taken(
            resolved
              ? (await api.send(ResolveCommentDocument, input(comment))).resolveComment
              : (await api.send(ReopenCommentDocument, input(comment))).reopenComment,
          ),
        ),
      removeDrawing: (comment, annotationId) =>
        safely(async () => {
          const { removeAnnotation } = await api.send(RemoveAnnotationDocument, {
            annotationId,
            versionId: comment.versionId,
          });
          if (removeAnnotation.errors.length > 0)
            return removeAnnotation.errors.map(({ message }) => message).join(' ');
          if (removeAnnotation.annotation)
            answered({ annotations: [removeAnnotation.annotation] }, removeAnnotation.position);
          setStacks((before) => did(before, [{ annotationId, versionId: comment.versionId, did: 'removed' }]));
          return null;
        }),
    };
  }, [api, answered]);

  const fullscreen = () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void screen.current?.requestFullscreen().catch(() => undefined);
  };

  useKeys((event) => {
    const key = event.key;
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === 'z') {
      void undo(event.shiftKey ? 'redo' : 'undo');
      return true;
    }
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === 'y') {
      void undo('redo');
      return true;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (key === 'Escape') {
      setTool(null);
      setChosen(null);
      return true;
    }
    if (key === 'f' || key === 'F') {
      fullscreen();
      return true;
    }
    if (player) {
      const step = event.shiftKey ? 10 : 1;
      const deeds: Record<string, () => void> = {
        ArrowLeft: () => player.step(-step),
        ArrowRight: () => player.step(step),
        Home: () => player.seek(0),
        End: () => player.seek(player.frames - 1),
        ' ': () => player.toggle(),
        k: () => player.pause(),
        j: () => player.shuttle(-1),
        l: () => player.shuttle(1),
        i: () => setRange((before) => ({ ...before, in: frame })),
        o: () => setRange((before) => ({ ...before, out: frame })),
        x: () => setRange({ in: null, out: null }),
        m: () => player.toggleMuted(),
        c: compareView,
        b: () => together.change({ mode: 'TOGGLE', flipped: together.mode === 'TOGGLE' && !together.flipped }),
      };
      const deed = deeds[key.length === 1 ? key.toLowerCase() : key];
      if (deed) {
        deed();
        return true;
      }
    }
    if (key === 'v' || key === 'V') {
      setTool(null);
      return true;
    }
    const pen = toolOfKey(key);
    if (pen && canDraw) {
      setTool(pen);
      player?.pause();
      return true;
    }
    return false;
  });

  // Both ends set means a comment on the range, until said otherwise.
  const hasRange = bothEnds !== null;
  useEffect(() => setBinding(hasRange ? 'range' : 'frame'), [hasRange]);

  const canPlayOriginal = media.originalUrl !== null && (timed || media.kind === 'AUDIO');
  const showsPicture = media.status === 'READY' || (useOriginal && canPlayOriginal);
  const mayDecide = !locked && viewer.role !== 'ARTIST' && viewer.role !== 'SERVICE';

  return (
    <div className="room-body">
      <div className="stage" ref={screen}>
        {version.status === 'LOCKED' && (
          <Notice
            tone="warning"
            label="Locked version"
            icon={<LockIcon />}
            action={current && <Button onClick={() => onSelect(current)}>Go to v{current.number}</Button>}
          >
            <b>v{version.number} is locked.</b>{' '}
            {current
              ? `v${current.number} is the current version; new feedback belongs there.`
              : 'It takes no new feedback.'}
          </Notice>
        )}
        {version.status === 'WITHDRAWN' && (
          <Notice
            tone="warning"
            label="Withdrawn version"
            action={current && <Button onClick={() => onSelect(current)}>Go to v{current.number}</Button>}
          >
            <b>v{version.number} was withdrawn.</b> {version.withdrawnReason}
          </Notice>
        )}
        {media.status === 'FAILED' && useOriginal && (
          <Notice tone="error" action={<Button onClick={() => setUseOriginal(false)}>Show the reason</Button>}>
            You see the original: the review copies could not be made.
          </Notice>
        )}
        {player && playback && showsPicture && (
          <TogetherBar together={together} name={`v${version.number}`} leader={player} leading={playback} />
        )}
        <div className="screen">
          <Tools
            tool={tool}
            colour={colour}
            strokeWidth={strokeWidth}
            canDraw={canDraw && showsPicture}
            canUndo={canDraw && (drafts.length > 0 || nextStep(stacks, 'undo', version.id) !== null)}
            canRedo={canDraw && (undoneDrafts.length > 0 || nextStep(stacks, 'redo', version.id) !== null)}
            layers={layers}
            hidden={hidden}
            showResolved={showResolved}
            onTool={(next) => {
              setTool(next);
              if (next !== null) player?.pause();
            }}
            onColour={setColour}
            onStrokeWidth={setStrokeWidth}
            onUndo={() => void undo('undo')}
            onRedo={() => void undo('redo')}
            onHidden={setHidden}
            onShowResolved={setShowResolved}
          />
          {showsPicture ? (
            <Viewer
              media={media}
              useOriginal={useOriginal && media.status !== 'READY'}
              player={player}
              playback={playback}
              zoom={zoom}
              onZoom={setZoom}
              besideAs={together.other === null ? null : together.mode === 'SIDE' ? 'SIDE' : 'OVER'}
              beside={
                together.other &&
                ((size) => <OtherPicture together={together} name={`v${version.number}`} size={size} />)
              }
            >
              {(aspect) => (
                <Overlay
                  aspect={aspect}
                  drawings={playback && playback.speed !== 0 && playback.speed !== 1 ? [] : drawings}
                  chosen={chosenDrawings}
                  pen={tool === null ? null : { kind: tool, colour, strokeWidth }}
                  onPick={(id) => {
                    const comment = comments.find(({ annotations }) => annotations.some((one) => one.id === id));
                    if (comment) setChosen(comment.parentId ?? comment.id);
                  }}
                  onDrawn={addDraft}
                  onStart={() => player?.pause()}
                />
              )}
            </Viewer>
          ) : (
            <div className="viewer">
              {media.status === 'FAILED' ? (
                <TranscodeFailed
                  version={version}
                  mayRetry={mayUpload && !locked}
                  onOriginal={canPlayOriginal ? () => setUseOriginal(true) : null}
                  onRetry={async () => {
                    try {
                      const { retryTranscode } = await api.send(RetryTranscodeDocument, { versionId: version.id });
                      const refused = wordsOf(retryTranscode.errors);
                      if (refused !== null) say(refused, 'error');
                      else if (retryTranscode.version) answered({ versions: [retryTranscode.version] });
                    } catch (error) {
                      say(fail(error), 'error');
                    }
                  }}
                />
              ) : (
                <Processing version={version} onOriginal={canPlayOriginal ? () => setUseOriginal(true) : null} />
              )}
            </div>
          )}
        </div>
        {player && playback && labels && showsPicture && (
          <Transport
            player={player}
            state={playback}
            labels={labels}
            markers={markers}
            chosen={chosen}
            range={range}
            onMarker={(id) => {
              const comment = comments.find((one) => one.id === id);
              if (comment) choose(comment);
            }}
            onRange={setRange}
            zoom={zoom}
            onZoom={setZoom}
            onFullscreen={fullscreen}
            together={together.candidates.length > 0 ? together.other !== null : null}
            onTogether={compareView}
          />
        )}
      </div>
      <aside className="panel" aria-label="Review">
        <Decisions
          version={version}
          decisions={decisions}
          viewerId={viewer.id}
          mayDecide={mayDecide}
          onDecide={async (verdict, words) => {
            try {
              const { recordDecision } = await api.send(RecordDecisionDocument, {
                versionId: version.id,
                verdict,
                text: words,
                expectedRevision: version.revision,
              });
              if (recordDecision.errors.length === 0) {
                answered({
                  versions: recordDecision.version ? [recordDecision.version] : [],
                  decisions: recordDecision.decision ? [recordDecision.decision] : [],
                });
              } else if (recordDecision.errors.some(({ __typename }) => __typename === 'Conflict')) {
                await openVersion(version.id);
              }
              return recordDecision.errors;
            } catch (error) {
              return [{ __typename: 'GenericRefusal', code: 'FAILED', message: fail(error), path: null }];
            }
          }}
          onWithdraw={async (decision) => {
            try {
              const { withdrawDecision } = await api.send(WithdrawDecisionDocument, {
                decisionId: decision.id,
                versionId: version.id,
                reason: '',
                expectedRevision: version.revision,
              });
              const refused = wordsOf(withdrawDecision.errors);
              if (refused !== null) return refused;
              answered({
                versions: withdrawDecision.version ? [withdrawDecision.version] : [],
                decisions: [{ ...decision, standing: false, withdrawn: true }],
              });
              return null;
            } catch (error) {
              return fail(error);
            }
          }}
        />
        {player && earlier.length > 0 && version.status !== 'WITHDRAWN' && (
          <Compare
            version={version}
            earlier={earlier}
            ended={room.state.comparisons}
            onSeek={(at) => player.seek(Math.min(at, player.frames - 1))}
            onTogether={(id) => together.open(id)}
          />
        )}
        {loadFailure !== null ? (
          <Blank
            icon={<WarningIcon size={24} />}
            title="The comments didn’t load"
            action={<Button onClick={load}>Try again</Button>}
          >
            {loadFailure}
          </Blank>
        ) : !room.state.opened.has(version.id) ? (
          <Loading label="Loading the comments" />
        ) : (
          <CommentList
            threads={threads}
            viewerId={viewer.id}
            labels={labels}
            locked={locked}
            chosen={chosen}
            onChoose={choose}
            commands={commands}
          />
        )}
        {!locked && (
          <Composer
            text={text}
            binding={binding}
            place={place}
            canRange={hasRange}
            timed={timed}
            labels={labels}
            drawings={drafts.length}
            busy={sending}
            error={composeError}
            onText={(next) => {
              setText(next);
              setComposeError(null);
            }}
            onBinding={setBinding}
            onFocus={() => player?.pause()}
            onDropDrawings={() => {
              setDrafts([]);
              setUndoneDrafts([]);
            }}
            onSend={() => void send()}
          />
        )}
      </aside>
    </div>
  );
}
