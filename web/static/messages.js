// The panel of raw messages, for developers: both directions, the newest first.

import { element } from "/static/dom.js";

const MOST = 200; // messages that are kept
const CHARS = 2000; // of one that are shown

export class Messages {
  constructor(details) {
    const part = (id) => details.querySelector("#" + id);
    Object.assign(this, { details, list: part("message-list"), count: part("message-count"), pause: part("pause-messages") });
    this.kept = []; // newest first
    this.fresh = 0; // of those, not in the list yet
    this.paused = false;
    details.addEventListener("toggle", () => this.rewrite());
    document.addEventListener("visibilitychange", () => this.paint());
    this.pause.addEventListener("click", () => {
      this.paused = !this.paused;
      this.pause.textContent = this.paused ? "Go on" : "Pause";
      this.pause.setAttribute("aria-pressed", String(this.paused));
      if (!this.paused) this.rewrite();
    });
    part("clear-messages").addEventListener("click", () => {
      this.kept = [];
      this.rewrite();
    });
  }

  // add takes a message as it travels; from is "server" or "player".
  add(text, from) {
    this.kept.unshift({ text, from, at: new Date() });
    this.kept.length = Math.min(this.kept.length, MOST);
    this.fresh++;
    this.paint();
  }

  // rewrite paints all that is kept.
  rewrite() {
    this.list.replaceChildren();
    this.fresh = this.kept.length;
    this.count.textContent = this.kept.length;
    this.paint();
  }

  // paint shows what is new, if somebody looks.
  paint() {
    if (this.paused || !this.details.open || document.hidden) return;
    const fresh = this.kept.slice(0, Math.min(this.fresh, MOST));
    this.fresh = 0;
    this.list.prepend(...fresh.map(row));
    while (this.list.children.length > this.kept.length) this.list.lastElementChild.remove();
    this.count.textContent = this.kept.length;
  }
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function row({ text, from, at }) {
  const li = element("li", from);
  const time = element("time", "", clock.format(at));
  time.dateTime = at.toISOString();
  li.append(time, element("span", "from", from === "server" ? "← gateway" : "→ player"), element("code", "", text.length > CHARS ? text.slice(0, CHARS) + "…" : text));
  return li;
}
