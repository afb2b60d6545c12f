// What a <video> or <audio> element is doing, in the words of a beat.

/** @typedef {"starting" | "playing" | "paused" | "buffering" | "ended"} PlayState */

const MOVING = ["playing", "pause", "waiting", "stalled", "seeking", "seeked", "ended", "error", "loadstart", "emptied", "canplay", "play", "canplaythrough"];

const AUTOPLAY_MS = 1000;

/** @param {HTMLMediaElement} v @returns {PlayState} */
export function stateOf(v) {
  if (v.ended) return "ended";
  if (v.readyState === 0 || (v.played.length === 0 && v.currentTime === 0)) return v.paused && v.readyState ? "paused" : "starting";
  if (v.paused) return "paused";
  // HAVE_FUTURE_DATA: below it, the next frame is not there.
  return v.seeking || v.readyState < 3 ? "buffering" : "playing";
}

/**
 * Watches a media element. changed is called when its state does, track with what
 * is worth an event of its own: startup, rebuffer, seek, error.
 */
export class VideoWatch {
  _video;
  _changed;
  _track;
  _since = performance.now();
  _started;
  _tried; // when it began to try to play, 0: it does not
  _could = Infinity; // when all was there to play
  _seekFrom = -1;
  /** @type {[number, number]} */
  _decoded;

  /**
   * @param {HTMLMediaElement} video
   * @param {() => void} changed
   * @param {(name: string, data: object) => void} track
   * @param {AbortSignal} signal ends it
   */
  constructor(video, changed, track, signal) {
    this._video = video;
    this._changed = changed;
    this._track = track;
    this.state = stateOf(video);
    this._started = this.state === "playing" || video.played.length > 0;
    // With autoplay "play" comes with the first picture, and it was tried before.
    this._tried = !video.paused || (video.autoplay && video.readyState < 4) ? this._since : 0;
    this._decoded = [this._since, decodedBytes(video)];
    for (const name of MOVING) video.addEventListener(name, () => this._saw(name), { signal });
  }

  /** @param {string} type of an event */
  _saw(type) {
    const now = performance.now(), was = this.state, took = Math.round(now - this._since);
    if (type === "canplaythrough") this._could = now;
    if (type === "pause") this._tried = 0;
    // An autoplay that was allowed comes when all is there, and right after: Chromium looks whether the video is in view.
    if (type === "play" && (!this._tried || this._video.readyState < 4 || now - this._could > AUTOPLAY_MS)) this._tried = now;
    if (type === "error") this._track("error", { code: this._video.error?.code || 0 });
    if (type === "seeking" && this._seekFrom < 0) this._seekFrom = now;
    if (type === "seeked" && this._seekFrom >= 0) {
      this._track("seek", { ms: Math.round(now - this._seekFrom), to: position(this._video) });
      this._seekFrom = -1;
    }
    const is = stateOf(this._video);
    if (is === was) return;
    this.state = is;
    this._since = now;
    if (is === "playing" && !this._started) {
      this._started = true;
      this._track("startup", { ms: Math.round(now - (this._tried || now)) });
    } else if (is === "playing" && was === "buffering" && this._seekFrom < 0 && type !== "seeked") {
      this._track("rebuffer", { ms: took });
    }
    this._changed();
  }

  /** The bitrate since the last call in kbit/s, 0 if the browser does not tell. */
  bitrate() {
    const [then, before] = this._decoded, now = performance.now(), bytes = decodedBytes(this._video);
    this._decoded = [now, bytes];
    return this.state === "playing" && bytes > before ? Math.round(((bytes - before) * 8) / (now - then)) : 0;
  }
}

/** @param {HTMLMediaElement} v @returns {number | undefined} seconds; undefined if there is no such thing, or it is a time of day, which servers refuse */
export const position = (v) => (v.currentTime <= 1e9 ? Math.round(v.currentTime * 1000) / 1000 : undefined);

/** Chromium and Safari count what they decode. @param {any} v */
const decodedBytes = (v) => (v.webkitVideoDecodedByteCount || 0) + (v.webkitAudioDecodedByteCount || 0);
