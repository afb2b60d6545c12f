// What is known of the audience: the newest board, and how each segment was a
// minute ago. It knows nothing of the page.

const MINUTE_MS = 60_000;
const SAMPLE_MS = 4_000; // between two boards that are remembered

/**
 * @typedef {object} Count one segment, as GET counts says it
 * @property {number} sessions @property {number} fans @property {number} peak @property {number} reach
 *
 * @typedef {"live" | "partial" | "stale" | "final"} Quality
 *
 * @typedef {object} Change
 * @property {number} by sessions
 * @property {number} over ms: a minute, or less while the page is young
 *
 * @typedef {object} Mover
 * @property {string} segment @property {number} by sessions
 */

export class Model {
  constructor() {
    this.at = 0; // Unix ms of the state that was counted; 0: there is no board
    this.epoch = 0;
    /** @type {Quality} */
    this.quality = "stale";
    this.coverage = 1;
    this.arrived = 0; // ms of performance.now()
    this.age = 0; // ms when it arrived
    /** @type {Map<string, Map<string, Count>>} by dimension and value, without the world */
    this.dims = new Map();
    /** @type {Count} */
    this.world = { sessions: 0, fans: 0, peak: 0, reach: 0 };
    /** @type {{at: number, of: Map<string, number>}[]} sessions by segment, oldest first */
    this.samples = [];
  }

  /** As if there had been no board. */
  clear() {
    Object.assign(this, new Model());
  }

  /**
   * Takes a board: the object of GET counts.
   * @param {any} m @param {number} now of performance.now()
   * @returns {boolean} whether it was one
   */
  take(m, now) {
    if (!m || typeof m !== "object" || !m.dims?.world || !(m.at > 0)) return false;
    // Another epoch begins where its predecessor may have ended in the future.
    if (m.epoch !== this.epoch || m.at < this.at) this.samples = [];
    this.epoch = m.epoch;
    this.at = m.at;
    this.age = m.age_ms;
    this.arrived = now;
    this.quality = m.quality;
    this.coverage = m.coverage ?? 1;
    this.world = m.dims.world;
    const dims = new Map();
    for (const [dim, values] of Object.entries(m.dims)) {
      if (dim === "world" || !values || typeof values !== "object") continue;
      dims.set(dim, new Map(Object.entries(values).filter(([, c]) => typeof c?.sessions === "number"))); // not those that are folded
    }
    this.dims = dims;
    this.remember();
    return true;
  }

  remember() {
    const last = this.samples.at(-1);
    if (last && this.at - last.at < SAMPLE_MS) return;
    const of = new Map([["world", this.world.sessions]]);
    for (const [dim, values] of this.dims) for (const [value, c] of values) of.set(`${dim}:${value}`, c.sessions);
    this.samples.push({ at: this.at, of });
    // The one that is a minute old stays, and all that are younger.
    while (this.samples.length > 1 && this.samples[1].at <= this.at - MINUTE_MS) this.samples.shift();
  }

  /** @param {string} segment "world" or "team:KC" @returns {Count | undefined} */
  count(segment) {
    if (segment === "world") return this.world;
    const [dim, value] = split(segment);
    return this.dims.get(dim)?.get(value);
  }

  /** How the segment changed in a minute. @param {string} segment @returns {Change | null} null: not known yet */
  change(segment) {
    const before = this.samples[0];
    if (!before || before.at === this.at) return null;
    return { by: (this.count(segment)?.sessions ?? 0) - (before.of.get(segment) ?? 0), over: this.at - before.at };
  }

  /**
   * The segments that changed most in a minute. Crosses are left out: they move
   * with what they are made of.
   * @param {number} most of each @returns {{up: Mover[], down: Mover[], over: number}}
   */
  movers(most) {
    const before = this.samples[0];
    /** @type {Mover[]} */
    const all = [];
    if (before) {
      for (const [dim, values] of this.dims) {
        if (dim.includes("+")) continue;
        for (const [value, c] of values) {
          const segment = `${dim}:${value}`;
          all.push({ segment, by: c.sessions - (before.of.get(segment) ?? 0) });
        }
      }
      for (const [segment, n] of before.of) {
        if (segment !== "world" && !segment.includes("+") && !this.count(segment)) all.push({ segment, by: -n });
      }
    }
    all.sort((a, b) => b.by - a.by);
    return {
      up: all.slice(0, most).filter((m) => m.by > 0),
      down: all.slice(-most).filter((m) => m.by < 0).reverse(),
      over: before ? this.at - before.at : 0,
    };
  }

  /** The age of the numbers in ms, by this machine's steady clock. @param {number} now of performance.now() */
  ageAt(now) {
    return this.age + now - this.arrived;
  }
}

/** @param {string} segment "team:KC" @returns {[string, string]} */
export function split(segment) {
  const i = segment.indexOf(":");
  return i < 0 ? [segment, ""] : [segment.slice(0, i), segment.slice(i + 1)];
}
