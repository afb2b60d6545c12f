// Where elements have their numbers from, if not from a play of the page's own:
// one stream of Server-Sent Events for all elements that show the same event. It
// only reads: whoever looks at an overlay is not counted by it.

import { STRANGE, backoff, parse, unanswered } from "./protocol.js";

/**
 * @typedef {object} Shown one segment
 * @property {number} sessions @property {number} fans
 * @property {number} [peak] sessions at most, since the event began
 * @property {number} [reach] distinct viewers since the event began, an estimate
 *
 * @typedef {object} Board
 * @property {number} at Unix ms of the state that was counted
 * @property {number} age ms when it came
 * @property {number} arrived when that was, of performance.now(): it may be shown again later, and is no younger then
 * @property {"live" | "partial" | "stale" | "final" | ""} quality "": there is none yet
 * @property {Map<string, Shown | null | undefined>} segments by "team:KC" or "world"; null for one too small to be shown
 * @property {number} [least] what null is less than
 * @property {string} [trouble] a sentence: why there are no numbers
 */

const WAIT_MS = 100; // for elements that come at once to share a stream
const MOST = 16; // segments of a stream, as servers have it
const TOO_MANY = `A page shows at most ${MOST} segments of an event, and this is one more.`;

/** @type {Board} */
const NONE = { at: 0, age: 0, arrived: 0, quality: "", segments: new Map() };

/** @type {Map<string, Source>} */
const sources = new Map();

/**
 * @param {string} base .../v1/events/{event} @param {string} key for reading, "" if none
 * @param {string} dim of which all segments are wanted, "" if certain ones are
 * @returns {Source}
 */
export function sourceOf(base, key, dim) {
  const name = [base, key, dim].join(" ");
  const s = sources.get(name) || new Source(base, key, dim);
  sources.set(name, s);
  return s;
}

class Source {
  /** @param {string} base @param {string} key @param {string} dim */
  constructor(base, key, dim) {
    this.base = base;
    this.key = key;
    this.dim = dim;
    /** @type {Map<(b: Board) => void, string[]>} */
    this.readers = new Map();
    this.attempt = 0;
    this.open = "";
    /** @type {string[]} segments that are too many */
    this.cut = [];
    this.board = NONE;
  }

  /** @param {string[]} segments @param {(b: Board) => void} show @returns {() => void} stops */
  follow(segments, show) {
    this.readers.set(show, segments);
    this.tell(show, segments);
    this.soon(WAIT_MS);
    return () => {
      this.readers.delete(show);
      this.soon(WAIT_MS);
    };
  }

  /** @param {number} ms */
  soon(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), ms);
  }

  connect() {
    const all = this.dim ? (this.readers.size ? [this.dim] : []) : [...new Set([...this.readers.values()].flat())].sort();
    const segments = all.slice(0, MOST).join(",");
    this.cut = all.slice(MOST);
    if (this.cut.length) this.show(this.board);
    if (segments === this.open && this.stream) return;
    this.stream?.close();
    this.stream = undefined;
    this.open = segments;
    if (!segments) return;
    const url = new URL(this.base + "/counts/stream");
    url.searchParams.set(this.dim ? "dim" : "segment", segments);
    if (this.key) url.searchParams.set("key", this.key);
    const stream = (this.stream = new EventSource(url));
    stream.onmessage = (e) => {
      this.attempt = 0;
      this.take(parse(e.data));
    };
    stream.onerror = () => {
      const closed = stream.readyState === EventSource.CLOSED; // else it comes back by itself
      if (closed && this.stream === stream) this.stream = undefined;
      if (closed || !this.board.quality) this.ask(url, closed);
    };
  }

  /** Asks why there is no stream: a browser does not say. @param {URL} url @param {boolean} again try the stream later */
  async ask(url, again) {
    const once = new URL(String(url).replace("/stream", ""));
    let status = 0;
    let said;
    try {
      const answer = await fetch(once, { cache: "no-store" });
      status = answer.status;
      said = parse(await answer.text());
    } catch {
      said = await unanswered(once);
    }
    if (typeof said.dims === "object" && said.dims) this.take(said);
    else this.show({ ...this.board, trouble: sentence(said.message) });
    if (again && this.board.quality !== "final") this.soon(backoff(this.attempt++, status === 404 || status === 401 ? 10_000 : 1000));
  }

  /** @param {any} m GET counts */
  take(m) {
    if (typeof m.dims !== "object" || !m.dims) return;
    /** @type {Board["segments"]} */
    const segments = new Map();
    /** @param {string} segment @param {any} c whatever was sent; what is no count is as if it were not there */
    const put = (segment, c) => (c === null || typeof c?.sessions === "number") && segments.set(segment, c);
    for (const [dim, of] of Object.entries(m.dims)) {
      if (dim === "world") put(dim, of);
      else if (of && typeof of === "object") for (const [value, c] of Object.entries(of)) put(dim + ":" + value, c);
    }
    this.show({ at: m.at, age: m.age_ms, arrived: performance.now(), quality: m.quality, segments, least: m.min_cohort });
  }

  /** @param {Board} b */
  show(b) {
    this.board = b;
    for (const reader of this.readers) this.tell(...reader);
  }

  /** @param {(b: Board) => void} show @param {string[]} segments */
  tell(show, segments) {
    const { board } = this, cut = segments.some((s) => this.cut.includes(s));
    if (cut) show({ ...NONE, trouble: TOO_MANY });
    else if (board.quality || board.trouble) show(board);
  }
}

/** @param {unknown} message of a server, which begins small and has no end */
function sentence(message) {
  const words = message && typeof message === "string" ? message : STRANGE;
  return words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}
