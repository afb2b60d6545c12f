import { AGAIN_ATTEMPT, AGAIN_MS, ANSWER_MS, BLOCKED_TRIES, BURST, HIDDEN_MS, MESSAGE_BYTES, RETURN_MS, RULING_MS, SEQ_PER_MS, SLOW_MS, SOON_MS, STEADY_MS } from "./limits.js";
import { Outbox } from "./outbox.js";
import { STRANGE, after, backoff, counts, parse, positive, refusal, retryAfter, unanswered } from "./protocol.js";
import { SharedSession } from "./session.js";
import { Socket } from "./socket.js";
import { VideoWatch, position } from "./video.js";

const NAME = /^[\w.-]{1,64}$/; // of an event, as servers have it
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
  #missing = "url"; // the option that has to be given, "" if all is there
  #base = "";
  /** @type {import("./socket.js").Link | null} */
  #link = null;
  #ready = false;
  #acks = false;
  #adopted = false;
  #sending = false;
  #alone = false; // backlog.js does not come
  #attempt = 0;
  #refusedUpgrades = 0;
  #renewed = 0; // tokens that were asked for since the last that was taken
  #unsteady = 0; // 1: the last good connection ended since its token was no good
  #leastMS = 0;
  #notBefore = Infinity; // a wait may be cut short, if there is one
  #beatMS = 10_000;
  #token = "";
  #order = [-1, -1]; // epoch and at of the last counts
  #told = false;
  #via = "";
  #trying = {};
  /** @type {VideoWatch | undefined} */
  #watch;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};
  /** @type {Set<number>} seqs that are on their way */
  #sent = new Set();
  /** @type {Map<number, Record<string, string>>} by seq; those that have no answer yet */
  #joins = new Map();
  #gone = new AbortController();

  /** @param {Options} options @param {string} origin of this script */
  constructor(options, origin) {
    this.options = options;
    let host = "";
    try {
      ({ origin, host } = new URL(new URL(options.url || origin).origin)); // that of a file is "null"
      this.#missing = "event";
      this.#base = origin + "/v1/events/" + encodeURIComponent(options.event); // throws for half a surrogate pair
      if (options.event) this.#missing = "";
    } catch {
      // missing says what it is.
    }
    const scope = [host, options.event, options.viewer || "", options.device || "", options.account || ""];
    this.shared = new SharedSession(scope);
    this.outbox = new Outbox(JSON.stringify(scope), options.storage !== false);
    this.seq = Date.now() * SEQ_PER_MS + ((Math.random() * SEQ_PER_MS) | 0);
    this.running = false;
    /** The newest counts. @type {Counts | null} */
    this.counts = null;
    /** Why this session may not play; null: it may. @type {Refusal | null} */
    this.blocked = null;
    this.#listen();
    this.#start();
  }

  /** The id of the session, "" before the first hello. */
  get session() {
    return this.shared.id;
  }

  /**
   * Tells of something that happened. It arrives once, also after a crash.
   * @param {string} name 1 to 64 characters of A-Z a-z 0-9 . _ - @param {object} [data] JSON, with the name at most 4 KB
   * @returns {boolean} false: it cannot be used, as onError says
   */
  track(name, data) {
    let body = "", code = "invalid", message = "";
    try {
      body = JSON.stringify({ t: "event", seq: ++this.seq, name: (name = String(name)), ts: Date.now(), data });
      if (!NAME.test(name)) message = "an event's name is " + NAME;
    } catch (err) {
      message = String(err);
    }
    if (new Blob([body]).size > MESSAGE_BYTES) [code, message] = ["too_large", "an event has at most 4 KB"];
    if (message) return this.refused({ code, message });
    if (this.outbox.add(this.session, this.seq, body)) this.refused({ code: "unavailable", message: "too many events wait: the oldest are lost" });
    this.#flush();
    return true;
  }

  /** Changes dimensions that viewers may choose. @param {Record<string, string>} seg */
  join(seg) {
    const seq = ++this.seq;
    this.#joins.set(seq, seg);
    const said = this.#say({ t: "join", seq, seg });
    if (!said) this.#joined(seq);
    return said;
  }

  /** Has the next connection ask for what a join did: by default the oldest, as answers are in the order of the joins. */
  #joined(seq = [...this.#joins.keys()][0]) {
    this.options.segments = { ...this.options.segments, ...this.#joins.get(seq) };
    this.#joins.delete(seq);
  }

  /**
   * Asks to play here. codes end the sessions that they name (Refusal.conflicts),
   * no more than it takes. It is answered by onUnblocked or onBlocked; where there
   * is no WebSocket, by onError.
   * @param {string[]} [codes]
   */
  takeover(codes = []) {
    return this.#say({ t: "takeover", codes });
  }

  /** Cuts a wait short. */
  retry() {
    if (this.running && !this.#link) this.connect();
  }

  /** Cuts a wait short that no server asked for, but not to nothing: many pages come back in the same moment. */
  #soon() {
    if (Date.now() > this.#notBefore) this.#later("wait", Math.random() * RETURN_MS, () => this.connect());
  }

  /** Says goodbye: this play is not counted from the next tick on, and the next is another. */
  close() {
    this.#stop();
    this.shared.forget();
    this.#gone.abort();
    this.outbox.close();
  }

  /** @param {string} name of an option @param {any[]} v @returns {any} what it returns */
  #tell(name, ...v) {
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
  #later(name, ms, f) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(f, ms);
  }

  #listen() {
    const { signal } = this.#gone, { video } = this.options, { document, window } = globalThis;
    const on = (/** @type {EventTarget | undefined} */ target, /** @type {string} */ name, /** @type {(e: any) => void} */ f) => target?.addEventListener?.(name, f, { signal });
    if (video) this.#watch = new VideoWatch(video, () => this.#later("soon", SOON_MS, () => this.beat()), (name, data) => this.track(name, data), signal);
    on(document, "visibilitychange", () => {
      if (this.#ready) this.beat();
      if (!this.#hidden()) this.#soon();
    });
    on(window, "online", () => this.#soon());
    on(window, "offline", () => this.#link && this.#lost(1006, "", this.#ready));
    let left = false;
    on(window, "pagehide", () => (left = this.running) && this.#stop());
    on(window, "pageshow", (e) => e.persisted && left && this.#start());
  }

  #hidden() {
    return Boolean(globalThis.document?.hidden);
  }

  async #start() {
    this.running = true;
    const session = await (this.#missing || this.shared.resume());
    if (this.#missing) {
      const words = `say which ${this.#missing}: connect({ ${this.#missing}: "..." })`;
      if (this.options.onState) console.error("grandstand:", words); // it may not look at all states
      return this.#end("invalid", words);
    }
    if (session) this.outbox.name(session);
    if (this.running && !this.#link) this.connect();
  }

  #stop() {
    this.running = false;
    this.#drop(true);
  }

  /** @param {boolean} renew @returns {Promise<string>} */
  async #newToken(renew) {
    const { token } = this.options;
    if (typeof token !== "function") this.#token = token || "";
    else if (renew || !this.#token) {
      this.#token = String((await Promise.race([token(), new Promise((_, late) => setTimeout(late, ANSWER_MS, "no answer"))])) || "");
    }
    return this.#token;
  }

  /** @param {string} path */
  #address(path) {
    const { viewer, device, account, limit, name, segments } = this.options, url = new URL(this.#base + path), { searchParams } = url;
    const known = { viewer, device, account, limit, name, session: !searchParams.has("session") && this.session, interval_ms: this.#hidden() && HIDDEN_MS };
    for (const [k, v] of Object.entries(known)) if (v) searchParams.set(k, String(v));
    for (const [dim, value] of Object.entries(segments || {})) if (!searchParams.has(dim)) searchParams.set(dim, value);
    return url.href;
  }

  /** @param {string} path @param {RequestInit} [init] */
  request(path, init) {
    const late = new AbortController(); // Safari 15 has no AbortSignal.timeout
    setTimeout(() => late.abort(), ANSWER_MS);
    return fetch(this.#address(path), { cache: "no-store", signal: late.signal, ...init, headers: this.#token ? { Authorization: "Bearer " + this.#token } : {} });
  }

  /** Connects anew, with the options as they are now. The play goes on. */
  async connect() {
    this.#drop(false);
    this.#tell("onState", { state: "connecting" });
    const mine = (this.#trying = {});
    this.#via = this.#refusedUpgrades < BLOCKED_TRIES ? "websocket" : "sse";
    /** @type {typeof import("./sse.js") | undefined} */
    let sse;
    let what = "token";
    try {
      await this.#newToken(false);
      what = "sdk-sse.js";
      if (this.#via === "sse") sse = await import("./sse.js");
    } catch (err) {
      if (mine !== this.#trying || !this.running) return;
      this.trouble({ code: "unavailable", message: what + ": " + err });
      return this.#wait(0);
    }
    if (mine !== this.#trying || !this.running || this.#link) return;
    /** @type {import("./socket.js").Link | null} */
    let link = null;
    const listener = {
      message: (/** @type {any} */ m) => this.#link === link && this.#receive(m),
      lost: (/** @type {number} */ code, /** @type {string} */ reason, /** @type {boolean} */ opened) => this.#link === link && this.#lost(code, reason, opened),
    };
    try {
      link = sse ? new sse.Sse((path, init) => this.request(path, init), listener, PROTOCOL, this.shared) : new Socket(this.#address("/live").replace("http", "ws"), this.#token, listener);
      this.#link = link;
    } catch (err) {
      this.#end("invalid", String(err));
    }
  }

  /** @param {any} m */
  #receive(m) {
    if (this.options.onMessage) this.#tell("onMessage", JSON.stringify(m), "server");
    switch (m.t) {
      case "hello":
        return this.#hello(m);
      case "counts":
        return this.#count(m.counts || counts(m));
      case "ack":
        return this.#acked(m.seq);
      case "pace":
        // All viewers are told at once: each beats at a time of its own, and from then on in the new interval. The next beat that is due stays.
        this.#beatMS = positive(m.beat_ms, this.#beatMS);
        return this.#later("pace", Math.random() * this.#beatMS, () => this.beat());
      case "renew":
        return this.#renew();
      case "drain":
        this.#leastMS = positive(m.retry_ms);
        return this.#later("drain", this.#leastMS, () => this.connect());
      case "blocked":
        return this.#block(refusal(m));
      case "unblocked":
        return this.#unblock();
      case "error":
        return this.refused(m);
      case "ok":
        if (m.re === "takeover") this.#unblock();
        if (m.re === "join") this.#joined();
    }
  }

  /** @param {any} m */
  #hello(m) {
    const id = String(m.session);
    if (id !== this.session) this.#order = [-1, -1]; // another play
    this.shared.keep(id);
    this.outbox.name(id);
    this.#ready = true;
    this.#told = false;
    this.#renewed = this.#unsteady;
    this.#acks = m.acks !== false;
    if (this.#via === "websocket") this.#refusedUpgrades = 0;
    if (this.blocked) this.#later("ruling", RULING_MS, () => this.#unblock());
    this.#later("steady", STEADY_MS, () => (this.#attempt = this.#renewed = this.#unsteady = 0));
    this.#beatMS = positive(m.beat_ms, this.#beatMS);
    this.beat();
    for (const [seq, seg] of this.#joins) this.#say({ t: "join", seq, seg });
    this.#tell("onState", { state: "open", via: this.#via });
    this.#flush();
    this.#adopt();
  }

  /** @param {Counts | null} c */
  #count(c) {
    const [epoch, at] = this.#order;
    if (!c || c.epoch < epoch || (c.epoch === epoch && c.at < at)) return;
    this.#order = [c.epoch, c.at];
    this.counts = c;
    this.shared.keep(this.session);
    this.#tell("onCounts", c);
  }

  /** @param {Refusal} r */
  #block(r) {
    clearTimeout(this.#timers.ruling);
    const first = !this.blocked;
    this.blocked = r;
    if (first) this.beat(); // says that it does not play
    this.#tell("onBlocked", r);
  }

  #unblock() {
    clearTimeout(this.#timers.ruling);
    if (!this.blocked) return;
    this.blocked = null;
    this.beat();
    this.#tell("onUnblocked");
  }

  async #renew() {
    const before = this.#token;
    try {
      const token = await this.#newToken(true);
      if (token && token !== before) this.#say({ t: "auth", token });
    } catch {
      // The connection ends when the token does, and the next asks again.
    }
  }

  /** Beats now, and from then on in its interval. */
  beat() {
    const every = this.#hidden() ? Math.max(HIDDEN_MS, this.#beatMS) : this.#beatMS;
    const { video, bitrate } = this.options;
    const m = {
      t: "beat", seq: ++this.seq, interval_ms: every,
      state: !this.blocked ? this.#watch?.state || "playing" : this.blocked.final ? "paused" : "starting",
      pos: video && position(video),
      bitrate: positive(bitrate ? this.#tell("bitrate") : this.#watch?.bitrate()) || undefined,
    };
    this.#say(m);
    this.#later("beat", every, () => this.beat());
  }

  /** @param {object} m @returns {boolean} false: there is no connection */
  #say(m) {
    const text = JSON.stringify(m);
    if (!this.#ready || !this.#link?.send(text)) return false;
    this.#tell("onMessage", text, "player");
    return true;
  }

  /** Sends what waits: a few on the connection, many by requests whose answers say that all is durable. */
  async #flush() {
    if (!this.#ready || this.#sending) return;
    const list = this.outbox.items.filter((i) => !this.#sent.has(i.seq));
    if (list.length <= BURST || !this.#acks || this.#alone) {
      for (const i of list.slice(0, BURST)) {
        if (!this.#link?.send(i.body)) return;
        this.#tell("onMessage", i.body, "player");
        this.#sent.add(i.seq);
        if (!this.#acks) this.outbox.remove((x) => x === i); // nothing ever says that it is kept
      }
      if (list.length > BURST) this.#again();
      return;
    }
    this.#sending = true;
    let wait = 0;
    try {
      wait = await this.post(list, this.session);
    } catch {
      this.#alone = true; // backlog.js does not come: all goes on the connection, a few at a time
    }
    this.#sending = false;
    if (wait) this.#again(wait);
    else this.#flush();
  }

  /** Sends what tabs left that are gone, once in the life of a page. */
  async #adopt() {
    if (this.#adopted || !this.#ready || !this.#acks) return;
    this.#adopted = true;
    const wait = await this.outbox.adopt((items, session) => this.post(items, session || this.session)).catch(() => AGAIN_MS);
    this.#adopted = !wait;
    if (wait) this.#later("adopt", backoff(AGAIN_ATTEMPT, wait), () => this.#adopt());
  }

  #again(leastMS = AGAIN_MS) {
    this.#later("flush", backoff(AGAIN_ATTEMPT, leastMS), () => this.#flush());
  }

  /**
   * Sends events by requests, and forgets what is durable, or refused.
   * @param {import("./outbox.js").Item[]} items @param {string} session
   * @returns {Promise<number>} 0, or after how many ms some are to be sent again
   */
  async post(items, session) {
    return (await import("./backlog.js")).post(this, items, session, PROTOCOL);
  }

  /** @param {number} upTo */
  #acked(upTo) {
    this.outbox.remove((i) => i.seq <= upTo && this.#sent.delete(i.seq)); // true if it was sent
    this.#flush();
  }

  /** @param {any} m a message "error" @returns {false} */
  refused(m) {
    if (!this.#joins.delete(m.seq) && m.seq && m.code === "unavailable") {
      this.#sent.delete(m.seq);
      this.#again();
    } else {
      if (m.seq) this.outbox.remove((i) => i.seq === m.seq);
      this.#tell("onError", { code: String(m.code), message: String(m.message) });
    }
    return false;
  }

  /** The connection ended without our will. @param {number} code @param {string} reason @param {boolean} opened */
  #lost(code, reason, opened) {
    const leastMS = this.#leastMS || 0;
    this.#drop(false);
    if (!this.running) return;
    const what = after(code);
    const renews = what === "renew";
    if (what === "final" || (renews && !this.#renews())) return this.#end(renews ? "unauthorized" : NAMES[code] || String(code), reason);
    if (renews) this.#unsteady = 1; // until a connection with the next token is a good one
    else if (reason && this.#via === "sse") this.trouble({ code: "unavailable", message: reason });
    this.#wait(Math.max(leastMS, what === "slowly" ? SLOW_MS : 0));
    if (!opened && this.#via === "websocket") this.#probe();
  }

  /** Whether to try again with another token: once, until one is taken. */
  #renews() {
    this.#token = "";
    return typeof this.options.token === "function" && !this.#renewed++;
  }

  /** @param {number} leastMS */
  #wait(leastMS) {
    const ms = backoff(this.#attempt++, leastMS);
    this.#later("wait", ms, () => this.connect());
    this.#notBefore = leastMS && Date.now() + ms;
    this.#tell("onState", { state: "waiting", retryMS: ms });
  }

  /** Says why there is no connection, once until there is. @param {any} m as a message "error" */
  trouble(m) {
    this.#told ||= !this.refused(m);
  }

  /** Asks in plain HTTP why an upgrade was refused: a browser does not say. */
  async #probe() {
    const mine = this.#trying;
    /** @type {Response} */
    let answer;
    let said;
    try {
      answer = await this.request("/live");
      said = parse(await answer.text());
    } catch {
      const why = await unanswered(this.#base);
      if (this.running && !this.#ready) this.trouble(why); // trying again is all there is
      return;
    }
    if (mine !== this.#trying || !this.running) return;
    const { status } = answer;
    // Something between may speak for a gateway that was there before, and will be again.
    if (status === 429 || status >= 500 || (this.session && !said.code && status !== 401)) {
      this.trouble({ code: "unavailable", message: `HTTP ${status}: it is tried again`, ...said });
      this.#attempt--;
      this.#wait(retryAfter(answer));
    } else if (status === 400 && /upgrade/.test(said.message)) {
      // All is well but the way: something between does not let WebSockets through.
      if (++this.#refusedUpgrades >= BLOCKED_TRIES) this.connect();
    } else if ((status === 400 || status === 403) && this.session) {
      this.shared.forget(); // of a server that has a new secret since
      this.connect();
    } else if (status === 401 && this.#renews()) {
      this.connect();
    } else {
      this.#end(said.code || "invalid", said.message || STRANGE);
    }
  }

  /** It is over, for good. @param {string} code @param {string} message */
  #end(code, message) {
    this.running = false;
    this.#drop(false);
    this.#tell("onState", { state: "closed", code, message });
  }

  /** Lets go of the connection and of every timer. @param {boolean} goodbye */
  #drop(goodbye) {
    for (const name in this.#timers) clearTimeout(this.#timers[name]);
    this.#link?.leave(goodbye);
    this.#link = null;
    this.#ready = false;
    this.#leastMS = 0;
    this.#notBefore = Infinity;
    this.#sent.clear();
  }
}

/** @type {Record<number, string>} */
const NAMES = { 4500: "invalid", 4503: "forbidden", 4504: "ended" };
