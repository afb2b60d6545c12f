// A small client of GET /v1/events/{event}/live: connects, beats, comes back
// after a loss with the same session. It knows nothing of the page.
//
//   const live = new Live({ url, onState, onCounts, onBlocked, onUnblocked, onNotice, probe });
//   live.start(); … live.stop();
//
// onBlocked gets a Refusal (see refusal) when this session may not play, and
// again whenever the reasons changed; onUnblocked when it may again.
// live.takeover(codes) asks to play here, and to end the sessions with those
// termination codes if need be. It is answered by one or the other.
//
// url(session) returns the address to connect to; session is "" or the one to
// resume. onState gets {state, code, message, retryAt}: see STATES. A refusal
// before the upgrade is invisible to a WebSocket in a browser: probe(session)
// may find out. It returns {code} if there is no use in trying again, {retryMS}
// if there is later, {fresh: true} if it is the session that is refused, else
// null.

export const STATES = ["connecting", "open", "waiting", "closed"];

const BASE_MS = 1000; // the first wait is up to this
const CAP_MS = 30000; // no wait is longer, unless the server asks for it
const STEADY_MS = 10000; // a connection that lasted so long was a good one
const OPEN_MS = 10000; // to the hello
const QUIET_MS = 20000; // unchanged numbers come every 15 s; a connection that says less is dead
const HIDDEN_BEAT_MS = 60000; // what a hidden tab declares
const MOVED = 4000; // our close code when we leave to come back: not a goodbye
const RULING_MS = 2000; // after a hello; who is not told to be blocked by then is not

// backoff returns a wait before try number attempt (from 0) in ms: full jitter,
// so that a crowd which lost its server does not come back in waves. What the
// server asked for comes on top of nothing: it is the least.
export function backoff(attempt, random = Math.random, leastMS = 0) {
  return leastMS + random() * Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt, 10));
}

// after says what a close code asks for: "retry", "slowly" (we sent too much)
// or "final".
export function after(code) {
  if (code === 1008) return "slowly";
  if (code >= 4500 && code <= 4999) return "final";
  return "retry";
}

const FINAL = ["taken_over", "superseded", "signed_out"];

// refusal makes a Refusal of the message "blocked", or of the body of a 409 or
// 410: {code, message, rule, limit, current, by, conflicts, retryMS, final}.
// conflicts are the devices that play instead, oldest first: {device, name,
// event, since, code}, since in Unix ms. final says that it does not end by
// itself. Whatever a server sent, the fields have their types.
export function refusal(m) {
  const text = (v) => (typeof v === "string" ? v : "");
  const list = Array.isArray(m.conflicts) ? m.conflicts.filter((c) => c && typeof c === "object") : [];
  const conflicts = list.map((c) => ({
    device: text(c.device), name: text(c.name) || "a device without a name", event: text(c.event), since: positive(c.since, 0), code: text(c.termination_code),
  }));
  return {
    code: text(m.code), message: text(m.message), rule: text(m.rule), limit: positive(m.limit, 0), current: positive(m.current, 0), by: text(m.by),
    conflicts: conflicts.sort((a, b) => a.since - b.since), retryMS: positive(m.retry_ms, 0), final: FINAL.includes(m.code),
  };
}

export class Live {
  constructor({ url, onState, onCounts, onBlocked = () => {}, onUnblocked = () => {}, onNotice = () => {}, probe = async () => null }) {
    Object.assign(this, { url, onState, onCounts, onBlocked, onUnblocked, onNotice, probe });
    this.hidden = false;
    // A session goes on over a reload, and in several tabs, but no number may
    // come twice in it: so each tab begins where the clock is.
    this.seq = Date.now() * 100 + Math.floor(Math.random() * 100);
    this.reset();
  }

  // reset forgets the session, so that the next start is a new play.
  reset() {
    this.session = "";
    this.blocked = null; // the Refusal that holds
    this.attempt = 0;
    this.epoch = -1;
    this.at = -1;
    this.beatMS = 10000;
    this.tickMS = 2000;
    this.dims = [];
  }

  start() {
    this.running = true;
    this.connect();
  }

  // stop says goodbye: the session is not counted from the next tick on.
  stop() {
    this.running = false;
    this.drop(1000, "goodbye");
  }

  // retryNow cuts a wait short.
  retryNow() {
    if (this.running && !this.socket) this.connect();
  }

  // setHidden slows the beats of a tab that nobody looks at.
  setHidden(hidden) {
    if (hidden === this.hidden) return;
    this.hidden = hidden;
    if (this.ready) this.beat();
    if (!hidden) this.retryNow();
  }

  // join changes dimensions in place; false if there is no connection.
  join(seg) {
    if (!this.ready) return false;
    this.send({ t: "join", seg });
    return true;
  }

  // takeover asks to play here; false if there is no connection. codes end the
  // sessions that they name, the first first, and no more than it takes. Without
  // any it plays if there is a place.
  takeover(codes = []) {
    if (!this.ready) return false;
    this.send({ t: "takeover", codes });
    return true;
  }

