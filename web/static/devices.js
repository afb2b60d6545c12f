// The panel of the account: how many streams it may play, and which devices
// play now.

import { Trouble } from "/static/account.js";
import { element, button, write, keyed, named, playing, sentence } from "/static/dom.js";

const LIMITS = [1, 2, 3, 5];

// limitChoices returns [value, text] for each limit that can be picked.
export function limitChoices(limit) {
  const numbers = [...new Set([...LIMITS, limit])].filter((n) => n > 0).sort((a, b) => a - b);
  return [...numbers.map((n) => [String(n), n === 1 ? "1 stream at a time" : `${n} streams at a time`]), ["none", "as many as it likes"]];
}

// what says what a device does, on a page of the event.
function what(d, event) {
  if (d.status === "playing") return playing(d, event);
  return `waiting for a place${d.event && d.event !== event ? ` to play ${d.event}` : ""}`;
}

const OLD = "The list of devices cannot be read right now; this is the last one. Playing goes on, and this page goes on trying.";

export class DevicesPanel {
  constructor(section, { signOut }) {
    Object.assign(this, { section, signOut });
    const part = (name) => section.querySelector("." + name);
    this.use = part("use");
    this.places = part("places");
    this.list = part("rows");
    this.note = part("note");
    this.busy = new Set();
    this.names = [];
  }

  // say puts a sentence in place of the list, or under it.
  say(text) {
    write(this.note, text);
    this.note.hidden = text === "";
  }

  // show paints a list as Account.devices returns it, on the page of the device
  // mine, which plays the event. limit holds if the list does not know one.
  show(list, { limit, mine, event }) {
    const here = list.devices.filter((d) => d.status === "playing" || d.status === "waiting");
    const players = here.filter((d) => d.status === "playing");
    const current = list.current || players.length;
    const most = list.limit || limit;
    this.names = here.map((d) => d.name);
    this.section.dataset.state = list.stale ? "old" : "live";
    write(this.use, most ? `${current} of ${most} ${most === 1 ? "stream" : "streams"} in use` : `${current} ${current === 1 ? "stream" : "streams"} in use`);
    this.pips(current, most);
    keyed(this.list, [...players, ...here.filter((d) => d.status === "waiting")], {
      key: (d) => d.key + d.status,
      make: () => this.row(),
      update: (li, d) => this.fill(li, d, { mine, event }),
    });
    if (list.stale) this.say(OLD);
    else this.say(here.length === 0 ? "No device is playing." : "");
  }

  // off shows that there is no list to show, and why.
  off(text) {
    this.section.dataset.state = "off";
    this.list.replaceChildren();
    write(this.use, "");
    this.pips(0, 0);
    this.say(text);
  }

  // trouble keeps what was shown last, and says that it may be old.
  trouble(err) {
    if (err.kind === "away") {
      this.section.dataset.state = "old";
      this.say(this.list.children.length > 0 ? OLD : OLD.replace("; this is the last one", ""));
      return;
    }
    const why = { missing: "This server does not keep a list of devices.", refused: "This server asks for a token to show the account’s devices, which this page does not have." };
    this.off(why[err.kind] || `The list of devices was refused. ${sentence(err.message)}`);
  }

  // pips draws the places as dots: those in use are filled.
  pips(current, most) {
    const n = most > 0 && most <= 8 ? Math.max(most, Math.min(current, 8)) : 0;
    keyed(this.places, Array.from({ length: n }, (_, i) => i), {
      key: String,
      make: () => element("span", "pip"),
      update: (pip, i) => {
        pip.classList.toggle("in-use", i < current);
        pip.classList.toggle("beyond", i >= most);
      },
    });
  }

  row() {
    const li = element("li", "row");
    const words = element("div", "row-words");
    const name = element("p", "row-title");
    name.append(element("b", "row-name"), element("span", "badge", "this device"));
    words.append(name, element("p", "small row-since"));
    li.append(words, button("quiet", "Sign out", () => this.end(li)));
    return li;
  }

  fill(li, d, { mine, event }) {
    li.device = d;
    const name = named(d);
    li.dataset.status = d.status;
    write(li.querySelector(".row-name"), name);
    write(li.querySelector(".row-since"), what(d, event));
    li.querySelector(".badge").hidden = d.key !== mine;
    li.querySelector("button").setAttribute("aria-label", `Sign out ${name}`);
    li.querySelector("button").disabled = this.busy.has(d.key);
  }

  async end(li) {
    const { key } = li.device;
    const b = li.querySelector("button");
    this.busy.add(key);
    b.disabled = true;
    try {
      await this.signOut(key);
    } catch (err) {
      if (!(err instanceof Trouble)) throw err;
      this.say(`${li.device.name || "The device"} could not be signed out. ${sentence(err.message)} Try again.`.replace("  ", " "));
    } finally {
      this.busy.delete(key);
      b.disabled = false;
    }
  }
}
