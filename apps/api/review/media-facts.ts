import type { MediaFacts } from '#libs/events/catalogue/index.js';
import type { MediaInfo } from '#libs/media/index.js';

/** From what the probe found to what the event keeps: sizes as shown, upright and with square pixels. */
export function toMediaFacts(info: MediaInfo): MediaFacts {
  return {
    kind: info.kind,
    container: info.container,
    mime: info.mime,
    durationFrames: info.durationFrames,
    durationSeconds: info.durationSeconds,
    rate: info.rate,
    startTimecode: info.startTimecode?.text ?? null,
    dropFrame: info.startTimecode?.dropFrame ?? false,
    width: info.video?.displayWidth ?? null,
    height: info.video?.displayHeight ?? null,
    videoCodec: info.video?.codec ?? null,
    audioTracks: info.audio.length,
  };
}
