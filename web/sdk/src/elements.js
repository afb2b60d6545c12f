// Web components of live counts, for overlays and for the pages of others:
//
//   <script type="module" src="https://live.example.com/live-counts.js"></script>
//   <live-counts event="final" segment="team:KC" peak></live-counts>
//   <live-rivals event="final" mine="team:KC" theirs="team:SF"></live-rivals>
//   <live-top    event="final" dim="team" most="5"></live-top>
//   <live-trend  event="final" segment="world"></live-trend>
//
// Attributes of all: event; src, the gateway (default: where this script came
// from); key, to read with; lang and dir as everywhere in HTML; label; quiet, not to
// be read out by itself. They only read: to count the page's viewer as well, use
// connect() of sdk.js. A page that does has the numbers already and may give them to
// elements with the attribute fed: element.feed(counts), with segments by the names
// that the elements ask for, and least, the min_cohort of the event, if that is known.
//
// What can be styled: the parts number, label, note, peak, bar, mine, theirs, top,
// trend, and the properties --live-color, --live-mine, --live-rival, --live-font,
// --live-size.

import { LiveElement, make, write } from "./element.js";
import { positive } from "./protocol.js";
import { LiveTrend } from "./trend.js";

/** @typedef {import("./source.js").Board} Board */

const STEPS = [0.7, 1]; // of the way from one tick's number to the next; each costs a layout, and nobody reads sixty a second
const STEP_MS = 400;

const FINE = 10_000; // parts of a bar
const SEEN = FINE / 200; // a bar that moves by less moves at once: nobody sees a step of it

const calm = globalThis.matchMedia?.("(prefers-reduced-motion: reduce)");

/** Moves a number from what is shown to what is so, by a few steps, of which the first is at once: its page is at work anyway. */
class Ease {
  /** @param {(v: number) => void} paint @param {number} [least] a way that is worth a second step */
  constructor(paint, least = 1) {
    this.paint = paint;
    this.least = least;
    this.from = this.to = this.shown = NaN;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  forget() {
    clearTimeout(this.timer);
    this.from = this.to = this.shown = NaN;
  }

  /** @param {number} n of a page's own it may have a fraction, which no step arrives at */
  set(n) {
    const v = Math.round(n);
    if (v === this.to) return;
    const jumps = Number.isNaN(this.to) || Math.abs(v - this.shown) < this.least || calm?.matches || document.hidden;
    this.from = jumps ? v : this.shown;
    this.to = v;
    clearTimeout(this.timer);
    this.step(0);
  }

  /** Paints again what is shown. */
  again() {
    if (!Number.isNaN(this.shown)) this.paint(this.shown);
  }

  /** @param {number} i */
  step(i) {
    const v = Math.round(this.from + (this.to - this.from) * STEPS[i]);
    if (v !== this.shown) this.paint((this.shown = v));
    if (v !== this.to) this.timer = setTimeout(() => this.step(i + 1), STEP_MS);
  }
}

/**
 * A text with a number in room of its own, which is as wide as a number of so many
 * digits: while that stays, a change is a layout of one line, and of nothing around
 * it.
 */
class Figure {
  /** @param {string} part */
  constructor(part) {
    this.text = new Text("");
    this.line = make("span", {}, this.text);
    this.room = make("span", { class: "room" }, this.line);
    this.box = make("div", { part, hidden: "" }, this.room);
    this.like = NaN; // of the text that the room was made for
  }

  /** @param {string} text @param {Intl.NumberFormat} [numbers] that it was written by */
  write(text, numbers) {
    if (this.text.data !== text) this.text.data = text;
    const like = text.length + ("≈<–".includes(text[0]) ? 0.5 : 0); // of one language, and as wide
    if (like === this.like) return;
    this.like = like;
    this.box.toggleAttribute("hidden", !text);
    this.room.setAttribute("data-as", text.replace(/\p{Nd}/gu, numbers?.format(0) ?? "0"));
    this.look();
  }

  // look makes it a text as any where a page shows a picture through it: that needs
  // the text to be the box's own.
  look() {
    const { backgroundClip } = getComputedStyle(this.box);
    this.room.classList.toggle("plain", /text/.test(backgroundClip));
  }

  /** The next text may have other digits. */
  forget() {
    this.like = NaN;
  }
}

/**
 * A big number: value="sessions" (default), "fans", "peak" or "reach". With the
 * attribute peak the highest number yet stands under it; its value is the word for it.
 */
class LiveCounts extends LiveElement {
  #segment = "world";
  #value = "sessions";
  #estimate = false; // fans and reach are
  #peak = ""; // the word for it; none: it is not shown

  constructor() {
    super();
    this.number = new Figure("number");
    this.number.box.setAttribute("aria-hidden", "true"); // the words are read out, not each step
    this.labelLine = make("div", { part: "label" });
    this.highest = new Figure("peak");
    this.root.append(this.number.box, this.labelLine, this.highest.box, this.note, this.heard);
    this.ease = new Ease((v) => this.number.write(this.text(v), this.numbers));
    this.partial = false;
    this.number.write("–");
  }

  read() {
    this.#segment = this.of("segment", "world");
    this.#value = this.of("value", "sessions");
    this.#estimate = /fans|reach/.test(this.#value);
    this.#peak = this.hasAttribute("peak") ? this.of("peak", "peak") + "\u00a0" : "";
  }

  follow() {
    this.labelLine.textContent = this.of("label");
    this.number.forget();
    this.highest.forget();
    this.highest.write("");
    super.follow();
    this.ease.again(); // in another language, maybe
  }

  forget() {
    super.forget();
    this.ease.forget();
    this.number.write("–");
    this.highest.write("");
  }

  moved() {
    this.number.look();
    this.highest.look();
  }

