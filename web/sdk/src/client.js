import { AGAIN_ATTEMPT, AGAIN_MS, ANSWER_MS, BLOCKED_TRIES, BURST, HIDDEN_MS, MESSAGE_BYTES, RETURN_MS, RULING_MS, SEQ_PER_MS, SLOW_MS, SOON_MS, STEADY_MS } from "./limits.js";
import { Outbox } from "./outbox.js";
import { STRANGE, after, backoff, counts, parse, positive, refusal, retryAfter, unanswered } from "./protocol.js";
import { SharedSession } from "./session.js";
import { Socket } from "./socket.js";
import { VideoWatch, position } from "./video.js";

const NAME = /^[\w.-]{1,64}$/; // of an event, as servers have it
const long = (/** @type {string} */ body) => new Blob([body]).size > MESSAGE_BYTES;
const LONG = { code: "too_large", message: "an event or join has at most 4 KB" };
const PROTOCOL = { STRANGE, parse, retryAfter }; // what the files that are loaded later use of this one

/**
 * @typedef {import("./protocol.js").Counts} Counts
 * @typedef {import("./protocol.js").Refusal} Refusal
 *
 * @typedef {object} Options
 * @property {string} event
 * @property {string} [url] of the gateway, http(s); default: where this script came from
 * @property {string | (() => string | Promise<string>)} [token] a JWT; a function
 *   is asked again whenever a new one is needed
 * @property {string} [viewer] who watches, where there are no tokens; so are
 *   device, account, limit and name. With tokens: something that differs for each
 *   viewer of one browser, if there are several
 * @property {string} [device] @property {string} [account] @property {number} [limit] @property {string} [name]
 * @property {Record<string, string>} [segments] such as {team: "KC"}
 * @property {HTMLMediaElement} [video] whose state is told; default: it plays
 * @property {() => number} [bitrate] kbit/s, if the player knows better than the element
 * @property {boolean} [storage] false: keep nothing in the browser
 * @property {(counts: Counts) => void} [onCounts]
 * @property {(refusal: Refusal) => void} [onBlocked] this session may not play, and why; again when the reasons change
 * @property {() => void} [onUnblocked]
 * @property {(state: ConnectionState) => void} [onState]
 * @property {(error: {code: string, message: string}) => void} [onError] something could not be used, is
 *   lost, or nobody answers; the client goes on by itself, a developer may want to know. What
 *   has a message and no callback is a warning on the console
 * @property {(text: string, from: "server" | "player") => void} [onMessage] every message, for a look inside
 *
 * @typedef {object} ConnectionState
 * @property {"connecting" | "open" | "waiting" | "closed"} state closed: for good
 * @property {number} [retryMS] waiting: until the next try
 * @property {string} [code] closed: unauthorized, forbidden, not_found, invalid, ended, or the close code
 * @property {string} [message] closed: a sentence
 * @property {"websocket" | "sse"} [via] open
 */

/** One play of one event. */
export class Client {
  _missing = "url"; // the option that has to be given, "" if all is there
  _base = "";
  /** @type {import("./socket.js").Link | null} */
  _link = null;
  _ready = false;
  _acks = false;
  _adopted = false;
  _sending = false;
  _alone = false; // backlog.js does not come
  _attempt = 0;
  _refusedUpgrades = 0;
  _renewed = 0; // tokens that were asked for since the last that was taken
  _unsteady = 0; // 1: the last good connection ended since its token was no good
  _asked = 0; // when the token was asked for
  _leastMS = 0;
  _notBefore = Infinity; // a wait may be cut short, if there is one
  _beatMS = 10_000;
  _token = "";
  _order = [-1, -1]; // epoch and at of the last counts
  _told = false;
  _via = "";
  _tries = 0; // a number, not an object: a Proxy would have another
  /** @type {VideoWatch | undefined} */
  _watch;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  _timers = {};
  /** @type {Set<number>} seqs that are on their way */
  _sent = new Set();
  /** @type {Map<number, {seg: Record<string, string>}>} messages by seq; those that have no answer yet */
  _joins = new Map();
  _gone = new AbortController();

