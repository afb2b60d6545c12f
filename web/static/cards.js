// The cards of the four counts: the number, how it moved, and its last minutes.

import { Ticker, Spark, flash, format } from "/static/chart.js";

const UNIT = ["stream watching", "streams watching"];

export class Cards {
  // main holds an element with data-count for each dimension.
  constructor(main) {
    this.cards = new Map();
    for (const el of main.querySelectorAll("[data-count]")) {
      const part = (name) => el.querySelector("." + name);
      this.cards.set(el.dataset.count, {
        el, who: part("who"), unit: part("unit"), delta: part("delta"), ticker: new Ticker(part("number")),
        fans: new Ticker(part("fans"), (n) => (n === null ? "" : `≈ ${format(n)} ${n === 1 ? "fan" : "fans"}`)), spark: new Spark(part("spark")), last: null,
      });
    }
    this.dims = [...this.cards.keys()];
  }

  // name says of whom a count is.
  name(dim, who) {
    this.cards.get(dim).who.textContent = who;
  }

  // paint shows [sessions, fans]; null is a segment too small to be shown, and
  // undefined one that the event does not count.
  paint(dim, count) {
    const card = this.cards.get(dim);
    if (!Array.isArray(count)) {
      this.blank(card, count === null ? "too few to show without pointing at somebody" : "not counted in this event");
      return;
    }
    const [sessions, fans] = count;
    card.el.dataset.sessions = sessions;
    card.el.dataset.fans = fans;
    card.ticker.set(sessions);
    card.unit.textContent = UNIT[sessions === 1 ? 0 : 1];
    card.fans.set(fans);
    if (card.last !== null) flash(card.delta, sessions - card.last);
    card.last = sessions;
    card.spark.add(sessions);
  }

  // forget empties a card: its number will be another one's.
  forget(dim) {
    const card = this.cards.get(dim);
    card.spark.clear();
    this.blank(card, UNIT[1]);
  }

  blank(card, unit) {
    delete card.el.dataset.sessions;
    delete card.el.dataset.fans;
    card.last = null;
    card.ticker.set(null);
    card.fans.set(null);
    card.unit.textContent = unit;
  }

  // said returns the numbers as a sentence.
  said() {
    const known = this.dims.filter((dim) => this.cards.get(dim).last !== null);
    return known.map((dim) => `${dim === "world" ? "the world" : this.cards.get(dim).who.textContent}: ${format(this.cards.get(dim).last)}`).join(", ");
  }
}
