// The line that says in plain words how far the numbers can be trusted.

import { write } from "/static/dom.js";

const FIRST_MS = 5000; // after which there should have been numbers

function seconds(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return s.toFixed(1) + "\u00a0s"; // not to be torn apart
  return s < 120 ? Math.round(s) + "\u00a0s" : Math.round(s / 60) + "\u00a0min";
}

export class StatusLine {
  constructor(element, live) {
    Object.assign(this, { element, live });
    this.textElement = element.querySelector("#status-text");
    this.name = "connecting"; // or live, reconnecting, ended, error
    this.text = "";
    this.frame = null; // the newest counts
    this.gotAt = 0; // when what they count was so
    this.openAt = 0;
    this.retryAt = 0;
  }

  connecting() {
    this.name = "connecting";
  }

  // forget drops the numbers: another event.
  forget() {
    this.frame = null;
  }

  connection(s) {
    this.retryAt = s.retryAt || 0;
    switch (s.state) {
      case "connecting":
        this.name = this.frame ? "reconnecting" : "connecting";
        break;
      case "open":
        this.name = "live";
        this.openAt = performance.now();
        break;
      case "waiting":
        this.name = "reconnecting";
        break;
      case "closed":
        this.name = s.code === 4504 ? "ended" : "error";
        break;
    }
  }

  counts(m) {
    this.frame = m;
    this.gotAt = performance.now() - Math.max(0, Number(m.age) || 0);
  }

  // retryIn returns the whole seconds to the next try.
  retryIn() {
    return Math.ceil((this.retryAt - performance.now()) / 1000);
  }

  paint() {
    const [name, text] = this.words();
    this.element.dataset.state = name;
    this.element.dataset.quality = this.frame ? this.frame.q || "live" : "";
    document.body.dataset.state = name;
    document.body.classList.toggle("is-blocked", Boolean(this.live.blocked));
    write(this.textElement, text);
    this.text = text;
  }

  // words returns the state to be shown, and the text.
  words() {
    const { frame } = this;
    const now = performance.now();
    const age = frame ? now - this.gotAt : 0;
    switch (this.name) {
      case "connecting":
        return ["connecting", "connecting…"];
      case "reconnecting":
        return ["reconnecting", "reconnecting…" + (frame ? ` last good number, ${seconds(age)} old` : "")];
      case "ended":
        return ["ended", "the event is over"];
      case "error":
        return ["error", "not connected"];
    }
    if (this.live.blocked) return ["blocked", "not playing here"];
    if (!frame) return ["connecting", now - this.openAt > FIRST_MS ? "connected, waiting for the first numbers" : "connected…"];
    if (frame.q === "stale") return ["stale", `last good number, ${seconds(age)} old`];
    if (frame.q === "final") return ["ended", "the event is over"];
    if (age > 3 * this.live.tickMS + 1000) return ["live", `live, no change for ${seconds(age)}`];
    return ["live", `live, ${seconds(age)} old` + (frame.q === "partial" ? ", some of it late" : "")];
  }
}
