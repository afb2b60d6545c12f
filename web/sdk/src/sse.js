// The way to a gateway where WebSockets are blocked: beats by POST, counts by
// Server-Sent Events. It speaks to its client in the words of the WebSocket, also
// where only that can do what it asks. Few need it, so it is a file of its own that
// those load.

const TICK_MS = 2_000;
const OWN = -1; // asks for the event's own interval
const TOGETHER_MS = 50; // what is said within it makes one request
const BATCH = 50; // messages of one request; servers take 100, and 256 KB

/**
 * @typedef {import("./socket.js").Link} Link
 * @implements {Link}
 */
export class Sse {
  /**
   * @param {(path: string, init?: RequestInit) => Promise<Response>} request with the session and the token
   * @param {import("./socket.js").Listener} listener
   * @param {Pick<typeof import("./protocol.js"), "parse" | "retryAfter">} protocol which sdk.js has
   * @param {import("./session.js").SharedSession} shared the session that requests name
   */
  constructor(request, listener, { parse, retryAfter }, shared) {
    this.request = request;
    this.parse = parse;
    this.retryAfter = retryAfter;
    this._shared = shared;
    this.listener = listener;
    this.opened = this.ended = this.blocked = this.posting = false;
    /** @type {string[]} */
    this.waiting = [`{"t":"beat","state":"starting","interval_ms":${OWN}}`];
    this.beatMS = 0; // the event's own interval, as the client was told
    this.stop = new AbortController();
    this.segments = "";
    /** @type {{seq: number, seg: Record<string, string>}[]} that are to be asked for */
    this.joins = [];
    queueMicrotask(() => this.work());
  }

  /** @param {string} text */
  send(text) {
    if (this.ended) return false;
    const m = this.parse(text);
    if (m.t === "takeover") {
      queueMicrotask(() => this.refuse("takeover needs a WebSocket, and none comes through here"));
      return true;
    }
    // A server answers with the interval that it was told: who tells the event's own is never told another.
    if (m.interval_ms === this.beatMS) text = JSON.stringify({ ...m, interval_ms: OWN });
    if (m.t === "join") this.joins.push(m);
    else this.waiting.push(text);
    if (!this.posting) setTimeout(() => this.work(), TOGETHER_MS);
    return true;
  }

  /** Sends what waits, one request after the other: an ack speaks for all that was said before it. */
  async work() {
    if (this.posting) return;
    this.posting = true;
    while ((this.joins.length || this.waiting.length) && !this.ended) {
      // A request tells the segments: one with those of a join does what it would, and is refused for nothing else.
      const join = this.joins.shift();
      await this.post(join ? [`{"t":"beat"}`] : this.waiting.splice(0, BATCH), join);
    }
    this.posting = false;
  }

  /** @param {string[]} messages @param {Sse["joins"][0]} [join] */
  async post(messages, join) {
    const half = messages.length >> 1, one = this.parse(messages[0]);
    try {
      const answer = await this.request("/beats" + (join ? "?" + new URLSearchParams(join.seg) : ""), { method: "POST", body: `[${messages}]` });
      const m = this.parse(await answer.text()), { status } = answer;
      if (this.ended) return;
      if (join && status === 400 && typeof m.code === "string") return this.refuse(m.message, m.code, join.seq);
      if (!this.opened || (status !== 400 && status !== 413) || (!half && one.t !== "event")) {
        if (status === 429 || status >= 500) this.listener.message({ t: "drain", retry_ms: this.retryAfter(answer) });
        this.answered(status, m, messages, join);
      } else if (half) {
        // A list is refused for one of it: which, its halves say.
        await this.post(messages.slice(0, half));
        if (!this.ended) await this.post(messages.slice(half));
      } else if (typeof m.code !== "string") {
        this.end(1013, `HTTP ${status}: it is tried again`); // no gateway's word
      } else {
        this.refuse(m.message, m.code, one.seq);
      }
    } catch {
      this.end(1006, "no answer: it is tried again");
    }
  }

