// Web components of live counts, for overlays and for the pages of others:
//
//   <script type="module" src="https://live.example.com/live-counts.js"></script>
//   <live-counts event="final" segment="team:KC"></live-counts>
//   <live-rivals event="final" mine="team:KC" theirs="team:SF"></live-rivals>
//   <live-top    event="final" dim="team" most="5"></live-top>
//   <live-trend  event="final" segment="world"></live-trend>
//
// Attributes of all: event; src, the gateway (default: where this script came
// from); key, to read with; lang and dir as everywhere in HTML; label. They only
// read: to count the page's viewer as well, use connect() of sdk.js.
//
// What can be styled: the parts number, label, note, bar, mine, theirs, top, trend,
// and the properties --live-color, --live-mine, --live-rival, --live-font, --live-size.

import { positive } from "./protocol.js";
import { sourceOf } from "./source.js";

/** @typedef {import("./source.js").Board} Board */

const EASE_MS = 900; // for a number to get from one tick's to the next
const ANNOUNCE_MS = 20_000; // a screen reader hears a number so often at most
const OLD_MS = 10_000; // from then on its age is shown

const style = `
:host { display: inline-block; font-family: var(--live-font, system-ui, sans-serif); color: var(--live-color, inherit); text-align: start }
:host([hidden]) { display: none }
[part=number] { font-size: var(--live-size, 2.5rem); font-weight: 700; line-height: 1.1; font-variant-numeric: tabular-nums; white-space: nowrap }
[part=label], [part=note] { font-size: .875rem; opacity: .8 }
[part=note]:empty, [part=label]:empty { display: none }
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
:host([stale]) [part=number] { opacity: .6 }
`;

const quiet = globalThis.matchMedia?.("(prefers-reduced-motion: reduce)");

