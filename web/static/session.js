// The session of a play, shared by all tabs of one device and kept over a
// reload. Two tabs with a session each would take the device's one place from
// each other.

import { recallJSON, remember, rememberedKeys } from "/static/storage.js";

const FRESH_MS = 150000; // 2.5 × the beat of a hidden tab: after that, coming back is another play
const TOUCH_MS = 5000;
const SPREAD_MS = 300; // in which all tabs know what one has stored: they may be of different processes
const TURN_MS = 5000; // for so long a tab waits for another that begins the same play

const PREFIX = "session."; // an item each: of one for all, tabs would write over each other's parts

// sessionOf returns the session that this browser plays on a device, "" if it
// does not.
export function sessionOf(device, event) {
  for (const name of rememberedKeys(PREFIX)) {
    const [e, , d] = partsOf(name.slice(PREFIX.length));
    if (d === device && e === event && fresh(recallJSON(name))) return recallJSON(name).id;
  }
  return "";
}

function partsOf(key) {
  try {
    return JSON.parse(key);
  } catch {
    return [];
  }
}

function fresh(entry) {
  return Boolean(typeof entry.id === "string" && entry.id && Math.abs(Date.now() - entry.at) < FRESH_MS);
}

export class SharedSession {
  // parts say which play it is: the event, the viewer, the device and the
  // account. Two tabs with the same share a session.
  constructor(...parts) {
    this.name = PREFIX + JSON.stringify(parts);
    this.id = "";
    this.touched = 0;
    this.done = () => {};
  }

  stored() {
    const entry = recallJSON(this.name);
    return fresh(entry) ? entry.id : "";
  }

  // resume returns the session to resume, "" if there is none. In that case
  // other tabs that begin the same play wait until keep names it.
  async resume() {
    if (!this.stored() && navigator.locks) await this.turn();
    this.id = this.stored();
    return this.id;
  }

  // turn waits until no other tab begins the play, and then has others wait.
  turn() {
    const late = AbortSignal.timeout(TURN_MS);
    return new Promise((resolve) => {
      navigator.locks
        .request("grandstand." + this.name, { signal: late }, () => {
          resolve();
          if (this.stored()) return null;
          return new Promise((done) => {
            this.done = done;
            setTimeout(done, TURN_MS);
          });
        })
        .catch(resolve); // the other tab is slow: go on alone
    });
  }

  // keep remembers the session, and that it is alive. If another tab has begun
  // the play anew meanwhile, that is the one to be remembered.
  keep(id) {
    const now = Date.now();
    if (id === this.id) {
      const stored = this.stored();
      if (now - this.touched < TOUCH_MS || (stored && stored !== id)) return;
    }
    this.id = id;
    this.touched = now;
    remember(this.name, JSON.stringify({ id, at: now }));
    for (const name of rememberedKeys(PREFIX)) if (!fresh(recallJSON(name))) remember(name, "");
    setTimeout(this.done, SPREAD_MS);
  }

  // forget makes the next play a new one.
  forget() {
    remember(this.name, "");
  }
}
