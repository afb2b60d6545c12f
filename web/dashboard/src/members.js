// The panels about the deployment itself: gateways and the tree, who is blocked,
// how far the archive is behind.

import { archiveOf, Decisions, treeOf } from "./cluster.js";
import { byId, element, hide, mark, write } from "./dom.js";
import { bytes, compact, duration, number, plural } from "./format.js";

/** @typedef {import("./cluster.js").Cluster} Cluster @typedef {import("./cluster.js").Node} Node */

const MOST = 100; // gateways that are listed
const LATE_MS = 300_000; // after which an archive is behind

/** @type {Record<string, string>} */
const RULES = { token: "Limit in the token", plan: "Plan", default: "Default limit", event: "Limit of the event", household: "Household", none: "Taken over or signed out" };

export class Members {
  constructor() {
    this.body = byId("members");
    this.note = byId("members-note");
    this.sum = byId("members-sum");
    this.decisions = new Decisions();
    /** @type {Map<string, Line>} by member id */
    this.lines = new Map();
    this.trouble = "";
  }

  /** @param {string} sentence */
  fail(sentence) {
    this.trouble = sentence;
    write(this.note, sentence);
    hide(this.note, !sentence);
  }

  /** @param {Cluster} c */
  show(c) {
    const nodes = treeOf(c.members);
    const shown = nodes.slice(0, MOST);
    this.fail(adviceOn(c, nodes.length));
    write(this.sum, sumOf(c, nodes));
    const most = Math.max(1, ...shown.map((n) => n.member.status?.viewers?.sessions ?? 0));
    let at = this.body.firstElementChild;
    const gone = new Set(this.lines.keys());
    for (const n of shown) {
      const line = this.lines.get(n.member.id) ?? new Line();
      this.lines.set(n.member.id, line);
      gone.delete(n.member.id);
      line.show(n, c.now, most);
      if (line.row === at) at = at.nextElementSibling;
      else this.body.insertBefore(line.row, at);
    }
    for (const id of gone) {
      this.lines.get(id)?.row.remove();
      this.lines.delete(id);
    }
    showBlocked(this.decisions.take(c));
    showArchive(c);
  }
}

/** One gateway in the table. */
class Line {
  constructor() {
    this.row = element("tr");
    this.who = element("th", "who");
    this.who.scope = "row";
    this.name = element("span", "member");
    this.place = element("span", "place");
    this.who.append(this.name, this.place);
    const cell = () => this.row.appendChild(element("td"));
    this.row.append(this.who);
    this.sessions = cell();
    this.number = this.sessions.appendChild(element("span"));
    this.bar = this.sessions.appendChild(element("span", "cell-bar"));
    this.hop = cell();
    this.journal = cell();
    this.seen = cell();
    this.width = "";
  }

  /** @param {Node} n @param {number} now Redis ms @param {number} most sessions of a gateway */
  show({ member: m, level, parent }, now, most) {
    const { viewers, tree, journal } = m.status ?? {};
    mark(this.row, "level", String(Math.min(level, 4)));
    mark(this.row, "alive", String(m.alive));
    write(this.name, m.id.slice(0, 6));
    this.name.title = m.id;
    const from = tree?.parent ? `reads ${parent ? parent.id.slice(0, 6) : tree.parent}` : tree ? "reads Redis" : "";
    write(this.place, [tree?.relay ? "relay" : "", m.outside ? "remote" : "", m.alive ? from : "gone: its last count stands in for a while", m.peer ?? ""].filter(Boolean).join(" · "));
    write(this.number, viewers ? number(viewers.sessions) : "–");
    const width = ((viewers?.sessions ?? 0) / most).toFixed(3);
    if (width !== this.width) this.bar.style.transform = `scaleX(${(this.width = width)})`;
    write(this.hop, tree?.parent ? `${tree.hop_ms}\u00a0ms` : "–");
    write(this.journal, journal ? bytes(journal.bytes) : "–");
    write(this.seen, m.alive ? "now" : `${duration(now - m.seen_at)} ago`);
  }
}

