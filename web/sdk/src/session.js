// The session of a play, shared by all tabs of one device and kept over a reload.
// Two tabs with a session each would take the device's one place from each other.
// Without storage, or locks, each tab has a session of its own.

const FRESH_MS = 150_000; // 2.5 × the beat of a hidden tab: after that, coming back is another play
const TOUCH_MS = 5_000;
const TURN_MS = 5_000; // for so long a tab waits for another that begins the same play
const SPREAD_MS = 300; // in which all tabs see what one has stored
const PREFIX = "grandstand.session.";

/** @param {(s: Storage) => any} use @returns {any} undefined if storage is switched off, or full */
function storage(use) {
  try {
    return use(localStorage);
  } catch {
    return undefined;
  }
}

export class SharedSession {
  _key;
  _touched = 0;
  _begun = (/** @type {any} */ _) => {};

  /** @param {string[]} parts which play it is: the same in two tabs share a session */
  constructor(parts) {
    this._key = PREFIX + JSON.stringify(parts);
    this.id = "";
  }

  _stored() {
    const [id, at] = String(storage((s) => s.getItem(this._key))).split(" ");
    return Math.abs(Date.now() - +at) < FRESH_MS ? id : "";
  }

  /** The session to resume, "" if there is none: then other tabs that begin the same play wait until _keep names it. */
  async _resume() {
    if (!this._stored() && globalThis.navigator?.locks) await this._turn();
    return (this.id = this._stored());
  }

  /** Waits until no other tab begins the play, and then has others wait. @returns {Promise<void>} */
  _turn() {
    return new Promise((resolve) => {
      const turn = async () => {
        resolve();
        if (!this._stored()) await new Promise((done) => setTimeout((this._begun = done), TURN_MS));
      };
      navigator.locks.request(this._key, turn).catch(resolve);
      setTimeout(resolve, TURN_MS); // the other tab is slow: go on alone
    });
  }

  /** Remembers the session, and that it is alive. @param {string} id */
  _keep(id) {
    const now = Date.now();
    if (id === this.id) {
      const stored = this._stored();
      // If another tab has begun the play anew, that is the one to be remembered.
      if (now - this._touched < TOUCH_MS || (stored && stored !== id)) return;
    }
    this.id = id;
    this._touched = now;
    storage((s) => s.setItem(this._key, id + " " + now));
    setTimeout(this._begun, SPREAD_MS);
  }

  /** Makes the next play a new one. */
  _forget() {
    this.id = "";
    storage((s) => s.removeItem(this._key));
  }
}
