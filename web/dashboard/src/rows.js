// A list of segments with bars. Rows are slots that stay where they are: what
// they show changes, so nothing on the page moves at a tick. The order settles
// every few seconds, and holds while somebody points at it.

import { element, hide, mark, write } from "./dom.js";

const SETTLE_MS = 8_000;

/**
 * @typedef {object} Row
 * @property {string} key a segment
 * @property {string} name @property {string} value @property {string} note
 * @property {number} rank the largest first
 * @property {number} [bar] 0 to 1
 * @property {string} [tone] "up" or "down"
 *
 * @typedef {object} Slot
 * @property {HTMLLIElement} li @property {HTMLButtonElement} button
 * @property {HTMLElement} name @property {HTMLElement} value @property {HTMLElement} note @property {HTMLElement} bar
 * @property {string} key @property {string} width
 */

export class Rows {
  /** @param {HTMLElement} list @param {number} most rows @param {(segment: string) => void} pick */
  constructor(list, most, pick) {
    this.list = list;
    this.most = most;
    this.pick = pick;
    /** @type {Slot[]} */
    this.slots = [];
    /** @type {string[]} */
    this.order = [];
    this.settled = -Infinity;
  }

  /** The order is made anew at the next update. */
  reset() {
    this.settled = -Infinity;
  }

  held() {
    return this.list.matches(":hover, :focus-within");
  }

  /**
   * @param {Row[]} rows @param {string} chosen @param {number} now of performance.now()
   * @returns {number} of rows that are not shown
   */
  update(rows, chosen, now) {
    const byKey = new Map(rows.map((r) => [r.key, r]));
    if ((now - this.settled >= SETTLE_MS && !this.held()) || this.order.length < Math.min(this.most, rows.length)) {
      this.order = [...rows].sort((a, b) => b.rank - a.rank || (a.name < b.name ? -1 : 1)).slice(0, this.most).map((r) => r.key);
      this.settled = now;
    }
    while (this.slots.length < this.order.length) this.slots.push(this.add());
    for (const [i, slot] of this.slots.entries()) {
      const key = this.order[i] ?? "";
      const row = byKey.get(key);
      hide(slot.li, !key);
      if (key) this.show(slot, row ?? { key, name: slot.key === key ? slot.name.textContent ?? key : key, value: "0", note: "", rank: 0 }, key === chosen);
    }
    return Math.max(0, rows.length - this.order.length);
  }

  /** @returns {Slot} */
  add() {
    const li = element("li");
    const button = element("button", "row");
    button.type = "button";
    const slot = { li, button, name: element("span", "row-name"), value: element("span", "row-value"), note: element("span", "row-note"), bar: element("span", "row-bar"), key: "", width: "" };
    button.append(slot.bar, slot.name, slot.value, slot.note);
    button.addEventListener("click", () => this.pick(slot.key));
    li.append(button);
    this.list.append(li);
    return slot;
  }

  /** @param {Slot} slot @param {Row} row @param {boolean} chosen */
  show(slot, row, chosen) {
    slot.key = row.key;
    write(slot.name, row.name);
    write(slot.value, row.value);
    write(slot.note, row.note);
    mark(slot.button, "tone", row.tone ?? "");
    if (slot.button.ariaPressed !== String(chosen)) slot.button.ariaPressed = String(chosen);
    const width = (row.bar ?? 0).toFixed(3);
    if (width !== slot.width) slot.bar.style.transform = `scaleX(${(slot.width = width)})`;
  }
}
