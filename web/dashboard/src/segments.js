// The lists of segments: one dimension's, and the top movers.

import { byId, hide, write } from "./dom.js";
import { compact, duration, plural, share, signed } from "./format.js";
import { dimName, nameOf, segmentName } from "./places.js";
import { Rows } from "./rows.js";
import { split } from "./model.js";

/** @typedef {import("./model.js").Model} Model */

const MOST = 12;
const MOVERS = 5;

/** One dimension: teams, until the operator picks another. */
export class Segments {
  /** @param {(segment: string) => void} pick @param {(dim: string) => void} pickDim */
  constructor(pick, pickDim) {
    this.rows = new Rows(byId("segments"), MOST, pick);
    this.more = byId("segments-more");
    this.select = /** @type {HTMLSelectElement} */ (byId("dim"));
    this.select.addEventListener("change", () => pickDim(this.select.value));
    this.dims = "";
    this.dim = "";
  }

  /** @param {Model} model @param {string} wanted "": the first that is no place @param {string} chosen @param {number} now of performance.now() */
  update(model, wanted, chosen, now) {
    const dims = [...model.dims.keys()];
    if (dims.join() !== this.dims) {
      this.dims = dims.join();
      this.select.replaceChildren(...dims.map((d) => new Option(dimName(d), d)));
    }
    const dim = dims.includes(wanted) ? wanted : dims.find((d) => d === "team") ?? dims.find((d) => d !== "country" && d !== "region") ?? dims[0] ?? "";
    hide(this.select, !dims.length);
    if (dim !== this.dim) {
      this.dim = dim;
      this.rows.reset();
    }
    if (this.select.value !== dim) this.select.value = dim;
    let most = 1;
    const rows = [];
    for (const c of model.dims.get(dim)?.values() ?? []) most = Math.max(most, c.sessions);
    for (const [value, c] of model.dims.get(dim) ?? []) {
      rows.push({ key: `${dim}:${value}`, name: nameOf(dim, value), value: compact(c.sessions), note: share(c.sessions, model.world.sessions), rank: c.sessions, bar: c.sessions / most });
    }
    const more = this.rows.update(rows, chosen, now);
    write(this.more, more ? `and ${plural(more, "smaller one")}` : rows.length ? "" : "Nobody is counted in a dimension yet.");
  }
}

/** What changed most in a minute, over all dimensions. */
export class Movers {
  /** @param {(segment: string) => void} pick */
  constructor(pick) {
    this.up = new Rows(byId("movers-up"), MOVERS, pick);
    this.down = new Rows(byId("movers-down"), MOVERS, pick);
    this.over = byId("movers-over");
    this.none = { up: byId("no-up"), down: byId("no-down") };
  }

  reset() {
    this.up.reset();
    this.down.reset();
  }

  /** @param {Model} model @param {string} chosen @param {number} now of performance.now() */
  update(model, chosen, now) {
    const { up, down, over } = model.movers(MOVERS);
    write(this.over, over >= 59_000 ? "in a minute" : over ? `in ${duration(over)}` : "from now on");
    const most = Math.max(1, ...up.map((m) => m.by), ...down.map((m) => -m.by));
    /** @param {import("./model.js").Mover} m */
    const row = (m) => {
      const [dim] = split(m.segment);
      const total = model.count(m.segment)?.sessions ?? 0;
      return { key: m.segment, name: segmentName(m.segment), value: signed(m.by), note: `${dim} · ${compact(total)}`, rank: Math.abs(m.by), bar: Math.abs(m.by) / most, tone: m.by > 0 ? "up" : "down" };
    };
    this.up.update(up.map(row), chosen, now);
    this.down.update(down.map(row), chosen, now);
    hide(this.none.up, up.length > 0);
    hide(this.none.down, down.length > 0);
  }
}
