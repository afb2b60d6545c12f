// What all elements of live counts have in common: where their numbers come from,
// how old they are, and what a screen reader is told.

import { positive } from "./protocol.js";
import { sourceOf } from "./source.js";

/** @typedef {import("./source.js").Board} Board */

const ANNOUNCE_MS = 20_000; // a screen reader hears a number so often at most
const OLD_MS = 10_000; // from then on its age is shown

const style = `
:host { display: inline-block; font-family: var(--live-font, system-ui, sans-serif); color: var(--live-color, inherit); text-align: start }
:host([hidden]) { display: none }
[part=number] { font-size: var(--live-size, 2.5rem); font-weight: 700; line-height: 1.1; font-variant-numeric: tabular-nums; white-space: nowrap; contain: layout style }
.room { display: inline-block }
.room::after { display: block; content: attr(data-as); visibility: hidden }
.room > * { display: block; block-size: 0; contain: size layout style } /* over what ::after takes */
.room.plain > * { display: inline; contain: none }
.room.plain::after { content: none }
[part=label], [part=note], [part=peak] { font-size: .875rem; font-variant-numeric: tabular-nums }
[part=note]:empty, [part=label]:empty, [hidden] { display: none }
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
:host([stale]) [part=number] { font-weight: 400 } /* no paler: whatever the page's colours are, what is old is to be read, too */
`;

