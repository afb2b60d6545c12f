// A small client of the account routes, /v1/accounts/{account}/devices…: which
// devices play, whether one may, and how to make room. It knows nothing of the
// page.
//
//   const account = new Account(id, { limit });
//   const watch = account.watch({ onDevices, onTrouble });
//   watch.start(); … watch.stop();

import { refusal } from "/sdk.js";

const TIMEOUT_MS = 5000;
const POLL_MS = 3000; // where there is no stream
const LOST_MS = 2000; // within which those whose streams ended together ask, not together
const AGAIN_MS = 5000; // after which a stream is tried again
const TROUBLE_MS = [2000, 4000, 8000, 15000]; // between tries that fail
const STREAMS = 3; // of this browser: it holds six connections to one server, and others need some

// Trouble is why a request was not answered as asked. kind is "missing" (this
// server does not serve accounts), "refused" (to whoever asks), "wrong" (what
// was asked) or "away" (for now: try again).
export class Trouble extends Error {
  constructor(kind, message, retryMS = 0) {
    super(message);
    Object.assign(this, { kind, retryMS });
  }
}

export class Account {
  // limit is how many streams the account may have, 0 if that is for the
  // server to know, and device who asks. A server with --auth none believes it,
  // others have it from a token.
  constructor(id, { limit = 0, device = "" } = {}) {
    Object.assign(this, { id, limit, own: device });
  }

  path(...parts) {
    const path = ["/v1/accounts", encodeURIComponent(this.id), "devices", ...parts].join("/");
    const query = new URLSearchParams();
    if (this.limit) query.set("limit", this.limit);
    if (this.own) query.set("device", this.own);
    return query.size ? `${path}?${query}` : path;
  }

  // devices returns {limit, current, mine, stale, devices: [{key, name, event,
  // status, since}]}: mine is the key of who asks, "" if the server does not know;
  // status is "playing", "waiting" for a place, or "ended"; stale says that the
  // server has not been able to look for some seconds.
  async devices() {
    return deviceList(await ask(this.path()));
  }

  // device returns {status, key, name, event, session, since, current, limit}, and
  // refusal if it is blocked.
  async device(id) {
    return deviceStatus(await ask(this.path(part(id))));
  }

  // signOut frees the places of a device of the list, by its key.
  async signOut(key) {
    await ask(this.path(part(key)), { method: "DELETE" });
  }

  // play asks for a place for a device, and ends the leases that codes name if
  // need be. It returns null if the device has one, else the refusal.
  async play(id, { event, session, name }, codes) {
    const body = { event: event || undefined, session: session || undefined, name: name || undefined, terminate: codes };
    if (this.limit) body.limit = this.limit;
    const said = await ask(this.path(part(id), "heartbeat"), { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }, [409, 410]);
    return said.status === "allowed" ? null : refusal(said);
  }

  watch(heard) {
    return new Watch(this, heard);
  }
}

// part encodes an id for a path, in which "stream" is the list's.
function part(id) {
  return id === "stream" ? "%73tream" : encodeURIComponent(id);
}

// ask returns the JSON of an answer with a good status, or with one that is an
// answer nevertheless. It throws Trouble.
async function ask(path, options = {}, alsoGood = []) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
  } catch {
    throw new Trouble("away", "The server does not answer.");
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok || alsoGood.includes(answer.status)) return body && typeof body === "object" ? body : {};
  const message = body && typeof body.message === "string" ? body.message : "";
  switch (answer.status) {
    case 401:
    case 403:
      throw new Trouble("refused", message);
    case 404:
    case 405:
    case 501:
      throw new Trouble("missing", message);
    case 400:
    case 409:
    case 413:
      throw new Trouble("wrong", message);
  }
  throw new Trouble("away", message, 1000 * (parseInt(answer.headers.get("Retry-After"), 10) || 0));
}

