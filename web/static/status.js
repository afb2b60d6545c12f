// The line that says in plain words how far the numbers can be trusted.

import { write } from "/static/dom.js";

const FIRST_MS = 5000; // after which there should have been numbers

function seconds(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return s.toFixed(1) + "\u00a0s"; // not to be torn apart
  return s < 120 ? Math.round(s) + "\u00a0s" : Math.round(s / 60) + "\u00a0min";
}

export class StatusLine {
  constructor(element) {
    this.element = element;
    this.textElement = element.querySelector("#status-text");
    this.name = "connecting"; // or live, reconnecting, ended, error
    this.text = "";
    this.frame = null; // the newest counts
    this.gotAt = 0; // when what they count was so
    this.openAt = 0;
    this.lostAt = 0; // when the connection was, if it is
    this.retryAt = 0;
    this.blocked = false;
    this.tickMS = 2000;
  }

  connecting() {
    this.name = "connecting";
    this.lostAt = 0;
  }

  // forget drops the numbers: another event.
  forget() {
    this.frame = null;
  }

  // connection takes a state as the SDK tells it.
  connection(s) {
    const now = performance.now();
    this.retryAt = s.retryMS ? now + s.retryMS : 0;
    switch (s.state) {
      case "connecting":
        this.name = this.frame || this.lostAt ? "reconnecting" : "connecting";
        break;
      case "open":
        this.name = "live";
        this.openAt = now;
        this.lostAt = 0;
        break;
      case "waiting":
        this.name = "reconnecting";
        this.lostAt ||= now;
        break;
      case "closed":
        this.name = s.code === "ended" ? "ended" : "error";
        break;
    }
  }

  counts(c) {
    this.frame = c;
    this.gotAt = performance.now() - c.age;
  }

  // lostFor returns for how many ms there has been no connection.
  lostFor() {
    return this.lostAt ? performance.now() - this.lostAt : 0;
  }

  // retryIn returns the whole seconds to the next try.
  retryIn() {
    return Math.ceil((this.retryAt - performance.now()) / 1000);
  }

  paint() {
    const [name, text] = this.words();
    this.element.dataset.state = name;
    this.element.dataset.quality = this.frame ? this.frame.quality : "";
    document.body.dataset.state = name;
    document.body.classList.toggle("is-blocked", this.blocked);
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
    if (this.blocked) return ["blocked", "not playing here"];
    if (!frame) return ["connecting", now - this.openAt > FIRST_MS ? "connected, waiting for the first numbers" : "connected…"];
    if (frame.quality === "stale") return ["stale", `last good number, ${seconds(age)} old`];
    if (frame.quality === "final") return ["ended", "the event is over"];
    if (age > 3 * this.tickMS + 1000) return ["live", `live, no change for ${seconds(age)}`];
    return ["live", `live, ${seconds(age)} old` + (frame.quality === "partial" ? ", some of it late" : "")];
  }
}