  /** Says that a message cannot be used, as a WebSocket would. @param {string} message @param {string} [code] @param {number} [seq] of that message */
  refuse(message, code = "invalid", seq) {
    if (!this.ended) this.listener.message({ t: "error", code, message, seq });
  }

  /** @param {number} status @param {any} m @param {string[]} messages @param {Sse["joins"][0]} [join] */
  answered(status, m, messages, join) {
    // What is not ours speaks for no gateway: where one was there will be one again.
    const ours = typeof (status === 200 ? m.session : m.code) === "string", counts = ours || !this._shared.id;
    if (status === 401 && counts) return this.end(4002, m.message);
    if (status === 409 && ours) return this.end(4504, m.message);
    if ((status === 404 || status === 405) && counts) return this.end(4500, m.message || "no gateway of grandstand.v1");
    if (ours && this._shared.id && (status === 403 || (status === 400 && !this.opened))) {
      this._shared._forget(); // of a server that has a new secret since
      return this.end(1013, "");
    }
    if (status !== 200 || !ours) return this.end(status === 429 ? 1008 : status === 401 ? 401 : status === 403 && counts ? 4503 : 1013, m.message || `HTTP ${status}: it is tried again`);
    const { message } = this.listener, said = messages.map((text) => this.parse(text));
    const own = said.filter((one) => one.interval_ms).at(-1)?.interval_ms === OWN, paced = own && m.interval_ms > 0 && m.interval_ms !== this.beatMS;
    if (paced) this.beatMS = m.interval_ms;
    if (!this.opened) {
      this.opened = true;
      message({ t: "hello", session: m.session, beat_ms: m.interval_ms, tick_ms: TICK_MS, dims: Object.keys(m.frame?.n || {}) });
    } else if (paced) {
      message({ t: "pace", beat_ms: m.interval_ms, tick_ms: TICK_MS });
    }
    // The answer says that all of it is durable. The number of a beat is no event's.
    message({ t: "ack", seq: Math.max(0, ...said.map((one) => (one.t === "event" && one.seq) || 0)) });
    if (m.frame) message(m.frame);
    const blocked = m.verdict?.status === "blocked";
    if (blocked) message({ ...m.verdict, t: "blocked" });
    else if (this.blocked) message({ t: "unblocked" });
    this.blocked = blocked;
    const segments = Array.isArray(m.segments) ? m.segments : [], list = segments.join(",");
    if (list && list !== this.segments) {
      this.segments = list;
      this.stop.abort();
      this.stop = new AbortController();
      this.follow(this.stop);
    }
    if (!join) return;
    const taken = Object.entries(join.seg).every(([dim, value]) => [value || "unknown", "other"].some((v) => segments.includes(dim + ":" + v)));
    if (taken) message({ t: "ok", re: "join" });
    else this.refuse("the server has these segments from elsewhere, or counts none of them", "forbidden", join.seq);
  }

  /** Shows the counts of each tick. Without a stream those of each beat's answer are all there is. @param {AbortController} stop of this stream: another has its own */
  async follow(stop) {
    try {
      const answer = await this.request("/counts/stream?segment=" + encodeURIComponent(this.segments), { signal: stop.signal });
      if (!answer.ok || !answer.body) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ; ) {
        const { value, done } = await reader.read();
        if (done || stop.signal.aborted) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop() || "";
        for (const line of lines) if (line.startsWith("data:")) this.listener.message(frameOf(this.parse(line.slice(5))));
      }
    } catch {
      // As below.
    }
    if (!stop.signal.aborted) setTimeout(() => stop.signal.aborted || this.follow(stop), 3000 + Math.random() * 3000);
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
    const c = dim === "world" ? of : Object.values(of || {})[0];
    n[dim] = c ? [c.sessions, c.fans] : null;
  }
  return { t: "counts", at: board.at, age: board.age_ms, epoch: board.epoch, q: board.quality, n };
}
