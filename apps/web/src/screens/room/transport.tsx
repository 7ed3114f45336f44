import { type KeyboardEvent, type PointerEvent, useRef, useState } from 'react';
import { barPlace, type FrameRange, frameOnBar, rateName } from '../../media/frames.js';
import { frameFromText, type Labelling, timecodeAt } from '../../media/timecode.js';
import {
  BackFrameIcon,
  FirstIcon,
  FullscreenIcon,
  LastIcon,
  LoopIcon,
  MutedIcon,
  NextFrameIcon,
  PauseIcon,
  PlayIcon,
  TogetherIcon,
  VolumeIcon,
} from '../../ui/icons.jsx';
import { IconButton } from '../../ui/parts.jsx';
import type { Player, PlayerState } from './player.js';
import type { Zoom } from './viewer.jsx';

export interface Marker {
  readonly id: string;
  readonly range: FrameRange;
  readonly colour: string;
  readonly label: string;
  readonly resolved: boolean;
}

/** Timecode, scrub bar with the comments' marks, and the controls of playback. */
export function Transport({
  player,
  state,
  labels,
  markers,
  chosen,
  range,
  onMarker,
  onRange,
  zoom,
  onZoom,
  onFullscreen,
  together,
  onTogether,
}: {
  player: Player;
  state: PlayerState;
  labels: Labelling;
  markers: readonly Marker[];
  chosen: string | null;
  /** In and out points set by hand. */
  range: { in: number | null; out: number | null };
  onMarker: (id: string) => void;
  onRange: (range: { in: number | null; out: number | null }) => void;
  zoom: Zoom;
  onZoom: (zoom: Zoom) => void;
  onFullscreen: () => void;
  /** Whether a second picture is shown; null when there is none. */
  together: boolean | null;
  onTogether: () => void;
}) {
  const playing = state.speed !== 0;
  const loops = state.loop !== null;
  const both = range.in !== null && range.out !== null;
  return (
    <section className="transport" aria-label="Playback">
      <ScrubBar
        player={player}
        state={state}
        labels={labels}
        markers={markers}
        chosen={chosen}
        range={range}
        onMarker={onMarker}
      />
      <div className="controls">
        <div className="controls-left">
          <TimecodeField player={player} frame={state.frame} labels={labels} />
          <span className="frame-count" data-frame={state.frame}>
            <span className="visually-hidden">Frame </span>
            {state.frame}
            <small> / {player.frames - 1}</small>
          </span>
          <span className="rate" title="Frames per second">
            {rateName(labels.rate)} fps{labels.dropFrame ? ' DF' : ''}
          </span>
        </div>
        <div className="controls-middle">
          <IconButton label="First frame" shortcut="Home" onClick={() => player.seek(0)}>
            <FirstIcon />
          </IconButton>
          <IconButton label="One frame back" shortcut="ArrowLeft" onClick={() => player.step(-1)}>
            <BackFrameIcon />
          </IconButton>
          <IconButton
            label={playing ? 'Pause' : 'Play'}
            shortcut="Space"
            className="icon-button-play"
            disabled={!state.ready}
            onClick={() => player.toggle()}
          >
            {playing ? <PauseIcon size={18} /> : <PlayIcon size={18} />}
          </IconButton>
          <IconButton label="One frame forward" shortcut="ArrowRight" onClick={() => player.step(1)}>
            <NextFrameIcon />
          </IconButton>
          <IconButton label="Last frame" shortcut="End" onClick={() => player.seek(player.frames - 1)}>
            <LastIcon />
          </IconButton>
          {state.speed !== 0 && state.speed !== 1 && <span className="speed">{state.speed}×</span>}
        </div>
        <div className="controls-right">
          <div className="in-out" role="group" aria-label="Range">
            <button
              type="button"
              className={`mark ${range.in !== null ? 'mark-set' : ''}`}
              title="Set the in point at this frame  (I)"
              aria-keyshortcuts="I"
              onClick={() => onRange({ ...range, in: state.frame })}
            >
              In{range.in !== null && <b>{timecodeAt(range.in, labels).slice(-5)}</b>}
            </button>
            <button
              type="button"
              className={`mark ${range.out !== null ? 'mark-set' : ''}`}
              title="Set the out point at this frame  (O)"
              aria-keyshortcuts="O"
              onClick={() => onRange({ ...range, out: state.frame })}
            >
              Out{range.out !== null && <b>{timecodeAt(range.out, labels).slice(-5)}</b>}
            </button>
            {(range.in !== null || range.out !== null) && (
              <button
                type="button"
                className="mark"
                title="Forget the range  (X)"
                onClick={() => onRange({ in: null, out: null })}
              >
                Clear
              </button>
            )}
          </div>
          <IconButton
            label={both ? 'Loop the range' : 'Loop'}
            pressed={loops}
            onClick={() =>
              player.setLoop(
                loops
                  ? null
                  : both
                    ? { in: Math.min(range.in!, range.out!), out: Math.max(range.in!, range.out!) }
                    : { in: 0, out: player.frames - 1 },
              )
            }
          >
            <LoopIcon />
          </IconButton>
          <IconButton
            label={state.muted ? 'Sound on' : 'Mute'}
            pressed={state.muted}
            onClick={() => player.toggleMuted()}
          >
            {state.muted ? <MutedIcon /> : <VolumeIcon />}
          </IconButton>
          {state.qualities.length > 0 && (
            <select
              className="small-select"
              aria-label="Quality"
              value={state.quality ?? 'auto'}
              onChange={(event) =>
                player.chooseQuality(event.target.value === 'auto' ? null : Number(event.target.value))
              }
            >
              <option value="auto">Auto</option>
              {state.qualities.map((height) => (
                <option key={height} value={height}>
                  {height}p
                </option>
              ))}
            </select>
          )}
          <select
            className="small-select"
            aria-label="Zoom"
            value={String(zoom)}
            onChange={(event) => onZoom(event.target.value === 'fit' ? 'fit' : (Number(event.target.value) as Zoom))}
          >
            <option value="fit">Fit</option>
            <option value="0.5">50%</option>
            <option value="1">100%</option>
            <option value="2">200%</option>
          </select>
          {together !== null && (
            <IconButton label="Compare view" shortcut="C" pressed={together} onClick={onTogether}>
              <TogetherIcon />
            </IconButton>
          )}
          <IconButton label="Full screen" shortcut="F" onClick={onFullscreen}>
            <FullscreenIcon />
          </IconButton>
        </div>
      </div>
    </section>
  );
}

