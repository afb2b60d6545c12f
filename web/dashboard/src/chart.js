// The audience over time: sessions and fans of one segment, the peak, and what
// was remarkable. The series is the timeline's, and the boards go on from there.

import uPlot from "uplot";

import { eventPath, get } from "./api.js";
import { byId, element, mark, write } from "./dom.js";
import { axisNumber, compact, number, plural, signed, time } from "./format.js";
import { segmentName } from "./places.js";
import { RANGES } from "./state.js";

/** @typedef {import("./model.js").Model} Model */

/**
 * @typedef {object} Moment
 * @property {number} at Unix ms @property {"surge" | "drop"} kind @property {number} change 0.12: 12 % more
 */

const RELOAD_MS = 60_000; // the server knows more than this page was there for
const DAY_MS = 86_400_000;
const STEPS_S = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800]; // between labels, which say no seconds
const MOST_MOMENTS = 6; // that are drawn, the latest

const css = getComputedStyle(document.documentElement);
/** @param {string} name */
const colour = (name) => css.getPropertyValue(name).trim();

export class Chart {
  constructor() {
    this.box = byId("plot");
    this.legend = { at: byId("legend-at"), sessions: byId("legend-sessions"), fans: byId("legend-fans") };
    this.summary = byId("chart-summary");
    this.empty = byId("chart-empty");
    /** @type {[number[], (number | null)[], (number | null)[]]} seconds, sessions, fans */
    this.data = [[], [], []];
    /** @type {Moment[]} */
    this.moments = [];
    this.step = 10_000;
    this.series = ""; // what is shown: event, segment, range
    this.loaded = 0; // when, of performance.now(); 0: it is not
    this.live = 0; // points at the end that boards brought
    this.plot = this.make();
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  make() {
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--edge"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 8 }, y: false },
        scales: { y: { range: (_, low, high) => rangeOf(low, high) } },
        axes: [
          { ...axis, size: 32, space: 64, incrs: STEPS_S, values: (_, ticks) => ticks.map((t, i) => (this.span() < DAY_MS / 2 ? time(t * 1000) : time(t * 1000, i === 0 || newDay(ticks[i - 1], t)))) },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((t) => (Number.isInteger(t) ? axisNumber(t) : "")) },
        ],
        series: [
          {},
          { stroke: () => colour("--mine"), width: 2, fill: () => colour("--mine-soft"), points: { show: false } },
          { stroke: () => colour("--theirs"), width: 1.5, points: { show: false } },
        ],
        hooks: { draw: [(u) => this.annotate(u)], setCursor: [() => this.read()] },
      },
      this.data,
      this.box,
    );
  }

  size() {
    return { width: Math.max(this.box.clientWidth, 200), height: Math.max(this.box.clientHeight, 120) };
  }

  resize() {
    const { width, height } = this.size();
    if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
  }

  /** The colours have changed. */
  repaint() {
    this.plot.redraw(false, true);
  }

  span() {
    return RANGES[this.series.split("\n")[2]] ?? RANGES["1h"];
  }

  /** @param {string} event @param {string} segment @param {string} range */
  show(event, segment, range) {
    const series = [event, segment, range].join("\n");
    if (series === this.series) return;
    this.series = series;
    this.loaded = 0;
    this.data = [[], [], []];
    this.moments = [];
    this.live = 0;
    this.plot.setData(this.data);
    write(this.summary, "");
  }

  /** Takes a board of the event that is shown. @param {Model} model @param {number} now of performance.now() */
  take(model, now) {
    if (!this.series) return;
    const [event, segment] = this.series.split("\n");
    if (!this.loaded || now - this.loaded > RELOAD_MS) this.load(event, segment, model.at, now);
    if (model.quality !== "final") this.push(model, segment);
    this.cut(model.at - this.span());
    this.draw(model, segment);
  }

  /** @param {string} event @param {string} segment @param {number} to @param {number} now */
  async load(event, segment, to, now) {
    const asked = this.series;
    this.loaded = now || 1;
    const q = new URLSearchParams({ segment, from: String(to - this.span()), to: String(to) });
    let t;
    try {
      t = await get(`${eventPath(event, "timeline.json")}?${q}`);
    } catch {
      return; // the boards go on; it is asked again
    }
    if (asked !== this.series || !Array.isArray(t.cues)) return;
    this.replace(t, to);
  }

  /** Puts the server's series in the place of what was shown up to then. @param {any} t @param {number} to */
  replace(t, to) {
    /** @type {[number[], (number | null)[], (number | null)[]]} */
    const data = [[], [], []];
    const moments = [];
    let end = -1;
    for (const c of t.cues) {
      if (end >= 0 && c.start > end + this.step) add(data, t.from + end, null, null); // a gap
      const at = Math.min(t.from + c.end, to);
      add(data, at, c.sessions, c.fans);
      this.step = c.end - c.start;
      end = c.end;
      for (const m of c.moments ?? []) if (m.kind !== "peak") moments.push({ at, kind: m.kind, change: m.change });
    }
    for (const [i, at] of this.data[0].entries()) if (at * 1000 > to) add(data, at * 1000, this.data[1][i], this.data[2][i]);
    this.data = data;
    this.moments = moments.slice(-MOST_MOMENTS);
    this.live = 0;
  }

  /** The newest board is the last point; it stays when it is a step after the one before. @param {Model} model @param {string} segment */
  push(model, segment) {
    const [xs, sessions, fans] = this.data;
    const c = model.count(segment) ?? { sessions: 0, fans: 0 };
    const at = model.at / 1000;
    const last = xs.length - 1;
    if (last >= 0 && at <= xs[last]) return;
    if (this.live > 0 && last >= 1 && at - xs[last - 1] < this.step / 1000) {
      xs[last] = at;
      sessions[last] = c.sessions;
      fans[last] = c.fans;
      return;
    }
    add(this.data, model.at, c.sessions, c.fans);
    this.live++;
  }

  /** @param {number} from Unix ms */
  cut(from) {
    let n = 0;
    while (n < this.data[0].length - 2 && this.data[0][n] * 1000 < from) n++;
    if (n) for (const list of this.data) list.splice(0, n);
  }

  /** @param {Model} model @param {string} segment */
  draw(model, segment) {
    const few = this.data[0].length < 2;
    if (this.empty.hidden === few) this.empty.hidden = !few;
    this.peak = peakOf(this.data);
    this.ever = model.count(segment)?.peak ?? 0;
    this.plot.setData(this.data);
    this.read();
    const p = this.peak;
    if (p < 0) return;
    const [xs, sessions] = this.data;
    const words = [`${segmentName(segment)}: at most ${number(sessions[p] ?? 0)} at ${time(xs[p] * 1000)} in this time`];
    if (this.ever > (sessions[p] ?? 0)) words.push(`${number(this.ever)} since the start`);
    if (this.moments.length) words.push(plural(this.moments.length, "surge or drop", "surges and drops"));
    write(this.summary, `${words.join(", ")}.`);
  }

  /** Writes the numbers under the cursor, the newest without one. */
  read() {
    const [xs, sessions, fans] = this.data;
    const i = this.plot?.cursor.idx ?? xs.length - 1;
    const known = i >= 0 && sessions[i] != null;
    write(this.legend.at, known ? time(xs[i] * 1000, this.span() > DAY_MS / 2) : "–");
    write(this.legend.sessions, known ? number(sessions[i] ?? 0) : "–");
    write(this.legend.fans, known ? `≈ ${number(fans[i] ?? 0)}` : "–");
  }

  /** Marks the peak, and surges and drops. @param {uPlot} u */
  annotate(u) {
    const [xs, sessions] = this.data;
    const p = this.peak ?? -1;
    if (p < 0 || !sessions[p]) return;
    const { ctx, bbox } = u;
    const px = uPlot.pxRatio;
    ctx.save();
    ctx.font = `600 ${12 * px}px system-ui, sans-serif`;
    for (const [i, m] of this.moments.entries()) {
      const x = u.valToPos(m.at / 1000, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const up = m.kind === "surge";
      ctx.fillStyle = colour(up ? "--good" : "--warn");
      triangle(ctx, x, bbox.top + bbox.height - 8 * px, (up ? -5 : 5) * px);
      const next = this.moments[i + 1];
      if (next && u.valToPos(next.at / 1000, "x", true) < x + 72 * px) continue; // its label has no room
      ctx.textAlign = "left";
      ctx.textBaseline = "middle";
      ctx.fillText(`${signed(Math.round(m.change * 100))} %`, x + 8 * px, bbox.top + bbox.height - 8 * px);
    }
    const x = u.valToPos(xs[p], "x", true);
    const y = u.valToPos(sessions[p] ?? 0, "y", true);
    ctx.fillStyle = colour("--ink");
    ctx.beginPath();
    ctx.arc(x, y, 4 * px, 0, 2 * Math.PI);
    ctx.fill();
    ctx.textBaseline = "bottom";
    const label = `peak ${compact(sessions[p] ?? 0)} · ${time(xs[p] * 1000)}`;
    const half = ctx.measureText(label).width / 2;
    ctx.textAlign = "center";
    ctx.fillText(label, Math.min(Math.max(x, bbox.left + half), bbox.left + bbox.width - half), y - 8 * px);
    ctx.restore();
  }
}

