import {
  type KeyboardEvent,
  type PointerEvent,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react';
import { BesideDocument, type BesideQuery, FrameMapDocument, type FrameMapQuery } from '../../generated/graphql.js';
import { useSession } from '../../net/context.jsx';
import { CrossIcon } from '../../ui/icons.jsx';
import { Button, IconButton } from '../../ui/parts.jsx';
import { lead } from './lead.js';
import { type Pair, pairByNumber, pairByRanges, type PairedRange, type Pairing } from './pairing.js';
import { Player, type PlayerState } from './player.js';
import type { Version } from './state.js';
import type { Room } from './use-room.js';

type Media = Version['media'];
export type Mode = 'SIDE' | 'WIPE' | 'OVERLAY' | 'TOGGLE';

const MODES: readonly { mode: Mode; label: string }[] = [
  { mode: 'SIDE', label: 'Side by side' },
  { mode: 'WIPE', label: 'Wipe' },
  { mode: 'OVERLAY', label: 'Overlay' },
  { mode: 'TOGGLE', label: 'Toggle' },
];

/** What the version can be looked at together with. */
interface Candidate {
  readonly key: string;
  /** `v1`, or the name of a reference. */
  readonly name: string;
  readonly media: Media;
}

type Beside = NonNullable<BesideQuery['version']>;
type Compared = Beside['comparisons']['edges'][number]['node'];

export interface Together {
  readonly candidates: readonly Candidate[];
  /** The one beside the version; null while only the version is shown. */
  readonly other: Candidate | null;
  readonly player: Player | null;
  readonly playback: PlayerState | null;
  /** The frame map of a comparison, or equal numbers. */
  readonly by: 'MAP' | 'NUMBER';
  readonly pair: Pair | null;
  readonly mode: Mode;
  /** Where the divider is, percent of the width: left of it is the other one. */
  readonly wipe: number;
  /** How much of the other one, percent. */
  readonly opacity: number;
  readonly difference: boolean;
  /** Toggle: whether the other one is shown. */
  readonly flipped: boolean;
  open(key: string | null): void;
  change(settings: Partial<Pick<Together, 'mode' | 'wipe' | 'opacity' | 'difference' | 'flipped'>>): void;
}

const playable = ({ status, kind, rate, durationFrames }: Media) =>
  status === 'READY' && kind === 'VIDEO' && rate !== null && (durationFrames ?? 0) > 0;

/** Which of the comparison's two the version is, when the other one of it is `key`. */
function sideOf({ from, to }: Compared, versionId: string, key: string): 'from' | 'to' | null {
  const keyOf = (one: Compared['from']) => one.reference?.id ?? one.version.id;
  if (keyOf(to) === versionId && keyOf(from) === key) return 'to';
  return keyOf(from) === versionId && keyOf(to) === key ? 'from' : null;
}

/** Everything about looking at a second picture together with the version's. */
export function useTogether(
  room: Room,
  version: Version,
  leader: Player | null,
  leading: PlayerState | null,
  versions: readonly Version[],
): Together {
  const { api } = useSession();
  const { renewMedia } = room;
  const [beside, setBeside] = useState<Beside | null>(null);
  const [key, setKey] = useState<string | null>(null);
  const [ranges, setRanges] = useState<{ id: string; list: readonly PairedRange[] } | null>(null);
  const [renewals, setRenewals] = useState(0);
  const [settings, setSettings] = useState({
    mode: 'SIDE' as Mode,
    wipe: 50,
    opacity: 50,
    difference: false,
    flipped: false,
  });

  const timed = leader !== null;
  const ended = room.state.comparisons;
  useEffect(() => {
    if (!timed) return;
    let stale = false;
    // Nobody waits for it: without an answer there are the versions, paired by number.
    api.ask(BesideDocument, { id: version.id }).then(
      (answer) => !stale && setBeside(answer.version),
      () => undefined,
    );
    return () => {
      stale = true;
    };
    // Asked again when a message tells of a comparison, and for fresh addresses of references.
  }, [api, version.id, timed, ended, renewals]);

  const candidates = useMemo<Candidate[]>(() => {
    if (!timed) return [];
    const others = versions.filter((one) => one.id !== version.id && one.status !== 'WITHDRAWN');
    return [
      ...others.map(({ id, number, media }) => ({ key: id, name: `v${number}`, media })),
      ...(beside?.references ?? []).map(({ id, filename, media }) => ({ key: id, name: filename, media })),
    ].filter(({ media }) => playable(media));
  }, [timed, versions, version.id, beside]);

  // As of the version itself: addresses are kept until they are refused or the media changes.
  const found = candidates.find((one) => one.key === key) ?? null;
  const pin = found && `${found.key} ${found.media.hash} ${renewals}`;
  const [pinned, setPinned] = useState<{ pin: string; other: Candidate } | null>(null);
  if (found && pinned?.pin !== pin) setPinned({ pin: pin!, other: found });
  const other = found && (pinned?.pin === pin ? pinned!.other : found);

  const otherKey = other?.key ?? null;
  const isVersion = versions.some(({ id }) => id === otherKey);
  const [num, den, frames] = [other?.media.rate?.num, other?.media.rate?.den, other?.media.durationFrames];
  const player = useMemo(() => {
    if (otherKey === null || !num || !den || !frames) return null;
    return new Player({ num, den }, frames, () => {
      const renewed = isVersion ? renewMedia(otherKey) : Promise.resolve();
      renewed.then(
        () => setRenewals((count) => count + 1),
        () => undefined,
      );
    });
  }, [otherKey, isVersion, num, den, frames, renewMedia]);
  const playback = useSyncExternalStore(
    useCallback((listener: () => void) => player?.subscribe(listener) ?? (() => undefined), [player]),
    () => player?.state() ?? null,
  );

  const compared = useMemo(() => {
    if (otherKey === null) return null;
    for (const { node } of beside?.comparisons.edges ?? []) {
      const side = sideOf(node, version.id, otherKey);
      if (side && node.status === 'READY' && !node.truncated) return { id: node.id, side };
    }
    return null;
  }, [beside, version.id, otherKey]);
  const comparedId = compared?.id ?? null;
  useEffect(() => {
    if (comparedId === null) return;
    let stale = false;
    const load = async () => {
      const list: PairedRange[] = [];
      for (let after: string | null = null; ;) {
        const { comparison }: FrameMapQuery = await api.ask(FrameMapDocument, { id: comparedId, after });
        if (!comparison) return;
        list.push(...comparison.ranges.edges.map(({ node }) => node));
        if (!comparison.ranges.pageInfo.hasNextPage) break;
        after = comparison.ranges.pageInfo.endCursor;
      }
      if (!stale) setRanges({ id: comparedId, list });
    };
    load().catch(() => undefined);
    return () => {
      stale = true;
    };
  }, [api, comparedId]);

  const map = compared && ranges?.id === compared.id ? { side: compared.side, list: ranges.list } : null;
  const [side, list] = [map?.side ?? null, map?.list ?? null];
  const pairing = useMemo<Pairing | null>(() => {
    if (!frames) return null;
    return side && list ? pairByRanges(list, side, frames) : pairByNumber(frames);
  }, [side, list, frames]);

  useEffect(() => {
    if (!leader || !player || !pairing) return;
    return lead(leader, player, pairing);
  }, [leader, player, pairing]);

  // When the one that was heard goes, the version's own sound is back.
  useEffect(() => {
    return () => {
      const last = player?.state();
      if (last?.ready && !last.muted) leader?.setMuted(false);
    };
  }, [leader, player]);

  // One of the two is heard at most.
  const heard = leading !== null && !leading.muted;
  const ready = playback?.ready ?? false;
  useEffect(() => {
    if (heard && ready) player?.setMuted(true);
  }, [player, heard, ready]);

  return {
    candidates,
    other,
    player,
    playback,
    by: map ? 'MAP' : 'NUMBER',
    pair: pairing && leading ? pairing(leading.speed > 0 ? (leading.presented ?? leading.frame) : leading.frame) : null,
    ...settings,
    open: setKey,
    change: (changed) => setSettings((before) => ({ ...before, ...changed })),
  };
}

/** The choices: with what, how, whose sound. */
export function TogetherBar({
  together,
  name,
  leader,
  leading,
}: {
  together: Together;
  /** Of the version itself. */
  name: string;
  leader: Player;
  leading: PlayerState;
}) {
  const { candidates, other, player, playback, by, mode, opacity, difference, flipped, open, change } = together;
  const modes = useRef<HTMLDivElement>(null);
  if (!other || !player || !playback) return null;
  const sound = !leading.muted ? 'OWN' : playback.ready && !playback.muted ? 'OTHER' : 'NONE';

  function choose(event: KeyboardEvent) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = MODES.findIndex((one) => one.mode === mode);
    const next = (at + step + MODES.length) % MODES.length;
    change({ mode: MODES[next]!.mode });
    modes.current?.querySelectorAll('button')[next]?.focus();
  }

  return (
    <section className="together" aria-label="Compare view" data-pairing={by} data-mode={mode}>
      <label className="together-with">
        <span>{name} with</span>
        <select aria-label="Shown together with" value={other.key} onChange={({ target }) => open(target.value)}>
          {candidates.map((one) => (
            <option key={one.key} value={one.key}>
              {one.name}
            </option>
          ))}
        </select>
      </label>
      <div className="segments" role="radiogroup" aria-label="Show both as" ref={modes} onKeyDown={choose}>
        {MODES.map((one) => (
          <button
            key={one.mode}
            type="button"
            role="radio"
            aria-checked={mode === one.mode}
            tabIndex={mode === one.mode ? 0 : -1}
            onClick={() => change({ mode: one.mode })}
          >
            {one.label}
          </button>
        ))}
      </div>
      {mode === 'OVERLAY' && (
        <>
          <label className="together-opacity">
            <span>{other.name}</span>
            <input
              type="range"
              aria-label={`Opacity of ${other.name}`}
              aria-valuetext={`${opacity} %`}
              min={0}
              max={100}
              value={opacity}
              disabled={difference}
              onChange={({ target }) => change({ opacity: Number(target.value) })}
            />
          </label>
          <Button
            aria-pressed={difference}
            title="What is the same turns black"
            onClick={() => change({ difference: !difference })}
          >
            Difference
          </Button>
        </>
      )}
      {mode === 'TOGGLE' && (
        <Button aria-pressed={flipped} aria-keyshortcuts="B" title="B" onClick={() => change({ flipped: !flipped })}>
          Show {flipped ? name : other.name}
        </Button>
      )}
      <label className="together-sound">
        <span>Sound</span>
        <select
          aria-label="Sound of"
          value={sound}
          disabled={!playback.ready}
          onChange={({ target }) => {
            leader.setMuted(target.value !== 'OWN');
            player.setMuted(target.value !== 'OTHER');
          }}
        >
          <option value="OWN">{name}</option>
          <option value="OTHER">{other.name}</option>
          <option value="NONE">None</option>
        </select>
      </label>
      <span
        className="together-by"
        title={by === 'MAP' ? 'A comparison tells which frames are the same.' : 'Compare the two to pair their frames.'}
      >
        {by === 'MAP' ? 'Same frames' : 'Same numbers'}
      </span>
      <IconButton label="Close the compare view" shortcut="C" onClick={() => open(null)}>
        <CrossIcon />
      </IconButton>
    </section>
  );
}