/** @param {Cluster} c @param {Node[]} nodes */
function sumOf(c, nodes) {
  /** @param {string} role */
  const alive = (role) => c.members.filter((m) => m.role === role && m.alive).length;
  const up = nodes.filter((n) => n.member.alive);
  const depth = Math.max(0, ...up.map((n) => n.member.status?.tree?.depth ?? 0));
  const hops = up.map((n) => n.member.status?.tree).filter((t) => t?.parent).map((t) => t?.hop_ms ?? 0);
  const words = [plural(up.length, "gateway"), plural(alive("aggregator"), "aggregator")];
  if (alive("archiver")) words.push(plural(alive("archiver"), "archiver"));
  if (alive("blocker")) words.push(plural(alive("blocker"), "blocker"));
  words.push(depth ? `tree of depth ${depth}, slowest hop ${Math.max(...hops)}\u00a0ms` : "all read Redis");
  return words.join(" · ");
}

/** @param {Cluster} c @param {number} gateways @returns {string} what is to be done, "" if all is well */
function adviceOn(c, gateways) {
  /** @param {string} role */
  const none = (role) => !c.members.some((m) => m.role === role && m.alive);
  if (none("aggregator")) return "No aggregator is alive, so no board is made: start one with “grandstand aggregator”.";
  if (none("gateway")) return "No gateway is alive: viewers cannot connect. Start one with “grandstand gateway”.";
  if (gateways > MOST) return `The first ${MOST} of ${number(gateways)} gateways are listed.`;
  return "";
}

/** @param {{rules: import("./cluster.js").Rule[], over: number}} d */
function showBlocked({ rules, over }) {
  write(byId("waiting"), compact(rules.reduce((sum, r) => sum + r.waiting, 0)));
  write(byId("blocked-over"), over >= 59_000 ? "in a minute" : over > 0 ? `in ${duration(over)}` : "from now on");
  const body = byId("rules");
  while (body.children.length > rules.length) body.lastElementChild?.remove();
  while (body.children.length < rules.length) {
    const row = element("tr");
    const head = element("th");
    head.scope = "row";
    row.append(head, element("td"), element("td"), element("td"));
    body.append(row);
  }
  for (const [i, r] of rules.entries()) {
    const texts = [RULES[r.rule] ?? r.rule, number(r.waiting), r.shadow ? `${number(r.blocked)} (${number(r.shadow)} not enforced)` : number(r.blocked), number(r.granted)];
    for (const [k, text] of texts.entries()) write(body.children[i].children[k], text);
  }
  hide(byId("rules-none"), rules.length > 0);
  hide(byId("rules-table"), rules.length === 0);
}

/** @param {Cluster} c */
function showArchive(c) {
  const a = archiveOf(c);
  write(byId("lag"), a.archivers ? duration(a.lag) : "–");
  write(byId("pending"), number(a.pending));
  write(byId("journal-size"), bytes(a.bytes));
  write(byId("journal-files"), plural(a.files, "sealed file"));
  const late = a.archivers > 0 && a.lag > LATE_MS;
  const stuck = a.journals > 0 && a.archivers === 0;
  mark(byId("archive"), "tone", late || stuck ? "warn" : "");
  let words = "All that is sealed is in the store.";
  if (stuck) words = "Journals are written, but no archiver is alive: start one with “grandstand archiver”. Nothing is lost meanwhile.";
  else if (!a.journals) words = "No gateway keeps a journal: raw events are not archived. --journal DIR turns it on.";
  else if (late) words = "Archivers are behind. Look at their log, and whether the store answers. Nothing is lost meanwhile.";
  else if (a.pending) words = "Sealed files are on their way to the store.";
  write(byId("archive-note"), words);
}