  /** @param {Options} options @param {string} origin of this script */
  constructor(options, origin) {
    this.options = options;
    let host = "";
    try {
      ({ origin, host } = new URL(new URL(options.url || origin).origin)); // that of a file is "null"
      this._missing = "event";
      this._base = origin + "/v1/events/" + encodeURIComponent(options.event); // throws for half a surrogate pair
      if (options.event) this._missing = "";
    } catch {
      // missing says what it is.
    }
    const scope = [host, options.event, options.viewer || "", options.device || "", options.account || ""];
    this._shared = new SharedSession(scope);
    this.outbox = new Outbox(JSON.stringify(scope), options.storage !== false);
    this._seq = Date.now() * SEQ_PER_MS + ((Math.random() * SEQ_PER_MS) | 0);
    this.running = false;
    /** The newest counts. @type {Counts | null} */
    this.counts = null;
    /** Why this session may not play; null: it may. @type {Refusal | null} */
    this.blocked = null;
    this._listen();
    this._start();
  }

  /** The id of the session, "" before the first hello. */
  get session() {
    return this._shared.id;
  }

  /**
   * Tells of something that happened. It arrives once, also after a crash.
   * @param {string} name 1 to 64 characters of A-Z a-z 0-9 . _ - @param {object} [data] JSON, with the name at most 4 KB
   * @returns {boolean} false: it cannot be used, as onError says
   */
  track(name, data) {
    let body = "", message = "";
    try {
      body = JSON.stringify({ t: "event", seq: ++this._seq, name: (name = String(name)), ts: Date.now(), data });
      if (!NAME.test(name)) message = "an event's name is " + NAME;
    } catch (err) {
      message = String(err);
    }
    if (long(body)) return this._refused(LONG);
    if (message) return this._refused({ code: "invalid", message });
    if (this.outbox._add(this.session, this._seq, body)) this._refused({ code: "unavailable", message: "too many events wait: the oldest are lost" });
    this._flush();
    return true;
  }

  /** Changes dimensions that viewers may choose. @param {Record<string, string>} seg */
  join(seg) {
    const seq = ++this._seq, m = { t: "join", seq, seg };
    if (long(JSON.stringify(m))) return this._refused(LONG); // or each connection would end with it
    this._joins.set(seq, m);
    const said = this._say(m);
    if (!said) this._joined(seq);
    return said;
  }

  /** Has the next connection ask for what a join did: by default the oldest, as answers are in the order of the joins. */
  _joined(seq = [...this._joins.keys()][0]) {
    this.options.segments = { ...this.options.segments, ...this._joins.get(seq)?.seg };
    this._joins.delete(seq);
  }

  /**
   * Asks to play here. codes end the sessions that they name (Refusal.conflicts),
   * no more than it takes. It is answered by onUnblocked or onBlocked; where there
   * is no WebSocket, by onError.
   * @param {string[]} [codes]
   */
  takeover(codes = []) {
    return this._say({ t: "takeover", codes });
  }

  /** Cuts a wait short. */
  retry() {
    if (!this._link) this.connect();
  }

  /** Cuts a wait short that no server asked for, but not to nothing: many pages come back in the same moment. */
  _soon() {
    if (Date.now() > this._notBefore) this._later("wait", Math.random() * RETURN_MS, () => this.connect());
  }

  /** Says goodbye: this play is not counted from the next tick on, and the next is another. */
  close() {
    this._stop();
    this._shared._forget();
    this._gone.abort();
    this.outbox.close();
  }

  /** @param {string} name of an option @param {any[]} v @returns {any} what it returns */
  _tell(name, ...v) {
    const failed = (/** @type {any} */ err) => console.error("grandstand:", name, err); // the page's own mistake must not stop the count
    try {
      const options = /** @type {any} */ (this.options), said = options[name]?.(...v);
      if (!options[name] && v[0]?.message) console.warn("grandstand:", v[0].message); // else nobody would know why there is no number
      said?.catch?.(failed);
      return said;
    } catch (err) {
      failed(err);
    }
  }

  /** @param {string} name @param {number} ms @param {() => void} f */
  _later(name, ms, f) {
    clearTimeout(this._timers[name]);
    this._timers[name] = setTimeout(f, ms);
  }

  _listen() {
    const { signal } = this._gone, { video } = this.options, { document, window } = globalThis;
    const on = (/** @type {EventTarget | undefined} */ target, /** @type {string} */ name, /** @type {(e: any) => void} */ f) => target?.addEventListener?.(name, f, { signal });
    if (video) this._watch = new VideoWatch(video, () => this._later("soon", SOON_MS, () => this.beat()), (name, data) => this.track(name, data), signal);
    on(document, "visibilitychange", () => {
      if (this._ready) this.beat();
      if (!this._hidden()) this._soon();
    });
    on(window, "online", () => this._soon());
    on(window, "offline", () => this._link && this._lost(1006, "", this._ready));
    let left = false;
    on(window, "pagehide", () => (left = this.running) && this._stop());
    on(window, "pageshow", (e) => e.persisted && left && this._start());
  }

