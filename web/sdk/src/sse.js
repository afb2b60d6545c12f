// The way to a gateway where WebSockets are blocked: beats by POST, counts by
// Server-Sent Events. It speaks to its client in the words of the WebSocket. Few
// need it, so it is a file of its own that those load.

const ANSWER_MS = 10_000;
const TICK_MS = 2_000;

/**
 * @typedef {import("./socket.js").Link} Link
 * @implements {Link}
 */
export class Sse {
  /**
   * @param {(path: string, init?: RequestInit) => Promise<Response>} request with the session and the token
   * @param {import("./socket.js").Listener} listener
   * @param {(body: string) => any} parse JSON, never failing
   */
  constructor(request, listener, parse) {
    this.request = request;
    this.parse = parse;
    this.listener = listener;
    this.opened = this.ended = this.blocked = false;
    /** @type {string[]} */
    this.waiting = [];
    this.stop = new AbortController();
    this.segments = "";
    queueMicrotask(() => this.post([`{"t":"beat","state":"starting"}`]));
  }

  /** @param {string} m */
  send(m) {
    if (this.ended) return false;
    // One request for what is said in one go.
    if (this.waiting.push(m) === 1) setTimeout(() => this.post(this.waiting.splice(0)), 50);
    return true;
  }

  /** @param {string[]} messages */
  async post(messages) {
    try {
      const answer = await this.request("/beats", { method: "POST", body: `[${messages}]`, signal: AbortSignal.timeout(ANSWER_MS) });
      const m = this.parse(await answer.text());
      if (!this.ended) this.answered(answer.status, m, messages);
    } catch {
      this.end(1006, "no answer");
    }
  }

  /** @param {number} status @param {any} m @param {string[]} messages */
  answered(status, m, messages) {
    if (status === 401) return this.end(4002, m.message);
    if (status === 409) return this.end(4504, m.message);
    if (status === 404 || status === 405) return this.end(4500, m.message || "no gateway of grandstand.v1");
    if (status !== 200) return this.end(status === 429 ? 1008 : status === 403 ? 4503 : 1013, m.message);
    const { message } = this.listener;
    if (!this.opened) {
      this.opened = true;
      message({ t: "hello", session: m.session, beat_ms: m.interval_ms, tick_ms: TICK_MS, dims: Object.keys(m.frame?.n || {}) });
    }
    // The answer says that all of it is durable.
    message({ t: "ack", seq: Math.max(...messages.map((text) => this.parse(text).seq || 0)) });
    if (m.frame) message(m.frame);
    const blocked = m.verdict?.status === "blocked";
    if (blocked) message({ ...m.verdict, t: "blocked" });
    else if (this.blocked) message({ t: "unblocked" });
    this.blocked = blocked;
    if (!this.segments && m.segments?.length) {
      this.segments = m.segments.join(",");
      this.follow();
    }
  }

  /** Shows the counts of each tick. Without a stream those of each beat's answer are all there is. */
  async follow() {
    try {
      const answer = await this.request("/counts/stream?segment=" + encodeURIComponent(this.segments), { signal: this.stop.signal });
      if (!answer.ok || !answer.body) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ; ) {
        const { value, done } = await reader.read();
        if (done || this.ended) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop() || "";
        for (const line of lines) if (line.startsWith("data:")) this.listener.message(frameOf(this.parse(line.slice(5))));
      }
    } catch {
      // As below.
    }
    if (!this.ended) setTimeout(() => this.ended || this.follow(), 3000 + Math.random() * 3000);
  }

  /** @param {boolean} goodbye */
  leave(goodbye) {
    if (this.ended) return;
    this.ended = true;
    this.stop.abort();
    // keepalive: the page may be going.
    if (goodbye && this.opened) this.request("/beats", { method: "POST", body: `[{"t":"beat","state":"ended"}]`, keepalive: true }).catch(() => {});
  }

  /** @param {number} code @param {string} reason */
  end(code, reason) {
    if (this.ended) return;
    this.leave(false);
    this.listener.lost(code, reason, this.opened);
  }
}

/** Makes a message "counts" of a board. @param {any} board */
function frameOf(board) {
  /** @type {Record<string, any>} */
  const n = {};
  for (const [dim, of] of Object.entries(board.dims || {})) {
    const c = dim === "world" ? of : Object.values(/** @type {object} */ (of))[0];
    n[dim] = c ? [c.sessions, c.fans] : null;
  }
  return { t: "counts", at: board.at, age: board.age_ms, epoch: board.epoch, q: board.quality, n };
}
