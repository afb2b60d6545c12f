// What travels between a player and a gateway (grandstand.v1), and what follows
// from it: nothing in here keeps any state.

export const JSON_PROTOCOL = "grandstand.v1";
export const COMPACT_PROTOCOL = "grandstand.v1.bin"; // the same, counts as bytes

/** Our own close code when a connection is left to come back: not a goodbye. */
export const MOVED = 4000;
export const GOODBYE = 1000;

const BASE_MS = 1000; // the first wait is up to this
const CAP_MS = 30_000; // no wait is longer, unless the server asks for it
const LONGEST_MS = 600_000; // nobody stays away longer, whatever Retry-After says

/**
 * The wait before try number `attempt` (from 0) in ms, with full jitter, so that
 * a crowd which lost its server does not come back in waves. What the server
 * asked for comes on top.
 * @param {number} attempt @param {number} [leastMS]
 */
export function backoff(attempt, leastMS = 0) {
  return leastMS + Math.random() * Math.min(CAP_MS, BASE_MS * 2 ** attempt);
}

/**
 * The least wait in ms that a 429 or 5xx asks for.
 * @param {Response} answer
 */
export function retryAfter(answer) {
  return Math.min(1000 * positive(Number(answer.headers.get("Retry-After")), 5), LONGEST_MS);
}

/**
 * What a close code asks for.
 * @param {number} code
 * @returns {"retry" | "slowly" | "renew" | "final"}
 */
export function after(code) {
  if (code === 1008) return "slowly"; // too much was sent
  if (code === 4002 || code === 4501) return "renew"; // the token
  return code >= 4500 && code <= 4999 ? "final" : "retry";
}

/** @param {unknown} v @param {number} [otherwise] */
export const positive = (v, otherwise = 0) => (typeof v === "number" && v > 0 ? v : otherwise);

/** @param {unknown} v */
const text = (v) => (typeof v === "string" ? v : "");

/** @param {string} body @returns {any} an object, without our members for whatever is none */
export function parse(body) {
  try {
    return Object(JSON.parse(body));
  } catch {
    return {};
  }
}

/**
 * Why a request had no answer that this page may read: a browser does not say.
 * @param {string | URL} url
 * @returns {Promise<{code: "unavailable" | "forbidden", message: string}>}
 */
export async function unanswered(url) {
  const { host } = new URL(url);
  try {
    await fetch(url, { mode: "no-cors", cache: "no-store" });
  } catch {
    return { code: "unavailable", message: `no answer from ${host}: check the address, and that it runs` };
  }
  return { code: "forbidden", message: `${host} serves no pages of ${globalThis.location?.origin}: its operator lists that in --origins` };
}

/** What to say of an answer that is in no form of ours. @type {string} */
export const STRANGE = "this is no gateway of grandstand.v1: check the address, and its release";

/**
 * @typedef {object} Count
 * @property {number} sessions streams that play now, counted exactly
 * @property {number} fans distinct viewers, an estimate (standard error 0.8 %)
 *
 * @typedef {object} Counts
 * @property {number} at Unix ms of the state that was counted
 * @property {number} age of it in ms when it came
 * @property {number} epoch
 * @property {"live" | "partial" | "stale" | "final"} quality
 * @property {Record<string, Count | null>} segments by dimension, "world" among
 *   them; null for one that is too small to be shown
 */

/**
 * @param {any} m the message "counts"
 * @returns {Counts | null}
 */
export function counts(m) {
  if (!m.n || typeof m.at !== "number") return null;
  /** @type {Record<string, Count | null>} */
  const segments = {};
  for (const [dim, c] of Object.entries(m.n)) segments[dim] = Array.isArray(c) ? { sessions: +c[0], fans: +c[1] } : null;
  return { at: m.at, age: positive(m.age), epoch: positive(m.epoch), quality: QUALITIES.find((q) => q === m.q) || "live", segments };
}

/** @type {Counts["quality"][]} */
const QUALITIES = ["live", "partial", "stale", "final"];

/**
 * Reads the message "counts" of COMPACT_PROTOCOL.
 * @param {ArrayBuffer} buffer @param {string[]} dims those of hello
 * @returns {Counts | null}
 */
export function compactCounts(buffer, dims) {
  const b = new Uint8Array(buffer);
  if (b[0] !== 1 || b[1] > 3) return null;
  let i = 2;
  const number = () => {
    for (let v = 0, unit = 1; ; unit *= 128) {
      const c = b[i++]; // beyond the end: undefined, and the message is refused below
      v += (c & 127) * unit;
      if (!(c > 127)) return v;
    }
  };
  const at = number(), epoch = number();
  /** @type {Counts["segments"]} */
  const segments = {};
  for (const dim of dims) {
    const sessions = number() - 1;
    const z = sessions < 0 ? 0 : number();
    segments[dim] = sessions < 0 ? null : { sessions, fans: sessions + (z % 2 ? -(z + 1) / 2 : z / 2) };
  }
  const age = number();
  return i === b.length ? { at, age, epoch, quality: QUALITIES[b[1]], segments } : null;
}

/**
 * @typedef {object} Conflict a device that plays instead
 * @property {string} device @property {string} name @property {string} event
 * @property {number} since Unix ms @property {string} code for takeover
 *
 * @typedef {object} Refusal why this session may not play
 * @property {string} code device_limit, taken_over, superseded, signed_out, too_many_devices, unavailable
 * @property {string} message one English sentence for the viewer
 * @property {string} rule @property {number} limit @property {number} current
 * @property {string} by the name of the device that took the place
 * @property {Conflict[]} conflicts oldest first
 * @property {number} retryMS
 * @property {boolean} final it does not end by itself, but by takeover()
 */

/**
 * @param {any} m the message "blocked", or the body of a 409 or 410
 * @returns {Refusal} whatever was sent, its fields have their types
 */
export function refusal(m) {
  /** @type {any[]} */
  const list = Array.isArray(m.conflicts) ? m.conflicts.filter((/** @type {any} */ c) => c && typeof c === "object") : [];
  return {
    code: text(m.code), message: text(m.message), rule: text(m.rule), by: text(m.by),
    limit: positive(m.limit), current: positive(m.current), retryMS: positive(m.retry_ms),
    conflicts: list
      .map((c) => ({ device: text(c.device), name: text(c.name), event: text(c.event), since: positive(c.since), code: text(c.termination_code) }))
      .sort((a, b) => a.since - b.since),
    final: ["taken_over", "superseded", "signed_out"].includes(m.code),
  };
}
