// The small drawings: a number that eases to its next value, the line of its
// last minutes.

export const WINDOW_MS = 3 * 60 * 1000;

const EASE_MS = 900;
const SVG = "http://www.w3.org/2000/svg";
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const digits = new Intl.NumberFormat("en-US");

export function format(n) {
  return digits.format(n);
}

// Ticker shows a number in an element and lets it run to the next one between
// two ticks. At once with reduced motion, in a hidden tab, and for the first.
export class Ticker {
  constructor(element, text = (n) => (n === null ? "–" : format(n))) {
    this.element = element;
    this.text = text;
    this.shown = null;
  }

  set(value) {
    cancelAnimationFrame(this.frame);
    const from = this.shown;
    if (value === null || from === null || from === value || calm.matches || document.hidden) {
      this.show(value);
      return;
    }
    const start = performance.now();
    const step = (now) => {
      const p = Math.min(1, Math.max(0, (now - start) / EASE_MS));
      this.show(Math.round(from + (value - from) * (1 - (1 - p) ** 3)));
      if (p < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  show(value) {
    this.shown = value;
    this.element.textContent = this.text(value);
  }
}

// flash shows by how much a number just moved, and lets it fade.
export function flash(element, by) {
  if (!by) return;
  element.textContent = (by > 0 ? "+" : "−") + format(Math.abs(by));
  element.dataset.sign = by > 0 ? "up" : "down";
  const frames = calm.matches ? [{ opacity: 1 }, { opacity: 1 }] : [{ opacity: 1, transform: "none" }, { opacity: 1, offset: 0.6 }, { opacity: 0, transform: "translateY(-3px)" }];
  element.animate(frames, { duration: 1800, easing: "ease-out" });
}

// Spark draws the last minutes of a number, the newest at the right edge.
export class Spark {
  constructor(svg) {
    this.svg = svg;
    this.points = [];
    this.area = svg.appendChild(document.createElementNS(SVG, "path"));
    this.area.setAttribute("class", "area");
    this.line = svg.appendChild(document.createElementNS(SVG, "path"));
    this.line.setAttribute("class", "line");
    this.line.setAttribute("vector-effect", "non-scaling-stroke");
    this.clear();
  }

  clear() {
    this.points = [];
    this.draw();
  }

  add(value) {
    const now = performance.now();
    this.points.push([now, value]);
    // One point before the window stays, so that the line begins at its edge.
    while (this.points.length > 2 && this.points[1][0] < now - WINDOW_MS) this.points.shift();
    this.draw();
  }

  draw() {
    const { width, height } = this.svg.viewBox.baseVal;
    if (this.points.length < 2) {
      this.line.removeAttribute("d");
      this.area.removeAttribute("d");
      this.svg.setAttribute("aria-label", "no history yet");
      return;
    }
    const end = this.points.at(-1)[0];
    // While there is less than a window, the line fills what there is.
    const begin = Math.max(this.points[0][0], end - WINDOW_MS);
    const values = this.points.map((p) => p[1]);
    const low = Math.min(...values);
    const high = Math.max(...values);
    // A floor under the range: noise of a few must not look like a landslide.
    const range = Math.max(high - low, high * 0.01, 4);
    const base = low - (range - (high - low)) / 2;
    const x = (t) => (((t - begin) / (end - begin)) * width).toFixed(1);
    const y = (v) => (height - 4 - ((v - base) / range) * (height - 8)).toFixed(1);
    const line = this.points.map(([t, v], i) => `${i ? "L" : "M"}${x(Math.max(t, begin))} ${y(v)}`).join("");
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", `${line}L${width} ${height}L0 ${height}Z`);
    this.svg.setAttribute("aria-label", `between ${format(low)} and ${format(high)} in the last minutes`);
  }
}
