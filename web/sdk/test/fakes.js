// What a browser has and Node does not, under the clock of node:test.

export class FakeStorage {
  constructor() {
    this.of = new Map();
  }
  getItem(k) {
    return this.of.get(k) ?? null;
  }
  setItem(k, v) {
    this.of.set(k, String(v));
  }
  removeItem(k) {
    this.of.delete(k);
  }
}

// FakeServer is all the WebSockets that were opened, and answers of plain HTTP.
export class FakeServer {
  constructor() {
    this.sockets = [];
    this.requests = [];
    this.up = true;
    this.upgrades = true; // WebSockets get through
    this.foreign = false; // it serves no pages of this origin
    this.answer = () => new Response(`{"code":"invalid","message":"this address takes WebSockets: ask for an upgrade (RFC 6455)"}`, { status: 400 });
    const server = this;
    globalThis.WebSocket = class extends FakeSocket {
      constructor(url, protocols) {
        super(server, url, protocols);
      }
    };
    globalThis.fetch = async (url, init) => {
      server.requests.push({ url: String(url), ...init });
      if (!server.up || (server.foreign && init?.mode !== "no-cors")) throw new TypeError("failed to fetch");
      return server.answer(new URL(url), init || {});
    };
  }
  get last() {
    return this.sockets.at(-1);
  }
}

export class FakeSocket {
  constructor(server, url, protocols) {
    Object.assign(this, { server, url, protocols, readyState: 0, sent: [], closedWith: null });
    server.sockets.push(this);
    setTimeout(() => (server.up && server.upgrades && !server.foreign ? this.opened() : this.gone(1006)), 5);
  }
  opened() {
    if (this.readyState !== 0) return;
    this.readyState = 1;
    this.server.onopen?.(this);
  }
  hello(more = {}) {
    this.say({ t: "hello", session: "s1", beat_ms: 10000, tick_ms: 2000, dims: ["world", "team"], ...more });
  }
  say(m) {
    this.onmessage?.({ data: typeof m === "string" || m instanceof ArrayBuffer ? m : JSON.stringify(m) });
  }
  send(text) {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    this.closedWith = code;
    this.readyState = 3;
    setTimeout(() => this.onclose?.({ code, reason: "" }), 1);
  }
  gone(code, reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  of(type) {
    return this.sent.filter((m) => m.t === type);
  }
}

export class FakeVideo extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { readyState: 0, paused: true, ended: false, seeking: false, currentTime: 0, played: { length: 0 }, autoplay: false, error: null });
  }
  be(state, event) {
    Object.assign(this, state);
    this.dispatchEvent(new Event(event));
  }
}