const text = (v) => (typeof v === "string" ? v : "");
const count = (v) => (Number.isFinite(v) && v > 0 ? Math.floor(v) : 0);

function deviceList(m) {
  const list = Array.isArray(m.devices) ? m.devices.filter((d) => d && typeof d === "object") : [];
  return {
    limit: count(m.limit),
    current: count(m.current),
    mine: text(m.this),
    stale: m.stale === true,
    devices: list.map((d) => ({ key: text(d.device), name: text(d.name), event: text(d.event), status: text(d.status), since: count(d.since) })),
  };
}

function deviceStatus(m) {
  return {
    status: text(m.status), key: text(m.device), name: text(m.name), event: text(m.event), session: text(m.session),
    since: count(m.since), current: count(m.current), limit: count(m.limit),
    refusal: m.status === "blocked" ? refusal(m) : null,
  };
}

// Watch tells of the account's devices whenever something changed: from the
// stream, or by asking again and again where there is none.
class Watch {
  constructor(account, { onDevices, onTrouble = () => {} }) {
    Object.assign(this, { account, onDevices, onTrouble });
    this.running = false;
    this.failed = 0;
    this.release = null;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.failed = 0;
    this.poll();
  }

  stop() {
    this.running = false;
    this.close();
  }

  // again asks at once: something happened that the list will show.
  again() {
    if (this.running && !this.source) this.poll();
  }

  // renew asks at once, and for another stream: the network was gone.
  renew() {
    if (this.running) this.poll();
  }

  close() {
    clearTimeout(this.timer);
    this.turn = {}; // answers to what was asked before are not for us any more
    if (this.source) this.source.close();
    this.source = null;
    if (this.release) this.release();
    this.release = null;
  }

  async poll() {
    this.close();
    const turn = this.turn;
    let wait = POLL_MS;
    try {
      const list = await this.account.devices();
      if (turn !== this.turn) return;
      this.failed = 0;
      this.onDevices(list);
      if (await this.stream(turn)) return;
    } catch (err) {
      if (turn !== this.turn) return;
      if (!(err instanceof Trouble)) throw err;
      wait = Math.max(err.retryMS, TROUBLE_MS[Math.min(this.failed++, TROUBLE_MS.length - 1)]);
      this.onTrouble(err);
    }
    if (turn === this.turn) this.timer = setTimeout(() => this.poll(), wait * (0.8 + 0.4 * Math.random()));
  }

  // stream goes on with Server-Sent Events. It reports false if polling has to do.
  async stream(turn) {
    if (performance.now() < this.notBefore) return false;
    const release = await freeStream();
    if (turn !== this.turn) {
      if (release) release();
      return true; // somebody else goes on
    }
    if (!release) return false;
    this.release = release;
    const source = (this.source = new EventSource(this.account.path("stream")));
    const take = (e) => source === this.source && this.take(e.data);
    source.onmessage = take;
    source.addEventListener("devices", take);
    source.onerror = () => {
      if (source !== this.source) return;
      this.close();
      this.notBefore = performance.now() + AGAIN_MS;
      this.timer = setTimeout(() => this.poll(), LOST_MS * Math.random()); // learns why
    };
    return true;
  }

  take(data) {
    let m;
    try {
      m = JSON.parse(data);
    } catch {
      return;
    }
    if (m && typeof m === "object") this.onDevices(deviceList(m));
  }
}

// freeStream resolves with a function that gives back one of the streams that
// this browser may have, or with null if all are taken, or cannot be counted.
async function freeStream() {
  if (!navigator.locks || typeof EventSource !== "function") return null;
  for (let i = 0; i < STREAMS; i++) {
    const release = await new Promise((resolve) => {
      navigator.locks
        .request(`grandstand.stream.${i}`, { ifAvailable: true }, (lock) => (lock ? new Promise(resolve) : resolve(null)))
        .catch(() => resolve(null));
    });
    if (release) return release;
  }
  return null;
}