  _hidden() {
    return globalThis.document?.hidden;
  }

  async _start() {
    this.running = true;
    const session = await (this._missing || this._shared._resume());
    if (this._missing) {
      const words = `say which ${this._missing}: connect({ ${this._missing}: "..." })`;
      if (this.options.onState) console.error("grandstand:", words); // it may not look at all states
      return this._end("invalid", words);
    }
    if (session) this.outbox.name(session);
    if (!this._link) this.connect();
  }

  _stop() {
    this.running = false;
    this._drop(true);
  }

  /** @param {boolean} renew @returns {Promise<string>} */
  async _newToken(renew) {
    const { token } = this.options;
    if (typeof token !== "function") this._token = token || "";
    else if (renew || !this._token) {
      this._asked = Date.now();
      this._token = String((await Promise.race([token(), new Promise((_, late) => setTimeout(late, ANSWER_MS, "no answer"))])) || "");
    }
    return this._token;
  }

  /** @param {string} path */
  _address(path) {
    const { viewer, device, account, limit, name, segments } = this.options, url = new URL(this._base + path), { searchParams } = url, own = !searchParams.has("session");
    const known = { viewer, device, account, limit, name, session: own && this.session, interval_ms: this._hidden() && HIDDEN_MS };
    for (const [k, v] of Object.entries(known)) if (v) searchParams.set(k, String(v));
    // A backlog tells of what was: it may not undo a join that was asked for since.
    if (own) for (const [dim, value] of Object.entries(segments || {})) if (!searchParams.has(dim)) searchParams.set(dim, value);
    return url.href;
  }

  /** @param {string} path @param {RequestInit} [init] */
  _request(path, init) {
    const late = new AbortController(); // Safari 15 has no AbortSignal.timeout
    setTimeout(() => late.abort(), ANSWER_MS);
    return fetch(this._address(path), { cache: "no-store", signal: late.signal, ...init, headers: this._token ? { Authorization: "Bearer " + this._token } : {} });
  }

  /** Connects anew, with the options as they are now. The play goes on. */
  async connect() {
    if (!this.running) return;
    this._drop(false);
    const mine = this._tries;
    this._tell("onState", { state: "connecting" });
    this._via = this._refusedUpgrades < BLOCKED_TRIES ? "websocket" : "sse";
    /** @type {typeof import("./sse.js") | undefined} */
    let sse;
    let what = "token";
    try {
      await this._newToken(false);
      what = "sdk-sse.js";
      if (this._via === "sse") sse = await import("./sse.js");
    } catch (err) {
      if (mine !== this._tries) return;
      this._trouble({ code: "unavailable", message: what + ": " + err });
      return this._wait(0);
    }
    if (mine !== this._tries) return;
    const listener = {
      message: (/** @type {any} */ m) => mine === this._tries && this._receive(m),
      lost: (/** @type {number} */ code, /** @type {string} */ reason, /** @type {boolean} */ opened) => mine === this._tries && this._lost(code, reason, opened),
    };
    try {
      this._link = sse ? new sse.Sse((path, init) => this._request(path, init), listener, PROTOCOL, this._shared) : new Socket(this._address("/live").replace("http", "ws"), this._token, listener);
    } catch (err) {
      this._end("invalid", String(err));
    }
  }

  /** @param {any} m */
  _receive(m) {
    if (this.options.onMessage) this._tell("onMessage", JSON.stringify(m), "server");
    switch (m.t) {
      case "hello":
        return this._hello(m);
      case "counts":
        return this._count(m.counts || counts(m));
      case "ack":
        return this._acked(m.seq);
      case "pace":
        // All viewers are told at once: each beats at a time of its own, and from then on in the new interval. The next beat that is due stays.
        this._beatMS = positive(m.beat_ms, this._beatMS);
        return this._later("pace", Math.random() * this._beatMS, () => this.beat());
      case "renew":
        return this._renew();
      case "drain":
        this._leastMS = positive(m.retry_ms);
        return this._later("drain", this._leastMS, () => this.connect());
      case "blocked":
        return this._block(refusal(m));
      case "unblocked":
        return this._unblock();
      case "error":
        return this._refused(m);
      case "ok":
        if (m.re === "takeover") this._unblock();
        if (m.re === "join") this._joined();
    }
  }

