/**
 * The picture's clock: one video element, driven by whole frames. The frame shown to people is an integer; the element's seconds
 * are only set to the middle of a frame and only read through requestVideoFrameCallback.
 */
import type HlsType from 'hls.js';
import { clampFrame, frameAtMediaTime, frameMiddle, shuttle } from '../../media/frames.js';
import type { Rate } from '../../media/timecode.js';

export interface Source {
  readonly hlsUrl: string | null;
  readonly fileUrl: string | null;
}

export interface PlayerState {
  /** The frame asked for or playing, 0 the first. */
  readonly frame: number;
  /** The frame the screen shows, by its own presentation time; null before the first. */
  readonly presented: number | null;
  /** 0 when standing; negative backwards. */
  readonly speed: number;
  readonly ready: boolean;
  readonly waiting: boolean;
  readonly failed: string | null;
  readonly muted: boolean;
  readonly loop: { readonly in: number; readonly out: number } | null;
  /** Heights of the renditions, best first; empty when there is but one. */
  readonly qualities: readonly number[];
  /** Chosen height, null for automatic. */
  readonly quality: number | null;
}

/** How long a seek may take before the next one is sent all the same. */
const SEEK_PATIENCE_MS = 600;

/** A player that is led catches up by its speed; further away than this it jumps. */
const FOLLOW_JUMP_SECONDS = 0.2;

const INITIAL: PlayerState = {
  frame: 0,
  presented: null,
  speed: 0,
  ready: false,
  waiting: false,
  failed: null,
  muted: false,
  loop: null,
  qualities: [],
  quality: null,
};

export class Player {
  #state: PlayerState = INITIAL;
  readonly #listeners = new Set<() => void>();
  #video: HTMLVideoElement | null = null;
  #hls: HlsType | null = null;
  #offset = 0;
  /** The frame the element was sent to and hasn't shown yet. */
  #seeking: number | null = null;
  #sentAt = 0;
  #catchUp: ReturnType<typeof setTimeout> | undefined;
  #reverse: number | null = null;
  #frameCallback: number | null = null;
  #attachment = 0;
  #refreshes = 0;

  constructor(
    readonly rate: Rate,
    readonly frames: number,
    /** Asks for fresh signed addresses when these have expired. */
    private readonly renew: () => void,
  ) {}

