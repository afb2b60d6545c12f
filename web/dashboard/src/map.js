// The map of regions: a shape for each place, its colour for how many watch
// there. Paths are made once for a map; at a tick only classes change. The map is
// one stop of the Tab key: arrows and letters go from place to place by name.

import { geoEqualEarth, geoPath } from "d3-geo";
import { feature } from "topojson-client";

import { boundsOf, CLASSES, classOf } from "./classes.js";
import { byId, mark, write } from "./dom.js";
import { compact, number, share, signed } from "./format.js";
import { nameOf, shapeOf, valuesByShape } from "./places.js";
import { Rows } from "./rows.js";

/** @typedef {import("./model.js").Model} Model */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 975;
const HEIGHTS = { region: 610, country: 475 };
const SLICE_MS = 8; // of drawing shapes, then others may go first
const ANTARCTICA = "010";

/** Where the shapes of a dimension are. @type {Record<string, {url: string, object: string}>} */
const SOURCES = {
  region: { url: "/dashboard/us.json", object: "states" },
  country: { url: "/dashboard/world.json", object: "countries" },
};

/**
 * @typedef {object} Shape
 * @property {SVGPathElement} path @property {string} value of the dimension
 */

export class PlaceMap {
  /** @param {(segment: string) => void} pick */
  constructor(pick) {
    this.svg = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (byId("map")));
    this.readout = byId("map-readout");
    this.trouble = byId("map-trouble");
    this.list = new Rows(byId("places"), 8, pick);
    this.elsewhere = byId("elsewhere");
    this.legend = byId("map-legend");
    /** @type {Map<string, Promise<Shape[]>>} */
    this.made = new Map();
    /** @type {Shape[]} */
    this.shapes = [];
    /** @type {Shape[]} */
    this.named = []; // those of values, by name
    this.dim = "";
    this.pointed = ""; // the value under the pointer, or with the focus
    this.scale = "";
    this.svg.addEventListener("pointerover", (e) => this.point(valueOf(e.target)));
    this.svg.addEventListener("pointerleave", () => this.point(""));
    this.svg.addEventListener("click", (e) => {
      const value = valueOf(e.target);
      if (value) pick(`${this.dim}:${value}`);
    });
    this.svg.addEventListener("keydown", (e) => {
      const at = this.named.findIndex((s) => s.path === e.target);
      if (at < 0 || e.ctrlKey || e.altKey || e.metaKey) return;
      const next = e.key === "Enter" || e.key === " " ? -1 : this.next(at, e.key);
      if (next === at) return;
      e.preventDefault();
      if (next < 0) pick(`${this.dim}:${this.named[at].value}`);
      else this.named[next].path.focus();
    });
    const box = byId("map-box"); // an <svg> that listens for the focus is a stop of the Tab key itself
    box.addEventListener("focusin", (e) => this.focus(this.named.find((s) => s.path === e.target)));
    box.addEventListener("focusout", () => this.point(""));
  }

  /** Where a key leads to. @param {number} at @param {string} key @returns {number} an index of named; at: nowhere */
  next(at, key) {
    const n = this.named.length;
    if (key === "ArrowRight" || key === "ArrowDown") return (at + 1) % n;
    if (key === "ArrowLeft" || key === "ArrowUp") return (at + n - 1) % n;
    if (key === "Home") return 0;
    if (key === "End") return n - 1;
    for (let i = 1; i < n && key.length === 1; i++) {
      const to = (at + i) % n;
      if (nameOf(this.dim, this.named[to].value).toLowerCase().startsWith(key.toLowerCase())) return to;
    }
    return at;
  }

  /** A place has the focus: Tab comes back to it, and its label has its number, which others need not have at each tick. @param {Shape | undefined} shape */
  focus(shape) {
    if (!shape) return;
    for (const s of this.named) if (s.path.tabIndex === 0) s.path.tabIndex = -1;
    shape.path.tabIndex = 0;
    this.point(shape.value);
    shape.path.setAttribute("aria-label", this.readout.textContent ?? "");
  }

  /** @param {string} dim "region" or "country" */
  async show(dim) {
    if (dim === this.dim) return;
    this.dim = dim;
    this.pointed = "";
    this.list.reset();
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHTS[/** @type {"region" | "country"} */ (dim)]}`);
    if (!this.made.has(dim)) this.made.set(dim, load(dim));
    let shapes;
    try {
      shapes = await /** @type {Promise<Shape[]>} */ (this.made.get(dim));
    } catch {
      this.made.delete(dim);
      if (this.dim === dim) {
        this.trouble.hidden = false;
        this.dim = "";
      }
      return;
    }
    if (this.dim !== dim) return;
    this.trouble.hidden = true;
    this.shapes = shapes;
    this.named = shapes.filter((s) => s.value).sort((a, b) => (nameOf(dim, a.value) < nameOf(dim, b.value) ? -1 : 1));
    for (const [i, s] of this.named.entries()) s.path.tabIndex = i ? -1 : 0;
    this.scale = "";
    this.svg.replaceChildren(...shapes.map((s) => s.path));
    if (this.model) this.update(this.model, this.chosen ?? "", performance.now());
  }

  /** @param {string} value */
  point(value) {
    if (value === this.pointed) return;
    this.pointed = value;
    this.read();
  }

  /** Says what is known of the place under the pointer, or of the one that is chosen. */
  read() {
    const [dim, value] = this.pointed ? [this.dim, this.pointed] : (this.chosen ?? "").startsWith(`${this.dim}:`) ? [this.dim, (this.chosen ?? "").slice(this.dim.length + 1)] : ["", ""];
    if (!value || !this.model) {
      write(this.readout, "Point at a place for its numbers, pick it for its chart.");
      return;
    }
    const c = this.model.dims.get(dim)?.get(value);
    const change = this.model.change(`${dim}:${value}`);
    write(
      this.readout,
      c ? `${nameOf(dim, value)}: ${number(c.sessions)} watching, ${share(c.sessions, this.model.world.sessions)} of all, peak ${number(c.peak)}${change ? `, ${signed(change.by)} lately` : ""}` : `${nameOf(dim, value)}: nobody`,
    );
  }

  /** @param {Model} model @param {string} chosen segment @param {number} now of performance.now() */
  update(model, chosen, now) {
    this.model = model;
    this.chosen = chosen;
    const values = model.dims.get(this.dim) ?? new Map();
    let most = 0;
    for (const [value, c] of values) if (shapeOf(this.dim, value)) most = Math.max(most, c.sessions);
    const bounds = boundsOf(most);
    this.showLegend(bounds);
    for (const s of this.shapes) {
      const n = values.get(s.value)?.sessions ?? 0;
      mark(s.path, "step", n ? String(classOf(n, bounds)) : "");
      const is = chosen === `${this.dim}:${s.value}` && s.value ? "yes" : "";
      if (s.value && s.path.dataset.chosen !== is) s.path.setAttribute("aria-pressed", String(Boolean(is)));
      mark(s.path, "chosen", is);
    }
    this.read();
    this.showLists(model, values, chosen, now);
  }

  /** @param {Model} model @param {Map<string, import("./model.js").Count>} values @param {string} chosen @param {number} now */
  showLists(model, values, chosen, now) {
    const rows = [];
    const without = [];
    let most = 1;
    for (const c of values.values()) most = Math.max(most, c.sessions);
    for (const [value, c] of values) {
      const name = nameOf(this.dim, value);
      rows.push({ key: `${this.dim}:${value}`, name, value: compact(c.sessions), note: share(c.sessions, model.world.sessions), rank: c.sessions, bar: c.sessions / most });
      if (!shapeOf(this.dim, value) && c.sessions) without.push({ name, n: c.sessions });
    }
    this.list.update(rows, chosen, now);
    without.sort((a, b) => b.n - a.n);
    const named = without.slice(0, 6).map((w) => `${w.name} ${compact(w.n)}`);
    const rest = without.slice(6).reduce((sum, w) => sum + w.n, 0);
    if (rest) named.push(`${without.length - 6} more ${compact(rest)}`);
    write(this.elsewhere, named.length ? `Not on this map: ${named.join(" · ")}` : rows.length ? "Every value is on this map." : "This event has no such dimension, or nobody is there yet.");
  }

  /** @param {number[]} bounds */
  showLegend(bounds) {
    const scale = bounds.join();
    if (scale === this.scale) return;
    this.scale = scale;
    const first = CLASSES - 1 - bounds.length;
    const swatches = [...this.legend.children];
    for (const [i, e] of swatches.entries()) {
      const bound = i === first ? 1 : bounds[i - first - 1];
      /** @type {HTMLElement} */ (e).hidden = i < first || !bound;
      write(e, bound ? `${compact(bound)}${i === CLASSES - 1 ? "+" : ""}` : "");
    }
    this.svg.setAttribute("aria-label", `Map: ${this.dim === "region" ? "US states" : "countries"} by streams watching. Arrow keys and letters go through them by name, Enter picks one.`);
  }
}

/** @param {EventTarget | null} target */
function valueOf(target) {
  return target instanceof SVGPathElement ? target.dataset.value ?? "" : "";
}

/** Loads and draws the shapes of a map, a few at a time. @param {string} dim @returns {Promise<Shape[]>} */
async function load(dim) {
  const { url, object } = SOURCES[dim];
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const topology = await answer.json();
  const all = /** @type {any} */ (feature(topology, topology.objects[object])).features.filter((/** @type {any} */ f) => f.id !== ANTARCTICA);
  const projection = dim === "region" ? null : geoEqualEarth().fitSize([WIDTH, HEIGHTS.country], { type: "FeatureCollection", features: all });
  const draw = geoPath(projection).digits(1);
  const values = valuesByShape(dim);
  const shapes = [];
  let began = performance.now();
  for (const f of all) {
    if (performance.now() - began > SLICE_MS) {
      await new Promise((go) => setTimeout(go));
      began = performance.now();
    }
    const path = document.createElementNS(SVG, "path");
    const value = values.get(f.id) ?? values.get(f.properties.name) ?? "";
    path.setAttribute("d", draw(f) ?? "");
    path.dataset.value = value;
    path.setAttribute(value ? "role" : "aria-hidden", value ? "button" : "true");
    if (value) path.setAttribute("aria-label", nameOf(dim, value));
    shapes.push({ path, value });
  }
  return shapes;
}