  /** @param {any} m */
  _hello(m) {
    const id = String(m.session);
    if (id !== this.session) this._order = [-1, -1]; // another play
    this._shared._keep(id);
    this.outbox.name(id);
    this._ready = true;
    this._told = false;
    this._renewed = this._unsteady;
    this._acks = m.acks !== false;
    if (this._via === "websocket") this._refusedUpgrades = 0;
    if (this.blocked) this._later("ruling", RULING_MS, () => this._unblock());
    this._later("steady", STEADY_MS, () => (this._attempt = this._renewed = this._unsteady = 0));
    this._beatMS = positive(m.beat_ms, this._beatMS);
    this.beat();
    for (const m of this._joins.values()) this._say(m);
    this._tell("onState", { state: "open", via: this._via });
    this._flush(true);
    this._adopt();
  }

  /** @param {Counts | null} c */
  _count(c) {
    const [epoch, at] = this._order;
    if (!c || c.epoch < epoch || (c.epoch === epoch && c.at < at)) return;
    this._order = [c.epoch, c.at];
    this.counts = c;
    this._shared._keep(this.session);
    this._tell("onCounts", c);
  }

  /** @param {Refusal} r */
  _block(r) {
    clearTimeout(this._timers.ruling);
    const first = !this.blocked;
    this.blocked = r;
    if (first) this.beat(); // says that it does not play
    this._tell("onBlocked", r);
  }

  _unblock() {
    clearTimeout(this._timers.ruling);
    if (!this.blocked) return;
    this.blocked = null;
    this.beat();
    this._tell("onUnblocked");
  }

  async _renew() {
    const before = this._token;
    try {
      const token = await this._newToken(true);
      if (token && token !== before) this._say({ t: "auth", token });
    } catch {
      // The connection ends when the token does, and the next asks again.
    }
  }

  /** Beats now, and from then on in its interval. */
  beat() {
    const every = this._hidden() ? Math.max(HIDDEN_MS, this._beatMS) : this._beatMS;
    const { video, bitrate } = this.options;
    const m = {
      t: "beat", seq: ++this._seq, interval_ms: every,
      state: !this.blocked ? this._watch?.state || "playing" : this.blocked.final ? "paused" : "starting",
      pos: video && position(video),
      bitrate: positive(bitrate ? this._tell("bitrate") : this._watch?.bitrate()) || undefined,
    };
    this._say(m);
    this._later("beat", every, () => this.beat());
  }

  /** @param {object} m @returns {boolean} false: there is no connection */
  _say(m) {
    const text = JSON.stringify(m);
    if (!this._ready || !this._link?.send(text)) return false;
    this._tell("onMessage", text, "player");
    return true;
  }

  /** Sends what waits: a few on the connection, many by requests whose answers say that all is durable. @param {boolean} [due] false: many that have no other way wait for their time */
  async _flush(due) {
    if (!this._ready || this._sending) return;
    const list = this.outbox.items.filter((i) => !this._sent.has(i.seq));
    if (list.length <= BURST || !this._acks || this._alone) {
      if (list.length > BURST && !due) return;
      for (const i of list.slice(0, BURST)) {
        if (!this._link?.send(i.body)) return;
        this._tell("onMessage", i.body, "player");
        this._sent.add(i.seq);
        if (!this._acks) this.outbox._remove((x) => x === i); // nothing ever says that it is kept
      }
      if (list.length > BURST) this._again();
      return;
    }
    this._sending = true;
    let wait = 0;
    try {
      wait = await this._post(list, this.session);
    } catch {
      this._alone = true; // backlog.js does not come: all goes on the connection, a few at a time
    }
    this._sending = false;
    if (wait) this._again(wait);
    else this._flush(true);
  }

  /** Sends what tabs left that are gone, once in the life of a page. */
  async _adopt() {
    if (this._adopted || !this._ready || !this._acks) return;
    this._adopted = true;
    const wait = await this.outbox._adopt((items, session) => this._post(items, session || this.session)).catch(() => 0); // it cannot be had in this page
    this._adopted = !wait;
    if (wait) this._later("adopt", backoff(AGAIN_ATTEMPT, wait), () => this._adopt());
  }

  _again(leastMS = AGAIN_MS) {
    this._later("flush", backoff(AGAIN_ATTEMPT, leastMS), () => this._flush(true));
  }

