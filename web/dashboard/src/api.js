// The way to the gateway: requests with the operator's token, and the stream of
// boards, which comes back by itself. The token goes in a header, never into a
// URL.

import { recall, remember } from "./storage.js";

const TOKEN = "grandstand.token"; // of sessionStorage: it ends with the tab
const ANSWER_MS = 10_000;
const SILENT_MS = 35_000; // a stream says something every 15 s
const STEADY_MS = 10_000; // a stream that lasted so long was a good one
const CAP_MS = 20_000;
const ABSENT_MS = 4_000; // on top, for an event that is not there
const STRANGE = "This server does not answer as this page has it: it is of another release, or no gateway.";

/** An answer that is not the one wanted. Its message is a sentence of the server, or of what is strange about it. */
export class Problem extends Error {
  /** @param {number} status 0: nobody answered; 200: with something else @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let shown = recall("session", TOKEN);

export function token() {
  return shown;
}

/** @param {string} text "": forget it */
export function setToken(text) {
  shown = text; // it holds for this page if it cannot be remembered
  remember("session", TOKEN, text);
}

/** @param {string} path @param {AbortSignal} signal @returns {Promise<Response>} */
async function request(path, signal) {
  /** @type {Record<string, string>} */
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  let answer;
  try {
    answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Problem(0, "no answer");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, String(said.message || `HTTP ${answer.status}`));
}

/** @param {string} path @returns {Promise<any>} fails with a Problem */
export async function get(path) {
  const answer = await request(path, AbortSignal.timeout(ANSWER_MS));
  try {
    return await answer.json();
  } catch {
    throw new Problem(answer.status, STRANGE);
  }
}

/** The events, as GET /v1/events lists them. @returns {Promise<{event: string, state: string}[]>} */
export async function getEvents() {
  const list = await get("/v1/events");
  if (!Array.isArray(list) || !list.every((e) => typeof e?.event === "string")) throw new Problem(200, STRANGE);
  return list;
}

/** @param {string} event @param {string} route such as "counts" */
export function eventPath(event, route = "") {
  return `/v1/events/${encodeURIComponent(event)}${route && `/${route}`}`;
}

/**
 * @typedef {object} Listener
 * @property {(board: any) => void} board
 * @property {() => void} open the stream stands
 * @property {(p: Problem, retryAt: number) => void} lost retryAt: of performance.now(); 0: there is no use in trying again
 */

/** Full jitter: those who lost a server together do not come back together. @param {number} attempt from 0 */
export function backoff(attempt, random = Math.random) {
  return 300 + random() * Math.min(CAP_MS, 1000 * 2 ** Math.min(attempt, 10));
}

/** The boards of one event. */
export class Stream {
  /** @param {string} event @param {Listener} listener */
  constructor(event, listener) {
    this.event = event;
    this.listener = listener;
    this.attempt = 0;
    this.stopped = false;
    this.timer = 0;
    this.connect();
  }

  /** Tries now rather than later. */
  retry() {
    if (this.stopped || !this.timer) return;
    clearTimeout(this.timer);
    this.connect();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.abort?.abort();
  }

  async connect() {
    this.timer = 0;
    const abort = (this.abort = new AbortController());
    const began = performance.now();
    let problem = new Problem(0, "the stream ended");
    try {
      const answer = await request(eventPath(this.event, "counts/stream"), abort.signal);
      if (this.stopped) return;
      this.listener.open();
      await this.read(answer, abort);
    } catch (e) {
      if (e instanceof Problem) problem = e;
    }
    if (this.stopped) return;
    if (performance.now() - began > STEADY_MS) this.attempt = 0;
    // What is refused is refused again: only the operator can change that. But an
    // event that is not there may come to be.
    if ([400, 401, 403].includes(problem.status)) {
      this.listener.lost(problem, 0);
      return;
    }
    const wait = backoff(this.attempt++) + (problem.status === 404 ? ABSENT_MS : 0);
    this.listener.lost(problem, performance.now() + wait);
    this.timer = window.setTimeout(() => this.connect(), wait);
  }

  /** Reads Server-Sent Events (HTML, 9.2.6) until the stream ends. @param {Response} answer @param {AbortController} abort */
  async read(answer, abort) {
    if (!answer.body) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let silent = window.setTimeout(() => abort.abort(), SILENT_MS);
    try {
      for (let rest = ""; ; ) {
        const { value, done } = await reader.read();
        if (done || this.stopped) return;
        clearTimeout(silent);
        silent = window.setTimeout(() => abort.abort(), SILENT_MS);
        const lines = (rest + value).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line.startsWith("data:")) this.listener.board(parse(line.slice(5)));
      }
    } finally {
      clearTimeout(silent);
    }
  }
}

/** @param {string} text @returns {any} null for what is not JSON */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