  connect() {
    this.drop(MOVED, "");
    this.onState({ state: "connecting" });
    let socket;
    try {
      socket = new WebSocket(this.url(this.session), "grandstand.v1");
    } catch (err) {
      this.close({ code: "invalid", message: "This address cannot be connected to. Reload the page without its parameters." });
      return;
    }
    this.socket = socket;
    this.ready = false;
    this.heardAt = performance.now();
    this.notBefore = 0;
    // Handlers look whether the socket is still the current one: a socket that
    // was dropped goes on sending events for a while.
    socket.onmessage = (e) => socket === this.socket && this.receive(e.data);
    socket.onclose = (e) => socket === this.socket && this.lost(e.code, e.reason);
    this.watch = setInterval(() => this.check(), 1000);
  }

  // check gives up a connection that says nothing: a browser does not notice
  // by itself when the network is gone.
  check() {
    const silent = performance.now() - this.heardAt;
    const limit = this.ready ? QUIET_MS + 3 * this.tickMS : OPEN_MS;
    if (silent > limit) this.lost(1006, "silent");
  }

  receive(text) {
    this.heardAt = performance.now();
    let m;
    try {
      m = JSON.parse(text);
    } catch {
      return;
    }
    if (m === null || typeof m !== "object") return;
    switch (m.t) {
      case "hello":
        this.hello(m);
        break;
      case "counts":
        this.counts(m);
        break;
      case "pace":
        this.pace(m);
        break;
      case "drain":
        this.notBefore = performance.now() + positive(m.retry_ms, 0);
        clearTimeout(this.leave);
        this.leave = setTimeout(() => this.connect(), positive(m.retry_ms, 0));
        break;
      case "blocked":
        this.block(refusal(m));
        break;
      case "unblocked":
        this.unblock();
        break;
      case "ok":
        if (m.re === "takeover") this.unblock();
        this.onNotice(m);
        break;
      case "error":
        this.onNotice(m);
        break;
    }
  }

  block(refused) {
    clearTimeout(this.ruling);
    const first = !this.blocked;
    this.blocked = refused;
    if (first) this.beat(); // says that it does not play
    this.onBlocked(refused);
  }

  unblock() {
    clearTimeout(this.ruling);
    if (!this.blocked) return;
    this.blocked = null;
    this.beat();
    this.onUnblocked();
  }

  hello(m) {
    if (m.session !== this.session) {
      // Another play: the order of what came before says nothing about it.
      this.session = String(m.session);
      this.epoch = this.at = -1;
    }
    this.dims = Array.isArray(m.dims) ? m.dims.map(String) : [];
    this.ready = true;
    if (this.blocked) this.ruling = setTimeout(() => this.unblock(), RULING_MS);
    this.steady = setTimeout(() => (this.attempt = 0), STEADY_MS);
    this.pace(m);
    this.onState({ state: "open" });
  }

  pace(m) {
    this.beatMS = positive(m.beat_ms, this.beatMS);
    this.tickMS = positive(m.tick_ms, this.tickMS);
    if (this.ready) this.beat();
  }

  counts(m) {
    if (!m.n || m.epoch < this.epoch || (m.epoch === this.epoch && m.at < this.at)) return;
    this.epoch = m.epoch;
    this.at = m.at;
    this.onCounts(m);
  }

  // beat sends one now and from then on in its interval.
  beat() {
    clearTimeout(this.beating);
    const every = this.hidden ? Math.max(HIDDEN_BEAT_MS, this.beatMS) : this.beatMS;
    const state = !this.blocked ? "playing" : this.blocked.final ? "paused" : "starting";
    this.send({ t: "beat", seq: ++this.seq, state, interval_ms: every });
    this.beating = setTimeout(() => this.beat(), every);
  }

  send(m) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(m));
  }

  // lost is called once for each connection that ended without our will.
  async lost(code, reason) {
    const opened = this.ready;
    const leastMS = Math.max(0, this.notBefore - performance.now());
    this.drop(MOVED, "");
    if (!this.running) return;
    const what = after(code);
    if (what === "final") {
      this.close({ code, message: reason });
      return;
    }
    this.wait(backoff(this.attempt, Math.random, what === "slowly" ? 10000 : leastMS));
    this.attempt++;
    if (opened) return;
    const waiting = this.waiting;
    const said = await this.probe(this.session);
    if (!said || waiting !== this.waiting || !this.running || this.socket) return;
    if (said.code) this.close(said);
    else if (said.retryMS) this.wait(backoff(0, Math.random, said.retryMS));
    else if (said.fresh) this.session = "";
  }

  wait(ms) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.running && this.connect(), ms);
    this.onState({ state: "waiting", retryAt: performance.now() + ms });
  }

  close({ code, message }) {
    this.running = false;
    this.drop(MOVED, "");
    this.onState({ state: "closed", code, message });
  }

  // drop lets go of the connection and of every timer.
  drop(code, reason) {
    for (const timer of [this.beating, this.waiting, this.leave, this.steady, this.ruling]) clearTimeout(timer);
    clearInterval(this.watch);
    const socket = this.socket;
    this.socket = null;
    this.ready = false;
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
  }
}

function positive(v, otherwise) {
  return typeof v === "number" && v > 0 ? v : otherwise;
}