/** @param {string} name @param {Record<string, string>} [attributes] @param {(Node | string)[]} children */
function make(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

/** Follows the segments of its attributes. A subclass says which, and shows them. */
class LiveElement extends HTMLElement {
  static observedAttributes = ["event", "src", "key", "segment", "mine", "theirs", "value", "label", "lang", "minutes", "dim", "most"];

  constructor() {
    super();
    this.root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    this.root.adoptedStyleSheets = [sheet];
    this.note = make("div", { part: "note" });
    this.heard = make("div", { class: "heard", "aria-live": "polite" });
    this.announced = 0;
    this.stop = () => {};
    /** @type {Board | undefined} */
    this.board = undefined;
  }

  connectedCallback() {
    this.follow();
    this.aging = setInterval(() => this.age(), 1000);
  }

  disconnectedCallback() {
    this.stop();
    clearInterval(this.aging);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.follow();
  }

  /** @param {string} name @param {string} [otherwise] */
  of(name, otherwise = "") {
    return this.getAttribute(name) || otherwise;
  }

  /** @returns {string[]} */
  segments() {
    return [this.of("segment", "world")];
  }

  /** @param {Board} _b */
  show(_b) {}

  get base() {
    return new URL(this.of("src") || import.meta.url).origin + "/v1/events/" + encodeURIComponent(this.of("event"));
  }

  follow() {
    this.stop();
    const lang = /** @type {HTMLElement | null} */ (this.closest("[lang]"))?.lang || undefined;
    this.numbers = new Intl.NumberFormat(lang);
    this.shares = new Intl.NumberFormat(lang, { style: "percent" });
    this.ages = new Intl.RelativeTimeFormat(lang, { numeric: "always" });
    if (!this.of("event")) {
      this.note.textContent = "Say which event: <" + this.localName + " event=\"…\">";
      return;
    }
    this.stop = sourceOf(this.base, this.of("key"), this.of("dim")).follow(this.segments(), (b) => {
      this.board = b;
      this.arrived = Date.now();
      this.show(b);
      this.age();
      this.announce();
    });
  }

  // age says how old the numbers are, if they are; a word on each trouble.
  age() {
    const b = this.board;
    if (!b) return;
    const age = positive(b.age, 0) + Date.now() - (this.arrived || 0);
    const old = b.quality !== "final" && b.quality !== "" && (b.quality === "stale" || age > OLD_MS);
    this.toggleAttribute("stale", old);
    const text = b.quality === "" ? b.trouble || "" : old ? this.ages?.format(-Math.max(1, Math.round(age / 1000)), "second") || "" : "";
    if (this.note.textContent !== text) this.note.textContent = text;
  }

  /** What a screen reader is told now and then. */
  words() {
    return "";
  }

  announce() {
    if (Date.now() - this.announced < ANNOUNCE_MS || document.hidden || !this.words()) return;
    this.announced = Date.now();
    this.heard.textContent = this.words();
  }
}

/** Moves a number from what is shown to what is so. */
class Ease {
  /** @param {(v: number) => void} paint */
  constructor(paint) {
    this.paint = paint;
    this.from = this.to = NaN;
    this.since = 0;
    this.frame = 0;
    /** @type {number | undefined} */
    this.shown = undefined;
  }

  /** @param {number} v */
  set(v) {
    if (v === this.to) return;
    const now = performance.now();
    this.from = Number.isNaN(this.to) || quiet?.matches || document.hidden ? v : this.at(now);
    this.to = v;
    this.since = now;
    cancelAnimationFrame(this.frame);
    this.step(now);
  }

  /** @param {number} now */
  at(now) {
    const t = Math.min(1, (now - this.since) / EASE_MS);
    return this.from + (this.to - this.from) * (1 - (1 - t) ** 3);
  }

  /** @param {number} now */
  step(now) {
    const v = Math.round(this.at(now));
    if (v !== this.shown) this.paint((this.shown = v));
    if (v !== this.to) this.frame = requestAnimationFrame((t) => this.step(t));
  }
}

/** A big number: value="sessions" (default), "fans", "peak" or "reach". */
class LiveCounts extends LiveElement {
  constructor() {
    super();
    this.number = make("div", { part: "number", "aria-hidden": "true" }, "–");
    this.label = make("div", { part: "label" });
    this.root.append(this.number, this.label, this.note, this.heard);
    this.ease = new Ease((v) => (this.number.textContent = this.text(v)));
  }

  follow() {
    this.label.textContent = this.of("label");
    this.ease.shown = undefined;
    super.follow();
  }

  /** Fans and reach are estimates. @param {number} v */
  text(v) {
    return (/fans|reach/.test(this.of("value")) && v > 2000 ? "≈\u00a0" : "") + (this.numbers?.format(v) || v);
  }

  /** @param {Board} b */
  show(b) {
    const c = b.segments.get(this.of("segment", "world"));
    if (c) this.ease.set(positive(/** @type {any} */ (c)[this.of("value", "sessions")], 0));
    else if (b.quality) this.number.textContent = c === null ? "<" : "–"; // too small to be shown
  }

  words() {
    return Number.isNaN(this.ease.to) ? "" : this.text(this.ease.to) + " " + this.of("label", "watching");
  }
}

/** Two segments as the parts of a bar. */
class LiveRivals extends LiveElement {
  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`:host { display: block }
.row { display: flex; justify-content: space-between; gap: 1rem; font-variant-numeric: tabular-nums; font-weight: 600 }
[part=bar] { display: flex; gap: 2px; height: .75rem; border-radius: 99px; overflow: hidden; margin-block: .25rem; background: var(--live-rival, #c4432b) }
[part=mine] { background: var(--live-mine, #2563eb); transition: flex-basis .9s cubic-bezier(.2,.8,.2,1) }
[part=theirs] { flex: 1 }
@media (prefers-reduced-motion: reduce) { [part=mine] { transition: none } }`);
    this.root.adoptedStyleSheets.push(sheet);
    this.mine = make("span");
    this.theirs = make("span");
    this.bar = make("div", { part: "mine" });
    this.root.append(make("div", { class: "row", "aria-hidden": "true" }, this.mine, this.theirs), make("div", { part: "bar", "aria-hidden": "true" }, this.bar, make("div", { part: "theirs" })), this.note, this.heard);
  }

  segments() {
    return [this.of("mine"), this.of("theirs")].filter(Boolean);
  }

  /** @param {Board} b */
  show(b) {
    const [mine, theirs] = ["mine", "theirs"].map((n) => b.segments.get(this.of(n))?.sessions || 0);
    const share = mine + theirs > 0 ? mine / (mine + theirs) : 0.5;
    const name = (/** @type {string} */ s) => this.of(s).split(":")[1] || "";
    this.said = `${name("mine")} ${this.numbers?.format(mine)}, ${name("theirs")} ${this.numbers?.format(theirs)}`;
    this.mine.textContent = `${name("mine")} ${this.numbers?.format(mine)} (${this.shares?.format(share)})`;
    this.theirs.textContent = `${name("theirs")} ${this.numbers?.format(theirs)} (${this.shares?.format(1 - share)})`;
    this.bar.style.flexBasis = share * 100 + "%";
  }

  words() {
    return this.said || "";
  }
}

