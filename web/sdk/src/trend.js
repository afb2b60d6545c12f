// The last minutes of a segment as a line.

import { LiveElement, make } from "./element.js";
import { parse, positive } from "./protocol.js";

/** @typedef {import("./source.js").Board} Board */

const LEAST_STEP_MS = 10_000; // of a history
const WANTED_POINTS = 360;

/** The last minutes of a segment as a line, its highest point marked. minutes="30" */
export class LiveTrend extends LiveElement {
  constructor() {
    super();
    this.addStyle(":host { width: 15rem; height: 4rem } canvas { display: block; width: 100%; height: 100% }");
    this.canvas = /** @type {HTMLCanvasElement} */ (make("canvas", { part: "trend", role: "img" }));
    this.root.append(this.canvas, this.note);
    /** @type {[number, number][]} at, sessions */
    this.points = [];
    this.begun = false; // what was before is asked for
  }

  follow() {
    this.canvas.setAttribute("aria-label", this.of("label", "watching")); // until there is a line
    super.follow();
  }

  forget() {
    super.forget();
    this.points = [];
    this.begun = false;
    this.draw();
  }

  get span() {
    return positive(+this.of("minutes", "30"), 30) * 60_000;
  }

  // earlier reads what was before the first board, whose time counts: the clock of
  // the viewer may be wrong.
  /** @param {number} to */
  async earlier(to) {
    const { points } = this, step = Math.max(LEAST_STEP_MS, Math.ceil(this.span / WANTED_POINTS));
    try {
      const url = new URL(this.base + "/history");
      for (const [k, v] of Object.entries({ segment: this.of("segment", "world"), from: to - this.span, to, step, key: this.of("key") })) if (v) url.searchParams.set(k, String(v));
      const answer = await fetch(url);
      const said = parse(await answer.text());
      if (points !== this.points || !Array.isArray(said.points)) return;
      points.unshift(...said.points.filter((/** @type {any} */ p) => Array.isArray(p) && p[0] < to).map((/** @type {number[]} */ p) => [p[0], p[1]]));
      this.draw();
    } catch {
      // The line begins now.
    }
  }

  /** @param {Board} b */
  show(b) {
    const c = b.segments.get(this.of("segment", "world"));
    if (b.quality && !this.begun && this.of("event")) {
      this.begun = true;
      this.earlier(b.at);
    }
    if (c && b.at > (this.points.at(-1)?.[0] || 0)) this.points.push([b.at, c.sessions]);
    while (this.points.length && this.points[0][0] < b.at - this.span) this.points.shift();
    this.draw();
  }

  draw() {
    const { canvas, points } = this, scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const g = canvas.getContext("2d");
    if (!g) return;
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, width, height);
    if (points.length < 2) return;
    const most = Math.max(...points.map((p) => p[1])), first = points[0][0], last = points[points.length - 1];
    const x = (/** @type {number} */ at) => (width - 8) * ((at - first) / (last[0] - first || 1)) + 4;
    const y = (/** @type {number} */ v) => height - 6 - (height - 12) * (v / (most || 1));
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
    canvas.setAttribute("aria-label", `${this.of("label", "watching")}: ${this.numbers?.format(last[1])}, at most ${this.numbers?.format(most)}`);
  }
}
