// What is known of the members: GET /v1/cluster, in the order of the tree, and
// what they add up to.

/**
 * @typedef {object} Status
 * @property {{connections: number, sessions: number}} [viewers]
 * @property {{relay: boolean, depth: number, parent?: string, hop_ms: number}} [tree]
 * @property {{rule: string, waiting: number, granted: number, blocked: number, would_block: number}[]} [rules]
 * @property {{bytes: number, files: number}} [journal]
 * @property {{lag_ms: number, pending: number}} [archive]
 *
 * @typedef {object} Member
 * @property {string} id @property {string} role @property {string} [peer] @property {boolean} [outside]
 * @property {number} joined_at @property {number} seen_at @property {boolean} alive @property {Status} [status]
 *
 * @typedef {object} Cluster
 * @property {number} now Redis ms @property {Member[]} members oldest first
 *
 * @typedef {object} Node
 * @property {Member} member @property {number} level 0: reads Redis @property {Member | undefined} parent
 */

/**
 * The gateways, each behind its relay, and a lone one behind an address that is
 * no member's.
 * @param {Member[]} members @returns {Node[]}
 */
export function treeOf(members) {
  const gateways = members.filter((m) => m.role === "gateway");
  const byPeer = new Map(gateways.filter((m) => m.peer).map((m) => [m.peer, m]));
  /** @type {Map<Member | undefined, Member[]>} */
  const children = new Map();
  for (const m of gateways) {
    const address = m.status?.tree?.parent?.replace(/^wss?:\/\//, "").replace(/\/$/, "");
    const parent = m.alive && address ? byPeer.get(address) : undefined;
    const of = parent === m ? undefined : parent;
    children.set(of, [...(children.get(of) ?? []), m]);
  }
  /** @type {Node[]} */
  const list = [];
  const seen = new Set();
  /** @param {Member | undefined} parent @param {number} level */
  const visit = (parent, level) => {
    for (const m of children.get(parent) ?? []) {
      if (seen.has(m)) continue; // what members say may be a moment old
      seen.add(m);
      list.push({ member: m, level, parent });
      visit(m, level + 1);
    }
  };
  visit(undefined, 0);
  for (const m of gateways) if (!seen.has(m)) list.push({ member: m, level: 0, parent: undefined });
  return list;
}

/**
 * @typedef {object} Rule
 * @property {string} rule @property {number} waiting now @property {number} blocked @property {number} granted @property {number} shadow
 */

/** Adds decisions up, and remembers them for a minute. */
export class Decisions {
  constructor() {
    /** @type {{at: number, of: Map<string, import("./cluster.js").Status["rules"]>}[]} by member, oldest first */
    this.samples = [];
  }

  /** What became of asks in a minute, by rule. @param {Cluster} c @returns {{rules: Rule[], over: number}} */
  take(c) {
    const of = new Map(c.members.filter((m) => m.alive).map((m) => [m.id, m.status?.rules ?? []]));
    if ((this.samples.at(-1)?.at ?? 0) > c.now) this.samples = [];
    this.samples.push({ at: c.now, of });
    while (this.samples.length > 1 && this.samples[1].at <= c.now - 60_000) this.samples.shift();
    const before = this.samples[0];
    /** @type {Map<string, Rule>} */
    const sum = new Map();
    for (const [id, rules] of of) {
      for (const r of rules) {
        const s = sum.get(r.rule) ?? { rule: r.rule, waiting: 0, blocked: 0, granted: 0, shadow: 0 };
        // A member that is new since then began at zero.
        const old = before.of.get(id)?.find((o) => o.rule === r.rule);
        s.waiting += r.waiting;
        s.blocked += r.blocked - (old?.blocked ?? 0);
        s.granted += r.granted - (old?.granted ?? 0);
        s.shadow += r.would_block - (old?.would_block ?? 0);
        sum.set(r.rule, s);
      }
    }
    return { rules: [...sum.values()].sort((a, b) => b.waiting - a.waiting || (a.rule < b.rule ? -1 : 1)), over: c.now - before.at };
  }
}

/**
 * What waits to be archived. @param {Cluster} c
 * @returns {{lag: number, pending: number, bytes: number, files: number, archivers: number, journals: number}}
 */
export function archiveOf(c) {
  const sum = { lag: 0, pending: 0, bytes: 0, files: 0, archivers: 0, journals: 0 };
  for (const m of c.members) {
    if (!m.alive || !m.status) continue;
    const { archive, journal } = m.status;
    if (archive) {
      sum.archivers++;
      sum.lag = Math.max(sum.lag, archive.lag_ms);
      sum.pending += archive.pending;
    }
    if (journal) {
      sum.journals++;
      sum.bytes += journal.bytes;
      sum.files += journal.files;
    }
  }
  return sum;
}
