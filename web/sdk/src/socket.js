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
  #quietMS = OPEN_MS;
  #opened = false;
  #ended = false;
  /** @type {string[]} */
  #dims = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silence;
  #listener;
  #ws;

  /**
   * @param {string} url @param {string} token @param {Listener} listener
   */
  constructor(url, token, listener) {
    this.#listener = listener;
    const offered = [COMPACT_PROTOCOL, JSON_PROTOCOL];
    if (token) offered.push("bearer." + token);
    this.#ws = new WebSocket(url, offered);
    this.#ws.binaryType = "arraybuffer";
    this.#ws.onmessage = (e) => this.#receive(e.data);
    this.#ws.onclose = (e) => this.#end(e.code, e.reason);
    this.#heard();
  }

  // heard gives up a connection that says nothing: a browser does not notice by
  // itself when the network is gone.
  #heard() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#end(1006, "silent"), this.#quietMS);
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (this.#ended) return; // a socket that was left goes on for a while
    const m = typeof data === "string" ? parse(data) : { t: "counts", counts: compactCounts(data, this.#dims) };
    if (m.t === "hello") {
      this.#opened = true;
      this.#dims = Array.isArray(m.dims) ? m.dims.map(String) : [];
      this.#quietMS = QUIET_MS + 3 * (m.tick_ms || 0);
    }
    this.#heard();
    this.#listener.message(m);
  }

  /** @param {string} m */
  send(m) {
    if (this.#ended || this.#ws.readyState !== 1) return false;
    this.#ws.send(m);
    return true;
  }

  /** @param {boolean} goodbye */
  leave(goodbye) {
    this.#ended = true;
    clearTimeout(this.#silence);
    if (this.#ws.readyState < 2) this.#ws.close(goodbye ? GOODBYE : MOVED);
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#ended) return;
    this.leave(false);
    this.#listener.lost(code, reason, this.#opened);
  }
}