/** The timecode of the frame on screen; typing another one goes there. */
function TimecodeField({ player, frame, labels }: { player: Player; frame: number; labels: Labelling }) {
  const [text, setText] = useState<string | null>(null);
  const [wrong, setWrong] = useState(false);
  function go() {
    const target = frameFromText(text ?? '', labels, frame);
    if (target === null) return setWrong(true);
    player.seek(target);
    setText(null);
    setWrong(false);
  }
  return (
    <input
      className={`timecode ${wrong ? 'timecode-wrong' : ''}`}
      aria-label="Timecode"
      aria-invalid={wrong || undefined}
      title="Type a timecode, a frame or +12 to go there"
      spellCheck={false}
      value={text ?? timecodeAt(frame, labels)}
      onFocus={(event) => event.currentTarget.select()}
      onChange={(event) => {
        setText(event.target.value);
        setWrong(false);
      }}
      onBlur={() => {
        setText(null);
        setWrong(false);
      }}
      onKeyDown={(event: KeyboardEvent<HTMLInputElement>) => {
        if (event.key === 'Enter') go();
        if (event.key === 'Escape') event.currentTarget.blur();
        event.stopPropagation();
      }}
    />
  );
}

function ScrubBar({
  player,
  state,
  labels,
  markers,
  chosen,
  range,
  onMarker,
}: {
  player: Player;
  state: PlayerState;
  labels: Labelling;
  markers: readonly Marker[];
  chosen: string | null;
  range: { in: number | null; out: number | null };
  onMarker: (id: string) => void;
}) {
  const bar = useRef<HTMLDivElement>(null);
  const [dragging, setDragging] = useState(false);
  const [hover, setHover] = useState<number | null>(null);
  const frames = player.frames;

  const at = (event: PointerEvent): number => {
    const box = bar.current!.getBoundingClientRect();
    return frameOnBar(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)), frames);
  };
  const percent = (value: number) => `${value * 100}%`;
  const marked =
    range.in !== null || range.out !== null
      ? barPlace(
          {
            in: Math.min(range.in ?? 0, range.out ?? frames - 1),
            out: Math.max(range.in ?? 0, range.out ?? frames - 1),
          },
          frames,
        )
      : null;
  return (
    <div className="scrub">
      <div className="scrub-marks" role="group" aria-label="Comments on the clip">
        {markers.map((marker) => {
          const place = barPlace(marker.range, frames);
          const isRange = marker.range.out > marker.range.in;
          return (
            <button
              key={marker.id}
              type="button"
              className={`marker ${isRange ? 'marker-range' : ''} ${marker.resolved ? 'marker-resolved' : ''} ${chosen === marker.id ? 'marker-chosen' : ''}`}
              style={{
                left: percent(place.left),
                width: isRange ? percent(place.width) : undefined,
                backgroundColor: marker.colour,
              }}
              title={`${timecodeAt(marker.range.in, labels)}  ${marker.label}`}
              aria-label={`Comment at ${timecodeAt(marker.range.in, labels)}: ${marker.label}`}
              data-marker={marker.range.in}
              onClick={() => onMarker(marker.id)}
            />
          );
        })}
      </div>
      <div
        ref={bar}
        className="scrub-bar"
        role="slider"
        tabIndex={0}
        aria-label="Position"
        aria-valuemin={0}
        aria-valuemax={frames - 1}
        aria-valuenow={state.frame}
        aria-valuetext={timecodeAt(state.frame, labels)}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          setDragging(true);
          player.seek(at(event));
        }}
        onPointerMove={(event) => {
          setHover(at(event));
          if (dragging) player.seek(at(event));
        }}
        onPointerUp={() => setDragging(false)}
        onPointerCancel={() => setDragging(false)}
        onPointerLeave={() => setHover(null)}
      >
        <div className="scrub-track" />
        {marked && <div className="scrub-range" style={{ left: percent(marked.left), width: percent(marked.width) }} />}
        <div className="scrub-done" style={{ width: percent((state.frame + 0.5) / frames) }} />
        <div className="scrub-head" style={{ left: percent((state.frame + 0.5) / frames) }} />
        {hover !== null && (
          <div className="scrub-hint" style={{ left: percent((hover + 0.5) / frames) }} aria-hidden="true">
            {timecodeAt(hover, labels)}
          </div>
        )}
      </div>
    </div>
  );
}