  /** @param {number} v */
  text(v) {
    return this.about(v, this.#estimate && v > 2000);
  }

  /** @param {Board} b */
  show(b) {
    const c = b.segments.get(this.#segment);
    if (c) {
      this.ease.set(positive(/** @type {any} */ (c)[this.#value]));
      const partial = b.quality === "partial";
      if (partial !== this.partial) this.ease.again();
      this.partial = partial;
    } else if (b.quality) {
      this.ease.forget();
      this.number.write(this.blank(c), this.numbers);
    }
    if (this.#peak) this.highest.write(c?.peak ? this.#peak + this.numbers?.format(c.peak) : "", this.numbers);
  }

  known() {
    return !Number.isNaN(this.ease.to);
  }

  words() {
    return this.text(this.ease.to) + " " + this.of("label", "watching");
  }
}

/** Two segments as the parts of a bar. */
class LiveRivals extends LiveElement {
  #sides = [{ segment: "", name: "" }, { segment: "", name: "" }]; // mine, theirs

  constructor() {
    super();
    this.addStyle(`:host { display: block }
.row { display: flex; justify-content: space-between; gap: 1rem; font-variant-numeric: tabular-nums; font-weight: 600 }
[part=bar] { position: relative; height: .75rem; border-radius: 99px; overflow: hidden; margin-block: .25rem }
[part=mine], [part=theirs] { position: absolute; inset: 0 }
[part=theirs] { background: var(--live-rival, #c4432b) }
[part=mine] { background: var(--live-mine, #2563eb); transform-origin: left; will-change: transform }
[part=mine]:dir(rtl) { transform-origin: right }`);
    this.left = make("span");
    this.right = make("span");
    this.bar = make("div", { part: "mine" });
    this.bars = make("div", { part: "bar", "aria-hidden": "true" }, make("div", { part: "theirs" }), this.bar);
    this.ease = new Ease((v) => (this.bar.style.transform = `scaleX(${v / FINE})`), SEEN); // moves without a layout
    this.root.append(make("div", { class: "row", "aria-hidden": "true" }, this.left, this.right), this.bars, this.note, this.heard);
    this.share(NaN);
  }

  read() {
    this.#sides = ["mine", "theirs"].map((side) => this.of(side)).map((segment) => ({ segment, name: segment.slice(segment.indexOf(":") + 1) }));
  }

  forget() {
    super.forget();
    this.share(NaN);
    write(this.left, "");
    write(this.right, "");
  }

  /** @param {number} mine of 1; NaN: it is not known, and no bar says that it is */
  share(mine) {
    const known = !Number.isNaN(mine);
    this.bars.style.visibility = known ? "" : "hidden";
    if (known) this.ease.set(Math.round(mine * FINE));
    else this.ease.forget();
  }

  segments() {
    return this.#sides.map((s) => s.segment).filter(Boolean);
  }

  /** @param {Board} b */
  show(b) {
    const counts = this.#sides.map(({ segment }) => b.segments.get(segment));
    const [mine, theirs] = counts.map((c) => c?.sessions ?? NaN), share = mine / (mine + theirs); // NaN unless both are known, and somebody is there
    const texts = counts.map((c, i) => this.#sides[i].name + " " + (c ? this.about(c.sessions) : this.blank(c)));
    this.said = mine + theirs >= 0 ? texts.join(", ") : "";
    [this.left, this.right].forEach((e, i) => write(e, texts[i] + (share >= 0 ? ` (${this.shares?.format(i ? 1 - share : share)})` : "")));
    this.share(share);
  }

  known() {
    return Boolean(this.said);
  }

  words() {
    return this.said || "";
  }
}

/** The largest segments of a dimension: dim="team", most="5". Who said nothing (unknown), and the rest (other), are in no contest. */
class LiveTop extends LiveElement {
  constructor() {
    super();
    this.addStyle(`:host { display: block }
ol { list-style: none; margin: 0; padding: 0 }
li { display: flex; justify-content: space-between; gap: 1rem; padding-block: .2rem; font-variant-numeric: tabular-nums;
  background: linear-gradient(color-mix(in srgb, var(--live-rival, currentColor) 25%, transparent) 0 0) no-repeat 0 100% / var(--share, 0%) 3px }
li:dir(rtl) { background-position: 100% 100% }
b { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }`);
    this.list = make("ol", { part: "top" });
    this.root.append(this.list, this.note, this.heard);
  }

  forget() {
    super.forget();
    this.said = "";
    this.list.replaceChildren();
  }

  segments() {
    return [this.of("dim")];
  }

  /** @param {Board} b */
  show(b) {
    const top = [...b.segments].filter(([s, c]) => c && s.startsWith(this.of("dim") + ":") && !/:(unknown|other)$/.test(s)).map(([s, c]) => /** @type {[string, number]} */ ([s.slice(s.indexOf(":") + 1), c?.sessions || 0]));
    top.sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1)).splice(positive(+this.of("most", "5"), 5));
    this.said = top.map(([value, n]) => value + " " + this.about(n)).join(", ");
    while (this.list.children.length > top.length) this.list.lastElementChild?.remove();
    top.forEach(([value, n], i) => {
      const row = /** @type {HTMLElement} */ (this.list.children[i] || this.list.appendChild(make("li", {}, make("b"), make("span"))));
      write(row.children[0], value);
      write(row.children[1], this.about(n));
      row.style.setProperty("--share", (100 * n) / (top[0][1] || 1) + "%");
    });
  }

  known() {
    return Boolean(this.said);
  }

  words() {
    return this.said || "";
  }
}

for (const [name, element] of Object.entries({ "live-counts": LiveCounts, "live-rivals": LiveRivals, "live-top": LiveTop, "live-trend": LiveTrend })) {
  if (!customElements.get(name)) customElements.define(name, element);
}