/** The other picture: beside the version's, or over it. */
export function OtherPicture({
  together,
  name,
  size,
}: {
  together: Together;
  /** Of the version itself. */
  name: string;
  /** Of the version's picture on the page. */
  size: { width: number; height: number };
}) {
  const { other, player, playback, pair, mode, wipe, opacity, difference, flipped, change } = together;
  const video = useRef<HTMLVideoElement>(null);
  const root = useRef<HTMLDivElement>(null);
  const [attempt, setAttempt] = useState(0);
  const hlsUrl = other?.media.hlsUrl ?? null;
  const fileUrl = other?.media.proxyUrl ?? other?.media.originalUrl ?? null;
  useEffect(() => {
    if (!player || !video.current) return;
    return player.attach(video.current, { hlsUrl, fileUrl });
  }, [player, hlsUrl, fileUrl, attempt]);
  if (!other || !playback) return null;

  const cut = mode === 'WIPE' ? { clipPath: `inset(0 ${100 - wipe}% 0 0)` } : {};
  const blend =
    mode === 'OVERLAY' ? (difference ? { mixBlendMode: 'difference' as const } : { opacity: opacity / 100 }) : {};
  const hidden = mode === 'TOGGLE' && !flipped;
  // Pictures of one shape lie on each other to the pixel, as both fill the place; another shape keeps its own.
  const shape = (other.media.width ?? 16) / (other.media.height ?? 9);
  const alike = Math.abs(shape / (size.width / size.height) - 1) < 0.02;
  const here = pair?.paired ?? true;
  const place = (event: PointerEvent) => {
    const box = root.current!.getBoundingClientRect();
    return Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100));
  };
  return (
    <>
      <div
        ref={root}
        className="picture picture-other"
        role="group"
        aria-label={`${other.name}${here ? '' : ': not there'}`}
        aria-hidden={hidden || undefined}
        style={{ ...size, ...cut, ...blend, visibility: hidden ? 'hidden' : undefined }}
        data-presented-frame={playback.presented ?? ''}
        data-paired={here}
      >
        <video
          ref={video}
          style={{ objectFit: alike ? 'fill' : 'contain' }}
          playsInline
          preload="auto"
          muted
          tabIndex={-1}
        />
        {!here && <p className="picture-gap">Not in {other.name}</p>}
        {!playback.ready && playback.failed === null && <span className="spinner spinner-large picture-wait" />}
        {playback.failed !== null && (
          <div className="picture-gap" role="alert">
            {playback.failed} <Button onClick={() => setAttempt(attempt + 1)}>Try again</Button>
          </div>
        )}
      </div>
      <div className="picture-names" aria-hidden="true">
        {(mode !== 'TOGGLE' || flipped) && <span>{other.name}</span>}
        {(mode !== 'TOGGLE' || !flipped) && <span className="picture-name-own">{name}</span>}
      </div>
      {pair !== null && pair.skipped > 0 && (
        <p className="picture-skip" role="status">
          {pair.skipped} {pair.skipped === 1 ? 'frame' : 'frames'} of {other.name} before this one not in {name}
        </p>
      )}
      {mode === 'WIPE' && size.width > 0 && (
        <div
          className="divider"
          style={{ left: `${wipe}%` }}
          role="slider"
          tabIndex={0}
          aria-label="Divider"
          aria-orientation="horizontal"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(wipe)}
          aria-valuetext={`${other.name} up to ${Math.round(wipe)} %`}
          onPointerDown={(event) => {
            if (event.button !== 0) return;
            event.currentTarget.setPointerCapture(event.pointerId);
            change({ wipe: place(event) });
          }}
          onPointerMove={(event) => {
            if (event.currentTarget.hasPointerCapture(event.pointerId)) change({ wipe: place(event) });
          }}
          onKeyDown={(event) => {
            const step = event.shiftKey ? 10 : 1;
            const to = {
              ArrowLeft: wipe - step,
              ArrowDown: wipe - step,
              ArrowRight: wipe + step,
              ArrowUp: wipe + step,
              Home: 0,
              End: 100,
            }[event.key];
            if (to === undefined) return;
            // Elsewhere these keys step through the frames.
            event.preventDefault();
            change({ wipe: Math.min(100, Math.max(0, to)) });
          }}
        />
      )}
    </>
  );
}