/** The largest segments of a dimension: dim="team", most="5". Who said nothing (unknown), and the rest (other), are in no contest. */
class LiveTop extends LiveElement {
  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`:host { display: block }
ol { list-style: none; margin: 0; padding: 0 }
li { display: flex; justify-content: space-between; gap: 1rem; padding-block: .2rem; font-variant-numeric: tabular-nums;
  background: linear-gradient(color-mix(in srgb, var(--live-rival, currentColor) 25%, transparent) 0 0) no-repeat 0 100% / var(--share, 0%) 3px }
li:dir(rtl) { background-position: 100% 100% }
b { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }`);
    this.root.adoptedStyleSheets.push(sheet);
    this.list = make("ol", { part: "top" });
    this.root.append(this.list, this.note, this.heard);
  }

  segments() {
    return [this.of("dim")];
  }

  /** @param {Board} b */
  show(b) {
    const top = [...b.segments].filter(([s, c]) => c && s.startsWith(this.of("dim") + ":") && !/:(unknown|other)$/.test(s)).map(([s, c]) => /** @type {[string, number]} */ ([s.slice(s.indexOf(":") + 1), c?.sessions || 0]));
    top.sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1)).splice(positive(+this.of("most", "5"), 5));
    this.said = top.map(([value, n]) => value + " " + this.numbers?.format(n)).join(", ");
    while (this.list.children.length > top.length) this.list.lastElementChild?.remove();
    top.forEach(([value, n], i) => {
      const row = /** @type {HTMLElement} */ (this.list.children[i] || this.list.appendChild(make("li", {}, make("b"), make("span"))));
      row.children[0].textContent = value;
      row.children[1].textContent = this.numbers?.format(n) || "";
      row.style.setProperty("--share", (100 * n) / (top[0][1] || 1) + "%");
    });
  }

  words() {
    return this.said || "";
  }
}

/** The last minutes of a segment as a line, its highest point marked. minutes="30" */
class LiveTrend extends LiveElement {
  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(":host { width: 15rem; height: 4rem } canvas { display: block; width: 100%; height: 100% }");
    this.root.adoptedStyleSheets.push(sheet);
    this.canvas = /** @type {HTMLCanvasElement} */ (make("canvas", { part: "trend", role: "img" }));
    this.root.append(this.canvas, this.note);
    /** @type {[number, number][]} at, sessions */
    this.points = [];
  }

  follow() {
    this.points = [];
    super.follow();
    if (this.of("event")) this.before();
  }

  get span() {
    return positive(+this.of("minutes", "30"), 30) * 60_000;
  }

  // before reads what was before the page opened.
  async before() {
    const url = new URL(this.base + "/history"), to = Date.now();
    for (const [k, v] of Object.entries({ segment: this.of("segment", "world"), from: to - this.span, to, step: 10_000, key: this.of("key") })) if (v) url.searchParams.set(k, String(v));
    try {
      const answer = await fetch(url);
      const { points } = await answer.json();
      this.points = [...points.filter(Array.isArray).map((/** @type {number[]} */ p) => [p[0], p[1]]), ...this.points];
      this.draw();
    } catch {
      // The line begins now.
    }
  }

  /** @param {Board} b */
  show(b) {
    const c = b.segments.get(this.of("segment", "world"));
    if (c && b.at > (this.points.at(-1)?.[0] || 0)) this.points.push([b.at, c.sessions]);
    while (this.points.length && this.points[0][0] < b.at - this.span) this.points.shift();
    this.draw();
  }

  draw() {
    const { canvas, points } = this, scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale;
      canvas.height = height * scale;
    }
    const g = canvas.getContext("2d");
    if (!g || points.length < 2) return;
    const most = Math.max(...points.map((p) => p[1])), first = points[0][0], last = points[points.length - 1][0];
    const x = (/** @type {number} */ at) => (width - 8) * ((at - first) / (last - first || 1)) + 4;
    const y = (/** @type {number} */ v) => height - 6 - (height - 12) * (v / (most || 1));
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, width, height);
    g.strokeStyle = g.fillStyle = getComputedStyle(this).color;
    g.lineWidth = 2;
    g.lineJoin = "round";
    g.beginPath();
    for (const [at, v] of points) g.lineTo(x(at), y(v));
    g.stroke();
    const peak = points.find((p) => p[1] === most) || points[0];
    g.beginPath();
    g.arc(x(peak[0]), y(peak[1]), 3.5, 0, 7);
    g.fill();
    canvas.setAttribute("aria-label", `${this.of("label", "watching")}: ${this.numbers?.format(points[points.length - 1][1])}, at most ${this.numbers?.format(most)}`);
  }
}

for (const [name, element] of Object.entries({ "live-counts": LiveCounts, "live-rivals": LiveRivals, "live-top": LiveTop, "live-trend": LiveTrend })) {
  if (!customElements.get(name)) customElements.define(name, element);
}
