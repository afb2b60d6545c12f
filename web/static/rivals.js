// The bar of one team against another. It asks for the board when a frame says
// that there is a new one. (A stream of the board would do, but a browser holds
// only six of them to one server, and then no further window would open.)

import { Ticker, format } from "/static/chart.js";
import { teamName } from "/static/places.js";

const LEAST_MS = 1500; // between two questions
const TROUBLE_MS = 6000; // after one that was not answered

export class Rivals {
  constructor(element) {
    this.element = element;
    const part = (id) => element.querySelector("#" + id);
    this.names = [part("mine-name"), part("theirs-name")];
    this.tickers = [new Ticker(part("mine-count")), new Ticker(part("theirs-count"))];
    this.bar = part("bar-mine");
    this.svg = element.querySelector(".bar");
    this.clear();
  }

  // ask shows mine against the largest other team, as the counts at path say.
  async ask(path, mine) {
    const now = performance.now();
    if (this.asking || now < this.notBefore || document.hidden) return;
    this.asking = path;
    this.mine = mine;
    this.notBefore = now + LEAST_MS;
    try {
      const answer = await fetch(path + "?dim=team", { cache: "no-cache", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.status);
      const board = await answer.json();
      if (this.asking === path) this.take(board.dims.team);
    } catch {
      this.notBefore = performance.now() + TROUBLE_MS;
    } finally {
      this.asking = "";
    }
  }

  // pick changes whose side the bar is on.
  pick(mine) {
    this.mine = mine;
    this.notBefore = 0;
    if (this.teams) this.take(this.teams);
  }

  // clear forgets everything: another event. Its place is kept, so that nothing
  // jumps when the board comes.
  clear() {
    this.asking = "";
    this.teams = null;
    this.notBefore = 0;
    this.element.hidden = false;
    this.element.classList.add("unknown");
  }

  // hide gives the place up: no board will come.
  hide() {
    this.clear();
    this.element.hidden = true;
  }

  take(teams) {
    if (!teams || typeof teams !== "object") {
      if (!this.teams) this.hide();
      return;
    }
    this.teams = teams;
    this.element.classList.remove("unknown");
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
