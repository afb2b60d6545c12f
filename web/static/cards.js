// The cards of the four counts, and the overlay on the picture: elements of
// /live-counts.js that are fed with what the play of this page is told.

import { teamName } from "/static/places.js";

const UNIT = ["stream watching", "streams watching"];
const digits = new Intl.NumberFormat(document.documentElement.lang);

export class Cards {
  // main holds an element with data-count for each dimension.
  constructor(main) {
    this.cards = new Map();
    for (const el of main.querySelectorAll("[data-count]")) {
      this.cards.set(el.dataset.count, { el, who: el.querySelector(".who"), number: el.querySelector(".number"), parts: [...el.querySelectorAll("[fed]")], last: null });
    }
    this.dims = [...this.cards.keys()];
  }

  // name says of whom a count is, and which segment that is.
  name(dim, who, event, segment) {
    const card = this.cards.get(dim);
    card.who.textContent = who;
    for (const part of card.parts) {
      part.setAttribute("event", event);
      part.setAttribute("segment", segment);
    }
  }

  // paint shows counts: {at, age, quality, segments}. A segment that is null is
  // too small to be shown; one that is not there the event does not count.
  paint(counts) {
    for (const card of this.cards.values()) {
      const c = counts.segments[card.number.getAttribute("segment")];
      card.last = c ? c.sessions : null;
      const unit = c ? UNIT[c.sessions === 1 ? 0 : 1] : c === null ? "too few to show without pointing at somebody" : "not counted in this event";
      if (card.number.getAttribute("label") !== unit) card.number.setAttribute("label", unit);
      Object.assign(card.el.dataset, c ? { sessions: c.sessions, fans: c.fans } : {});
      if (!c) this.blank(card);
      for (const part of card.parts) part.feed(counts);
    }
  }

  // forget empties a card: its number will be another one's.
  forget(dim) {
    this.blank(this.cards.get(dim));
  }

  blank(card) {
    delete card.el.dataset.sessions;
    delete card.el.dataset.fans;
    card.last = null;
  }

  // said returns the numbers as a sentence.
  said() {
    const known = [...this.cards].filter(([, card]) => card.last !== null);
    return known.map(([dim, card]) => `${dim === "world" ? "the world" : card.who.textContent}: ${digits.format(card.last)}`).join(", ");
  }
}

export class Overlay {
  constructor(screen) {
    this.mine = screen.querySelector("live-counts");
    this.rivals = screen.querySelector("live-rivals");
    this.trend = screen.querySelector("live-trend");
  }

  // of says whose side it is on; rival may be "".
  of(event, team, rival) {
    const mine = team === "unknown" ? "world" : "team:" + team;
    for (const e of [this.mine, this.trend]) {
      e.setAttribute("event", event);
      e.setAttribute("segment", mine);
    }
    this.mine.setAttribute("label", team === "unknown" ? "watching now" : `${teamName(team)} · watching now`);
    this.rivals.hidden = !rival || team === "unknown";
    this.rivals.setAttribute("mine", mine);
    this.rivals.setAttribute("theirs", "team:" + rival);
  }

  // forget drops what is shown: numbers of another time come.
  forget() {
    for (const e of [this.mine, this.rivals, this.trend]) e.forget();
  }

  feed(counts) {
    for (const e of [this.mine, this.rivals, this.trend]) e.feed(counts);
  }
}
