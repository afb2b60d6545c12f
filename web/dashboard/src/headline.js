// The five numbers at the top, and the line that says how far to trust them.

import { byId, mark, write } from "./dom.js";
import { compact, duration, number, plural, share, signed } from "./format.js";

/** @typedef {import("./model.js").Model} Model */

/**
 * How the stream of boards is.
 * @typedef {object} Link
 * @property {"connecting" | "open" | "lost" | "refused"} state
 * @property {number} retryAt of performance.now(), if lost
 * @property {number} [openAt] of performance.now(), if open
 */

const now = byId("now");
const nowChange = byId("now-change");
const fans = byId("fans");
const fansNote = byId("fans-note");
const peak = byId("peak");
const peakNote = byId("peak-note");
const reach = byId("reach");
const reachNote = byId("reach-note");
const age = byId("age");
const ageNote = byId("age-note");
const status = byId("status");
const statusText = byId("status-text");

/** @param {Model} model */
export function showHeadline(model) {
  const w = model.world;
  write(now, number(w.sessions));
  const c = model.change("world");
  write(nowChange, c ? `${signed(c.by)} in ${c.over < 59_000 ? duration(c.over) : "a minute"}` : "first numbers");
  mark(nowChange, "tone", c && c.by > 0 ? "up" : c && c.by < 0 ? "down" : "");
  write(fans, `≈\u00a0${compact(w.fans)}`);
  write(fansNote, w.fans ? `${(w.sessions / w.fans).toFixed(2)} streams a fan` : "different people");
  write(peak, compact(w.peak));
  write(peakNote, w.peak ? `${share(w.sessions, w.peak)} of it now` : "most at a time");
  write(reach, `≈\u00a0${compact(w.reach)}`);
  write(reachNote, w.reach ? `${share(w.fans, w.reach)} of them here` : "since the start");
}

/** What the quality of a board means. @type {Record<string, string>} */
const WORDS = { live: "live", partial: "partial", stale: "stale", final: "over" };

/** @param {Model} model @param {Link} link @param {number} at of performance.now() */
export function showFreshness(model, link, at) {
  const ms = model.at ? model.ageAt(at) : 0;
  const final = model.quality === "final";
  const state = link.state === "open" || final ? (model.at ? model.quality : "connecting") : link.state;
  mark(status, "state", state);
  mark(document.body, "state", state);
  write(age, !model.at ? "–" : final ? "final" : duration(ms));
  if (!model.at) {
    write(statusText, { open: "waiting for a board", lost: "no answer", refused: "refused", connecting: "connecting…" }[link.state]);
    write(ageNote, "no board yet");
    return;
  }
  if (link.state === "lost" && !final) {
    const wait = Math.ceil((link.retryAt - at) / 1000);
    write(statusText, wait > 0 ? `reconnecting in ${wait}\u00a0s` : "reconnecting…");
    write(ageNote, "last good numbers");
    return;
  }
  write(statusText, final ? "over" : `${WORDS[model.quality]}, ${duration(ms)} old`);
  if (model.quality === "partial") write(ageNote, `${share(model.coverage, 1)} is fresh`);
  else write(ageNote, model.quality === "live" ? "all gateways in time" : final ? "the last numbers" : "no fresh board");
}

const PATIENCE_MS = 5000; // a board comes each tick

/**
 * What is to be done about numbers that are not as they should be.
 * @param {Model} model @param {Link} link @param {number} at of performance.now() @returns {string} a sentence, "" if there is nothing
 */
export function advice(model, link, at) {
  if (link.state === "lost") return model.at ? "The server does not answer. These are the last good numbers; this page comes back by itself." : "The server does not answer yet. This page tries again by itself.";
  if (!model.at) return at - (link.openAt ?? at) > PATIENCE_MS ? "No board of this event has come yet: the first viewer brings one. If somebody watches already, look below whether an aggregator is alive, and whether Redis answers." : "";
  if (model.quality === "stale") return "No fresh board has come: look whether an aggregator is alive below, and whether Redis answers.";
  if (model.quality === "partial") return `A gateway is late or gone: ${share(model.coverage, 1)} of the audience is fresh, the rest is as it was last known. Below is which.`;
  if (model.quality === "final") return `This event is over. It reached about ${plural(model.world.reach, "viewer")}; the chart shows its last hours.`;
  return "";
}