/** @param {string} name @param {Record<string, string>} [attributes] @param {(Node | string)[]} children */
export function make(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

/** Changes a text only if it is another, and in its place: each change costs a layout. @param {Element} e @param {string} text */
export function write(e, text) {
  const node = e.firstChild;
  if (!(node instanceof Text)) {
    if (node || text) e.textContent = text;
  } else if (node.data !== text) node.data = text;
}

/** A language that numbers can be written in; undefined: the browser's, for one such as en_US, too. @param {string | undefined} tag */
function language(tag) {
  try {
    return Intl.getCanonicalLocales(tag || [])[0];
  } catch {
    return undefined;
  }
}

/** Follows the segments of its attributes. A subclass says which, and shows them. */
export class LiveElement extends HTMLElement {
  static observedAttributes = ["event", "src", "key", "segment", "mine", "theirs", "value", "label", "lang", "minutes", "dim", "most", "peak", "fed", "quiet"];

  constructor() {
    super();
    this.root = this.attachShadow({ mode: "open" });
    this.addStyle(style);
    this.note = make("div", { part: "note" });
    this.heard = make("div", { class: "heard", "aria-live": "polite" });
    this.announced = -ANNOUNCE_MS;
    this.silent = false;
    this.stop = () => {};
    /** @type {Board | undefined} */
    this.board = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.aging = undefined;
    this.due = 0; // when that is, of performance.now()
  }

  /** @param {string} text */
  addStyle(text) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    this.root.adoptedStyleSheets.push(sheet);
  }

  connectedCallback() {
    this.follow();
    this.age();
  }

  disconnectedCallback() {
    this.stop();
    this.rest();
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    this.read();
    if (!this.isConnected) return;
    if (/event|src|segment|mine|theirs|value|dim/.test(name)) this.forget();
    this.follow();
  }

  /** @param {string} name @param {string} [otherwise] */
  of(name, otherwise = "") {
    return this.getAttribute(name) || otherwise;
  }

  /** Reads the attributes that each tick needs. A field of an attribute's name would be set instead of it by React, Vue and Preact. */
  read() {}

  /** @returns {string[]} */
  segments() {
    return [this.of("segment", "world")];
  }

  /** @param {Board} _b */
  show(_b) {}

  /** A number as it is to be read: estimates, and what lacks a part, are about so much. @param {number} v @param {boolean} [estimate] */
  about(v, estimate) {
    return (estimate || this.board?.quality === "partial" ? "≈\u00a0" : "") + (this.numbers?.format(v) ?? v);
  }

  /** What stands where a number would. @param {object | null | undefined} c null: too small to be shown */
  blank(c) {
    const { least } = this.board || {};
    return c === null ? "<" + (least ? this.numbers?.format(least) : "") : "–";
  }

  /** Drops what is shown: other numbers will come. */
  forget() {
    this.rest();
    this.board = undefined;
    this.note.textContent = "";
    write(this.heard, "");
    this.removeAttribute("stale");
  }

  /** The address of the event; "": src is none of a server. */
  get base() {
    let origin = "";
    try {
      origin = new URL(this.of("src") || import.meta.url).origin;
    } catch {
      // As if it were of another scheme.
    }
    return /^https?:/.test(origin) ? origin + "/v1/events/" + encodeURIComponent(this.of("event")) : "";
  }

  follow() {
    this.stop();
    this.stop = () => {};
    const lang = language(/** @type {HTMLElement | null} */ (this.closest("[lang]"))?.lang);
    this.numbers = new Intl.NumberFormat(lang);
    this.shares = new Intl.NumberFormat(lang, { style: "percent" });
    this.ages = new Intl.RelativeTimeFormat(lang, { numeric: "always" });
    this.silent = this.hasAttribute("quiet");
    this.heard.setAttribute("aria-live", this.silent ? "off" : "polite");
    if (this.hasAttribute("fed")) {
      if (this.board) this.show(this.board);
    } else if (!this.of("event")) {
      this.note.textContent = "Say which event: <" + this.localName + " event=\"…\">";
    } else if (!this.base) {
      this.note.textContent = "src is an address: https://…";
    } else {
      this.stop = sourceOf(this.base, this.of("key"), this.of("dim")).follow(this.segments(), (b) => this.take(b));
    }
  }

  /** @param {Board} b */
  take(b) {
    this.board = b;
    this.show(b);
    this.age();
    this.announce();
  }

  /**
   * Shows counts of the page's own, if it has the attribute fed.
   * @param {{at: number, age: number, quality: Board["quality"], least?: number, arrived?: number, segments: Record<string, import("./source.js").Shown | null | undefined>}} counts least: as min_cohort of GET counts; arrived: as in Board, if they are not new
   */
  feed({ at, age, quality, least, arrived = performance.now(), segments }) {
    this.take({ at, age, quality, least, arrived, segments: new Map(Object.entries(segments)) });
  }

  // age says how old the numbers are, if they are; a word on each trouble. A timer
  // looks again when those of now will be old: it is not set anew by each tick.
  age() {
    const b = this.board;
    if (!b) return;
    const now = performance.now(), age = positive(b.age) + now - b.arrived;
    const ages = b.quality !== "final" && b.quality !== "";
    const old = ages && (b.quality === "stale" || age > OLD_MS);
    if (this.hasAttribute("stale") !== old) this.toggleAttribute("stale", old);
    const ago = old && this.ages?.format(-Math.max(1, Math.round(age / 1000)), "second");
    const words = old || b.quality === "" ? [ago, b.trouble].filter(Boolean).join(" · ") : "";
    if (words || this.note.firstChild) write(this.note, words);
    if (ages) this.look(now, old ? 1000 : OLD_MS - age + 1);
    else this.rest();
  }

  /** The page may have given its styles another look. */
  moved() {}

  /** Has age() look again in so many ms, or earlier. @param {number} now @param {number} ms */
  look(now, ms) {
    if (this.aging && this.due <= now + ms) return;
    this.rest();
    this.due = now + ms;
    this.aging = setTimeout(() => {
      this.aging = undefined;
      this.moved();
      this.age();
    }, ms);
  }

  rest() {
    clearTimeout(this.aging);
    this.aging = undefined;
  }

  /** Whether there is a number to be read out. */
  known() {
    return false;
  }

  /** What a screen reader is told now and then, if something is known. */
  words() {
    return "";
  }

  announce() {
    const now = performance.now();
    if (!this.known()) write(this.heard, ""); // it could be read as if it were so
    else if ((now - this.announced >= ANNOUNCE_MS || this.silent) && !document.hidden) {
      this.announced = now;
      write(this.heard, this.words());
    }
  }
}
