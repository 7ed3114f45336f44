import { type ReactNode, useEffect, useLayoutEffect, useRef, useState } from 'react';
import type { Player, PlayerState } from './player.js';
import type { Version } from './state.js';
import { Blank, Button } from '../../ui/parts.jsx';
import { WarningIcon } from '../../ui/icons.jsx';

/** Between two pictures side by side. */
const GAP = 4;

export type Zoom = 'fit' | 0.5 | 1 | 2;

/** The picture at its own proportions in whatever room there is, with the drawings' sheet exactly over it. */
export function Viewer({
  media,
  useOriginal,
  player,
  playback,
  zoom,
  onZoom,
  beside = null,
  besideAs = null,
  children,
}: {
  media: Version['media'];
  /** The transcode failed or isn't done, but the browser may play the upload itself. */
  useOriginal: boolean;
  player: Player | null;
  playback: PlayerState | null;
  zoom: Zoom;
  onZoom: (zoom: Zoom) => void;
  /** A second picture, given the size of the first on the page. */
  beside?: ((size: { width: number; height: number }) => ReactNode) | null;
  /** Where it is: at its side, or over it. */
  besideAs?: 'SIDE' | 'OVER' | null;
  children: (aspect: number) => ReactNode;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const [room, setRoom] = useState({ width: 0, height: 0 });
  const [attempt, setAttempt] = useState(0);
  const size = { width: media.width ?? 1920, height: media.height ?? 1080 };
  const aspect = size.width / size.height;

  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setRoom({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(frame.current!);
    return () => observer.disconnect();
  }, []);

  // Signed addresses change with every answer of the api; the player keeps what it has until that is refused.
  const hlsUrl = useOriginal ? null : media.hlsUrl;
  const fileUrl = useOriginal ? media.originalUrl : (media.proxyUrl ?? media.originalUrl);
  useEffect(() => {
    if (!player || !video.current) return;
    return player.attach(video.current, { hlsUrl, fileUrl });
  }, [player, hlsUrl, fileUrl, attempt]);

  const fit = (columns: number, rows: number) =>
    Math.min(
      (room.width - GAP * (columns - 1)) / columns / size.width,
      (room.height - GAP * (rows - 1)) / rows / size.height,
    );
  const two = besideAs === 'SIDE';
  // One above the other where the room is that narrow.
  const stacked = two && fit(1, 2) > 1.8 * fit(2, 1);
  const fitted =
    zoom === 'fit'
      ? stacked
        ? fit(1, 2)
        : fit(two ? 2 : 1, 1)
      : zoom / (typeof devicePixelRatio === 'number' ? devicePixelRatio : 1);
  const shown = { width: Math.floor(size.width * fitted), height: Math.floor(size.height * fitted) };
  const still = media.kind === 'IMAGE';
  return (
    <div className="viewer" ref={frame}>
      <div className={`viewer-scroll ${zoom === 'fit' ? '' : 'viewer-zoomed'}`}>
        <div
          className={`pictures ${besideAs ? `pictures-${besideAs.toLowerCase()}` : ''} ${stacked ? 'pictures-stacked' : ''}`}
        >
          <div
            className="picture"
            style={{ width: shown.width || undefined, height: shown.height || undefined }}
            data-presented-frame={playback?.presented ?? ''}
            onDoubleClick={() => onZoom(zoom === 'fit' ? 1 : 'fit')}
          >
            {still ? (
              <img src={media.proxyUrl ?? media.posterUrl ?? media.originalUrl ?? ''} alt="The version’s picture" />
            ) : (
              <video
                ref={video}
                poster={playback?.ready ? undefined : (media.posterUrl ?? undefined)}
                playsInline
                preload="auto"
                controls={player === null}
                tabIndex={-1}
              />
            )}
            {shown.width > 0 && children(aspect)}
            {playback && !playback.ready && playback.failed === null && (
              <span className="spinner spinner-large picture-wait" />
            )}
            {playback?.ready && playback.waiting && playback.speed !== 0 && (
              <span className="spinner spinner-large picture-wait" />
            )}
          </div>
          {beside?.(shown)}
        </div>
      </div>
      {playback?.failed != null && (
        <div className="viewer-cover">
          <Blank
            icon={<WarningIcon size={28} />}
            title="The picture doesn’t play"
            action={<Button onClick={() => setAttempt(attempt + 1)}>Try again</Button>}
          >
            {playback.failed}
          </Blank>
        </div>
      )}
    </div>
  );
}
