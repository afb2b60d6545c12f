// The usual way to a gateway: one WebSocket.

import { OPEN_MS, QUIET_MS } from "./limits.js";
import { COMPACT_PROTOCOL, GOODBYE, JSON_PROTOCOL, MOVED, compactCounts, parse } from "./protocol.js";

/**
 * What a way to a gateway tells its client.
 * @typedef {object} Listener
 * @property {(m: any) => void} message a message of the protocol, counts too
 * @property {(code: number, reason: string, opened: boolean) => void} lost once, unless it was left
 *
 * A way to a gateway.
 * @typedef {object} Link
 * @property {(m: string) => boolean} send false: it cannot just now
 * @property {(goodbye: boolean) => void} leave
 */

/** @implements {Link} */
export class Socket {
  _quietMS = OPEN_MS;
  _ready = false;
  _ended = false;
  /** @type {string[]} */
  _dims = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  _silence;
  _listener;
  _ws;

  /**
   * @param {string} url @param {string} token @param {Listener} listener
   */
  constructor(url, token, listener) {
    this._listener = listener;
    const offered = [COMPACT_PROTOCOL, JSON_PROTOCOL];
    if (token) offered.push("bearer." + token);
    this._ws = new WebSocket(url, offered);
    this._ws.binaryType = "arraybuffer";
    this._ws.onmessage = (e) => this._receive(e.data);
    this._ws.onclose = (e) => this._end(e.code, e.reason);
    this._heard();
  }

  // heard gives up a connection that says nothing: a browser does not notice by
  // itself when the network is gone.
  _heard() {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => this._end(1006, "silent"), this._quietMS);
  }

  /** @param {string | ArrayBuffer} data */
  _receive(data) {
    if (this._ended) return; // a socket that was left goes on for a while
    const m = typeof data === "string" ? parse(data) : { t: "counts", counts: compactCounts(data, this._dims) };
    if (m.t === "hello") {
      this._ready = true;
      this._dims = Array.isArray(m.dims) ? m.dims.map(String) : [];
      this._quietMS = QUIET_MS + 3 * (m.tick_ms || 0);
    }
    this._heard();
    this._listener.message(m);
  }

  /** @param {string} m */
  send(m) {
    if (this._ended || this._ws.readyState !== 1) return false;
    this._ws.send(m);
    return true;
  }

  /** @param {boolean} goodbye */
  leave(goodbye) {
    this._ended = true;
    clearTimeout(this._silence);
    if (this._ws.readyState < 2) this._ws.close(goodbye ? GOODBYE : MOVED);
  }

  /** @param {number} code @param {string} reason */
  _end(code, reason) {
    if (this._ended) return;
    this.leave(false);
    this._listener.lost(code, reason, this._ready);
  }
}