  /**
   * Sends events by requests, and forgets what is durable, or refused.
   * @param {import("./outbox.js").Item[]} items @param {string} session
   * @returns {Promise<number>} 0, or after how many ms some are to be sent again
   */
  async _post(items, session) {
    return (await import("./backlog.js")).post(this, items, session, PROTOCOL);
  }

  /** @param {number} upTo */
  _acked(upTo) {
    this.outbox._remove((i) => i.seq <= upTo && this._sent.delete(i.seq)); // true if it was sent
    this._flush();
  }

  /** @param {any} m a message "error" @returns {false} */
  _refused(m) {
    if (!this._joins.delete(m.seq) && m.seq && m.code === "unavailable") {
      this._sent.delete(m.seq);
      this._again();
    } else {
      if (m.seq) this.outbox._remove((i) => i.seq === m.seq);
      this._tell("onError", { code: String(m.code), message: String(m.message) });
    }
    return false;
  }

  /** The connection ended without our will. @param {number} code @param {string} reason @param {boolean} opened */
  _lost(code, reason, opened) {
    const leastMS = this._leastMS;
    this._drop(false);
    if (!this.running) return;
    const what = after(code);
    const renews = what === "renew";
    if (what === "final" || (renews && !this._renews())) return this._end(renews ? "unauthorized" : NAMES[code] || String(code), reason);
    if (code === 401) this._renews(); // of something between, which may look at tokens too
    if (renews) this._unsteady = 1; // until a connection with the next token is a good one
    else if (reason && this._via === "sse") this._trouble({ code: "unavailable", message: reason });
    this._wait(Math.max(leastMS, what === "slowly" ? SLOW_MS : 0));
    if (!opened && this._via === "websocket") this._probe();
  }

  /** Whether to try again with another token: once, until one is taken. One may also have grown old while nobody answered. */
  _renews() {
    return typeof this.options.token === "function" && (!this._renewed++ || Date.now() - this._asked > STEADY_MS) && !(this._token = "");
  }

  /** @param {number} leastMS */
  _wait(leastMS) {
    const ms = backoff(this._attempt++, leastMS);
    this._later("wait", ms, () => this.connect());
    this._notBefore = leastMS && Date.now() + ms;
    this._tell("onState", { state: "waiting", retryMS: ms });
  }

  /** Says why there is no connection, once until there is. @param {any} m as a message "error" */
  _trouble(m) {
    this._told ||= !this._refused(m);
  }

  /** Asks in plain HTTP why an upgrade was refused: a browser does not say. */
  async _probe() {
    const mine = this._tries;
    /** @type {Response} */
    let answer;
    let said;
    try {
      answer = await this._request("/live");
      said = parse(await answer.text());
    } catch {
      const why = await unanswered(this._base);
      if (this.running && !this._ready) this._trouble(why); // trying again is all there is
      return;
    }
    if (mine !== this._tries) return;
    const { status } = answer, known = typeof said.code === "string"; // else it is no gateway's word
    if (status === 401 && this._renews()) {
      this.connect();
    } else if (status === 429 || status >= 500 || (this.session && !known)) {
      // Something between may speak for a gateway that was there before, and will be again.
      this._trouble(known ? said : { code: "unavailable", message: `HTTP ${status}: it is tried again` });
      this._attempt--;
      this._wait(retryAfter(answer));
    } else if (status === 400 && /upgrade/.test(said.message)) {
      // All is well but the way: something between does not let WebSockets through.
      if (++this._refusedUpgrades >= BLOCKED_TRIES) this.connect();
    } else if ((status === 400 || status === 403) && this.session) {
      this._shared._forget(); // of a server that has a new secret since
      this.connect();
    } else {
      this._end(known ? said.code : "invalid", said.message || STRANGE);
    }
  }

  /** It is over, for good. @param {string} code @param {string} message */
  _end(code, message) {
    this.running = false;
    this._drop(false);
    this._tell("onState", { state: "closed", code, message });
  }

  /** Lets go of the connection and of every timer. @param {boolean} goodbye */
  _drop(goodbye) {
    this._tries++;
    for (const name in this._timers) clearTimeout(this._timers[name]);
    this._link?.leave(goodbye);
    this._link = null;
    this._ready = false;
    this._leastMS = 0;
    this._notBefore = Infinity;
    this._sent.clear();
  }
}

/** @type {Record<number, string>} */
const NAMES = { 4500: "invalid", 4503: "forbidden", 4504: "ended" };
