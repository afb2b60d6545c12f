// The bar of one team against another, from the stream of the event's board.

import { Ticker, format } from "/static/chart.js";
import { teamName } from "/static/places.js";

const AGAIN_MS = 5000;

export class Rivals {
  constructor(element) {
    this.element = element;
    const part = (id) => element.querySelector("#" + id);
    this.names = [part("mine-name"), part("theirs-name")];
    this.tickers = [new Ticker(part("mine-count")), new Ticker(part("theirs-count"))];
    this.bar = part("bar-mine");
    this.svg = element.querySelector(".bar");
  }

  // watch follows the counts at path, and shows mine against the largest other
  // team.
  watch(path, mine) {
    this.close();
    this.mine = mine;
    const source = new EventSource(path + "/stream?dim=team");
    const take = (e) => {
      if (source === this.source) this.take(e.data);
    };
    source.addEventListener("message", take);
    source.addEventListener("counts", take);
    source.addEventListener("error", () => {
      // The browser comes back by itself, unless it was refused.
      if (source !== this.source || source.readyState !== EventSource.CLOSED) return;
      this.again = setTimeout(() => this.watch(path, this.mine), AGAIN_MS * (1 + Math.random()));
    });
    this.source = source;
  }

  close() {
    clearTimeout(this.again);
    if (this.source) this.source.close();
    this.source = null;
  }

  take(text) {
    let teams;
    try {
      teams = JSON.parse(text).dims.team;
    } catch {
      return;
    }
    if (!teams || typeof teams !== "object") return;
    const ranked = Object.entries(teams)
      .filter(([name, c]) => name !== "unknown" && name !== "other" && c && c.sessions >= 0)
      .map(([name, c]) => [name, c.sessions])
      .sort((a, b) => b[1] - a[1]);
    const mine = ranked.find(([name]) => name === this.mine) || ranked[0];
    const theirs = ranked.find((r) => r !== mine);
    this.element.hidden = !theirs;
    if (theirs) this.paint(mine, theirs);
  }

  paint(mine, theirs) {
    const share = mine[1] + theirs[1] ? mine[1] / (mine[1] + theirs[1]) : 0.5;
    [mine, theirs].forEach(([name, n], i) => {
      this.names[i].textContent = teamName(name);
      this.tickers[i].set(n);
    });
    this.bar.setAttribute("width", (share * 1000).toFixed(1));
    this.svg.setAttribute("aria-label", `${teamName(mine[0])} ${format(mine[1])}, ${teamName(theirs[0])} ${format(theirs[1])}`);
    this.element.dataset.share = share.toFixed(3);
  }
}
