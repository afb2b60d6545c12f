// What the boards say of all teams, and how few are too few to be shown: a player is
// told of its own only. They are asked for when a frame says that there is a new one.
// (A stream of them would do, but a browser holds only six of them to one server, and
// then no further window would open.)

const LEAST_MS = 1500; // between two questions
const TROUBLE_MS = 6000; // after one that was not answered

export class Teams {
  constructor() {
    this.clear();
  }

  // clear forgets everything: another event.
  clear() {
    this.asking = "";
    this.dim = "team"; // that is asked for; "world" of an event without teams
    this.of = null; // {sessions, fans, peak, reach} by team, as GET counts has them; null: too few to be shown
    this.least = undefined; // what those are less than
    this.notBefore = 0;
  }

  // ask reads the counts at path, and calls heard when they are there.
  async ask(path, heard) {
    const now = performance.now();
    if (this.asking || now < this.notBefore || document.hidden) return;
    this.asking = path;
    this.notBefore = now + LEAST_MS;
    try {
      const get = (dim) => fetch(`${path}?dim=${dim}`, { cache: "no-cache", signal: AbortSignal.timeout(5000) });
      let answer = await get(this.dim);
      if (answer.status === 400 && this.asking === path) answer = await get((this.dim = "world"));
      if (!answer.ok) throw new Error(answer.status);
      const board = await answer.json();
      if (this.asking === path) {
        this.take(board);
        heard();
      }
    } catch {
      this.notBefore = performance.now() + TROUBLE_MS;
    } finally {
      this.asking = "";
    }
  }

  // take reads a board, as GET counts has it.
  take({ dims, min_cohort: least }) {
    const teams = dims && dims.team;
    this.of = teams && typeof teams === "object" ? teams : null;
    this.least = least;
  }

  // rival returns the largest team but mine, "" if there is none.
  rival(mine) {
    let [largest, most] = ["", -1];
    for (const [name, c] of Object.entries(this.of || {})) {
      if (name !== mine && name !== "unknown" && name !== "other" && c && c.sessions > most) [largest, most] = [name, c.sessions];
    }
    return largest;
  }

  // segments returns what is known of each team, by "team:KC".
  segments() {
    return Object.fromEntries(Object.entries(this.of || {}).map(([name, c]) => ["team:" + name, c]));
  }
}