  state = (): PlayerState => this.#state;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  #set(change: Partial<PlayerState>): void {
    const keys = Object.keys(change) as (keyof PlayerState)[];
    if (keys.every((key) => Object.is(change[key], this.#state[key]))) return;
    this.#state = { ...this.#state, ...change };
    this.#listeners.forEach((listener) => listener());
  }

  /** Takes hold of an element and begins to load. Returns what lets go. */
  attach(video: HTMLVideoElement, source: Source): () => void {
    const attachment = ++this.#attachment;
    this.#video = video;
    const listeners: [keyof HTMLVideoElementEventMap, () => void][] = [
      ['loadeddata', () => this.#loaded()],
      ['seeked', () => this.#settle()],
      ['play', () => this.#watch()],
      ['ended', () => this.#ended()],
      ['pause', () => this.#paused()],
      ['waiting', () => this.#set({ waiting: true })],
      ['playing', () => this.#set({ waiting: false })],
      ['canplay', () => this.#set({ waiting: false })],
      ['volumechange', () => this.#set({ muted: video.muted })],
      ['error', () => this.#broken(video.error?.message || 'The browser can’t play this file.')],
    ];
    for (const [name, listener] of listeners) video.addEventListener(name, listener);
    this.#seeking = null;
    this.#set({ ready: false, failed: null, presented: null });
    this.#watch();
    void this.#load(attachment, source);
    return () => {
      this.#attachment++;
      this.#stopReverse();
      clearTimeout(this.#catchUp);
      for (const [name, listener] of listeners) video.removeEventListener(name, listener);
      if (this.#frameCallback !== null) video.cancelVideoFrameCallback?.(this.#frameCallback);
      this.#frameCallback = null;
      this.#hls?.destroy();
      this.#hls = null;
      video.removeAttribute('src');
      video.load();
      this.#video = null;
    };
  }

  async #load(attachment: number, source: Source): Promise<void> {
    if (source.hlsUrl !== null) {
      const { default: Hls, Events, ErrorTypes } = await import('hls.js');
      if (attachment !== this.#attachment || !this.#video) return;
      if (Hls.isSupported()) {
        const hls = new Hls({
          // Its worker comes from a blob address, which the page's policy doesn't allow.
          enableWorker: false,
          maxBufferLength: 30,
          backBufferLength: 60,
          // Review is about the picture: begin with the good rendition, fall back if the line can't carry it.
          abrEwmaDefaultEstimate: 8_000_000,
        });
        this.#hls = hls;
        hls.on(Events.MANIFEST_PARSED, () => {
          const heights = [...new Set(hls.levels.map(({ height }) => height))].filter(Boolean).sort((a, b) => b - a);
          this.#set({ qualities: heights.length > 1 ? heights : [] });
          if (this.#state.quality !== null) this.chooseQuality(this.#state.quality);
        });
        hls.on(Events.ERROR, (_, error) => {
          const status = error.response?.code ?? 0;
          if (status === 403 || status === 410) this.#expired();
          else if (error.fatal && error.type === ErrorTypes.MEDIA_ERROR) hls.recoverMediaError();
          else if (error.fatal) this.#broken(`The picture can’t be loaded (${error.details}).`);
        });
        hls.loadSource(source.hlsUrl);
        hls.attachMedia(this.#video);
        return;
      }
      if (this.#video.canPlayType('application/vnd.apple.mpegurl') !== '') {
        this.#video.src = source.hlsUrl;
        return;
      }
    }
    if (source.fileUrl !== null && this.#video) this.#video.src = source.fileUrl;
    else this.#set({ failed: 'There is no copy of this version that the browser can play.' });
  }

  #loaded(): void {
    const video = this.#video;
    if (!video) return;
    this.#refreshes = 0;
    this.#set({ ready: true, waiting: false, muted: video.muted });
    // Somebody may have asked for a frame meanwhile. The first picture on screen tells where frame 0 is: #watch goes on then.
    const told = this.#state.presented !== null || !('requestVideoFrameCallback' in video);
    if (told && this.#state.frame > 0) this.#go(this.#state.frame);
  }

  #expired(): void {
    // A second refusal right after fresh addresses is no expiry.
    if (this.#refreshes >= 2) return this.#broken('The server refuses this picture.');
    this.#refreshes++;
    this.renew();
  }

  #broken(reason: string): void {
    if (this.#hls === null && this.#video?.error?.code === MediaError.MEDIA_ERR_NETWORK) return this.#expired();
    // A single file's expired address looks like an unsupported one: try fresh addresses once.
    if (this.#hls === null && this.#refreshes === 0) return this.#expired();
    this.#set({ failed: reason, speed: 0 });
  }

  /** Reads the frame on screen, again and again. */
  #watch(): void {
    const video = this.#video;
    if (!video || this.#frameCallback !== null) return;
    if (!('requestVideoFrameCallback' in video)) return this.#watchClock();
    this.#frameCallback = video.requestVideoFrameCallback((_, { mediaTime }) => {
      this.#frameCallback = null;
      if (this.#video !== video) return;
      // Frame 0 may be presented a little after 0 (priming sound, B-frames); everything is measured from there.
      const first = this.#state.presented === null && this.#seeking === null;
      if (first && video.currentTime === 0 && mediaTime < 0.5) this.#offset = mediaTime;
      const presented = clampFrame(frameAtMediaTime(mediaTime, this.rate, this.#offset), this.frames);
      const { loop, speed } = this.#state;
      if (first && video.paused) {
        this.#set({ presented });
        if (this.#state.frame !== presented) this.#go(this.#state.frame);
      } else if (this.#seeking !== null) {
        this.#set({ presented });
        if (presented === this.#seeking) this.#settle();
      } else if (!video.paused && speed > 0) {
        this.#set({ presented, frame: presented });
        if (loop && presented >= loop.out) this.#go(loop.in);
        // The last frame is the end, also when the element waits for more.
        else if (presented === this.frames - 1) this.#ended();
      } else this.#set({ presented });
      this.#watch();
    });
  }

  /** For browsers without frame callbacks: the clock, read at every repaint. */
  #watchClock(): void {
    const video = this.#video;
    if (!video) return;
    this.#frameCallback = requestAnimationFrame(() => {
      this.#frameCallback = null;
      if (this.#video !== video) return;
      const presented = clampFrame(
        Math.floor(((video.currentTime - this.#offset) * this.rate.num) / this.rate.den + 0.01),
        this.frames,
      );
      this.#set(video.paused ? { presented } : { presented, frame: presented });
      if (!video.paused) this.#watchClock();
    });
  }

  /** Shows a frame. While a seek is under way only the last one asked for counts. */
  seek(frame: number): void {
    this.#stopReverse();
    this.#video?.pause();
    this.#set({ speed: 0 });
    this.#go(clampFrame(frame, this.frames));
  }

  step(frames: number): void {
    this.seek(this.#state.frame + frames);
  }

  #go(frame: number): void {
    this.#set({ frame });
    if (!this.#video || !this.#state.ready) return;
    if (this.#seeking !== null) {
      // Only the last frame asked for counts, so one seek at a time; but one that never ends (Chromium at the end of a
      // stream whose sound is shorter) must not hold up the next.
      const left = this.#sentAt + SEEK_PATIENCE_MS - performance.now();
      if (left > 0) {
        clearTimeout(this.#catchUp);
        this.#catchUp = setTimeout(() => this.#settle(), left);
        return;
      }
    }
    this.#seeking = frame;
    this.#sentAt = performance.now();
    this.#video.currentTime = frameMiddle(frame, this.rate, this.#offset);
  }

  #settle(): void {
    const was = this.#seeking;
    clearTimeout(this.#catchUp);
    this.#seeking = null;
    const standing = this.#video?.paused ?? true;
    if (was !== null && was !== this.#state.frame && standing) this.#go(this.#state.frame);
  }

  toggle(): void {
    if (this.#state.speed === 0) this.play(1);
    else this.pause();
  }

  /** Plays at a speed; negative ones run backwards frame by frame. */
  play(speed: number): void {
    const video = this.#video;
    if (!video || !this.#state.ready) return;
    this.#stopReverse();
    if (speed < 0) {
      video.pause();
      this.#set({ speed });
      return this.#runBackwards(speed);
    }
    const { loop, frame } = this.#state;
    if (loop && (frame < loop.in || frame >= loop.out)) this.#go(loop.in);
    else if (frame >= this.frames - 1) this.#go(0);
    video.playbackRate = speed;
    this.#set({ speed });
    video.play().catch((error: unknown) => {
      // A newer command paused it meanwhile; anything else means that it may not play.
      if (!(error instanceof DOMException && error.name === 'AbortError')) this.#set({ speed: 0 });
    });
  }

  pause(): void {
    this.#stopReverse();
    const { presented, speed } = this.#state;
    this.#video?.pause();
    this.#set({ speed: 0 });
    // Stand on exactly the frame that was seen last.
    if (speed > 0 && presented !== null) this.#go(presented);
  }

  shuttle(direction: 1 | -1): void {
    this.play(shuttle(this.#state.speed, direction));
  }

  /** Led by another player: stands on `frame`, or plays at `speed` and keeps to where the other is now. */
  follow(frame: number, speed: number): void {
    const target = clampFrame(frame, this.frames);
    const video = this.#video;
    const { presented, speed: own, ready } = this.#state;
    if (!video || !ready || speed <= 0 || target === this.frames - 1) {
      if (own !== 0 || this.#state.frame !== target) this.seek(target);
      return;
    }
    const late = presented === null ? 0 : target - presented;
    const far = Math.abs(late) > Math.max(2, (FOLLOW_JUMP_SECONDS * this.rate.num) / this.rate.den);
    if (own <= 0 || video.paused || (far && performance.now() - this.#sentAt > SEEK_PATIENCE_MS)) {
      this.#stopReverse();
      this.#set({ frame: target });
      if (late !== 0) {
        this.#seeking = target;
        this.#sentAt = performance.now();
        video.currentTime = frameMiddle(target, this.rate, this.#offset);
      }
    }
    video.playbackRate = speed * Math.min(1.25, Math.max(0.75, 1 + late * 0.04));
    if (own === speed && !video.paused) return;
    this.#set({ speed });
    video.play().catch((error: unknown) => {
      if (!(error instanceof DOMException && error.name === 'AbortError')) this.#set({ speed: 0 });
    });
  }

  #runBackwards(speed: number): void {
    let last = performance.now();
    let rest = 0;
    const tick = (now: number) => {
      if (this.#reverse === null) return;
      rest += ((now - last) / 1000) * -speed * (this.rate.num / this.rate.den);
      last = now;
      const whole = Math.floor(rest);
      if (whole > 0 && !(this.#video?.seeking ?? false)) {
        rest -= whole;
        const frame = this.#state.frame - whole;
        if (frame <= 0) {
          this.#stopReverse();
          this.#set({ speed: 0 });
          return this.#go(0);
        }
        this.#go(frame);
      }
      this.#reverse = requestAnimationFrame(tick);
    };
    this.#reverse = requestAnimationFrame(tick);
  }

  #stopReverse(): void {
    if (this.#reverse !== null) cancelAnimationFrame(this.#reverse);
    this.#reverse = null;
  }

  #ended(): void {
    const { loop } = this.#state;
    if (loop) return this.play(1);
    this.#set({ speed: 0, frame: this.frames - 1, waiting: false });
    this.#video?.pause();
  }

  #paused(): void {
    // The browser paused it (a media key, another tab): follow.
    if (this.#reverse === null && this.#state.speed > 0 && !(this.#video?.ended ?? false)) this.#set({ speed: 0 });
  }

  setLoop(loop: { in: number; out: number } | null): void {
    this.#set({ loop });
  }

  toggleMuted(): void {
    if (this.#video) this.#video.muted = !this.#video.muted;
  }

  setMuted(muted: boolean): void {
    if (this.#video) this.#video.muted = muted;
  }

  /** Null lets the line decide. */
  chooseQuality(height: number | null): void {
    this.#set({ quality: height });
    if (!this.#hls) return;
    this.#hls.currentLevel = height === null ? -1 : this.#hls.levels.findIndex((level) => level.height === height);
  }
}