/** @param {[number[], (number | null)[], (number | null)[]]} data @param {number} at Unix ms @param {number | null} sessions @param {number | null} fans */
function add(data, at, sessions, fans) {
  data[0].push(at / 1000);
  data[1].push(sessions);
  data[2].push(fans);
}

/** @param {[number[], (number | null)[], ...any]} data @returns {number} the index of the largest, the first of equals; -1: there is none */
function peakOf([xs, sessions]) {
  let best = -1;
  for (let i = 0; i < xs.length; i++) if (sessions[i] != null && (best < 0 || (sessions[i] ?? 0) > (sessions[best] ?? 0))) best = i;
  return best;
}

/** From zero, unless that would hide the movement; with room for a label. @param {number} low @param {number} high @returns {[number, number]} */
function rangeOf(low, high) {
  if (low == null || high == null) return [0, 10];
  const room = Math.max((high - low) * 0.18, high * 0.06, 1);
  return [low > high * 0.6 ? Math.max(0, low - room) : 0, high + room];
}

/** @param {number} a @param {number} b seconds */
const newDay = (a, b) => new Date(a * 1000).getDate() !== new Date(b * 1000).getDate();

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} size below 0: it points up */
function triangle(ctx, x, y, size) {
  ctx.beginPath();
  ctx.moveTo(x - Math.abs(size), y - size);
  ctx.lineTo(x + Math.abs(size), y - size);
  ctx.lineTo(x, y + size);
  ctx.fill();
}

/** @param {HTMLElement} chip @param {string} segment @param {() => void} clear */
export function showSegment(chip, segment, clear) {
  if (chip.dataset.segment === segment) return; // its button may have the focus
  mark(chip, "segment", segment);
  chip.replaceChildren(element("span", "", segmentName(segment)));
  if (segment === "world") return;
  const b = element("button", "clear", "×");
  b.type = "button";
  b.ariaLabel = "Show everybody";
  b.addEventListener("click", clear);
  chip.append(b);
}
