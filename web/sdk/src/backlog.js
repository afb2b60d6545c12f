// What waited: many events by requests, whose answers say that all is durable, and
// what tabs left that are gone. Few need it, so it is a file of its own that those
// load.
//
// Something between may answer in a server's place: a load balancer that has no
// gateway just now, a hotel's network. Events are dropped only for words of ours.

import { AGAIN_MS, BATCH, KEPT_MS, SEQ_PER_MS } from "./limits.js";

const QUIET_TAB_MS = 3_600_000; // it may live all the same: what two send in the same hour is told by its number

/**
 * Client._post.
 * @param {import("./client.js").Client} client @param {import("./outbox.js").Item[]} items @param {string} session
 * @param {Pick<typeof import("./protocol.js"), "STRANGE" | "parse" | "retryAfter">} protocol which sdk.js has
 * @returns {Promise<number>}
 */
export async function post(client, items, session, protocol) {
  const half = items.length >> 1;
  const halves = async () => (await post(client, items.slice(0, half), session, protocol)) || post(client, items.slice(half), session, protocol);
  if (items.length > BATCH) return halves();
  try {
    const bodies = items.map((i) => i.body);
    // The last word of a play that is over.
    if (session !== client.session) bodies.push(`{"t":"beat","state":"ended"}`);
    const answer = await client._request("/beats?session=" + session, { method: "POST", body: `[${bodies}]` }), { status } = answer;
    if (status === 401 || status === 429 || status >= 500) return protocol.retryAfter(answer);
    const said = protocol.parse(await answer.text());
    if (half && (status === 400 || status === 413)) return halves(); // for one of them: the halves say which
    if (typeof (answer.ok ? said.session : said.code) !== "string") {
      client._trouble({ code: "invalid", message: protocol.STRANGE });
      return protocol.retryAfter(answer);
    }
    if (!answer.ok) client._refused(said); // what can never be taken is no use to keep
    client.outbox._forget(items);
    return 0;
  } catch {
    return AGAIN_MS;
  }
}

/**
 * Outbox._adopt.
 * @param {import("./outbox.js").Outbox} outbox @param {import("./outbox.js").Item[]} all that other tabs stored
 * @param {string} lock before the name of a tab: what it holds while it lives
 * @param {(items: import("./outbox.js").Item[], session: string) => Promise<number>} give
 * @returns {Promise<number>}
 */
export async function adopt(outbox, all, lock, give) {
  const locks = globalThis.navigator?.locks;
  for (const tab of new Set(all.map((i) => i.tab))) {
    const theirs = all.filter((i) => i.tab === tab);
    // Pages of plain http have no locks: there a tab that told of nothing new for so long is taken for gone.
    const lives = Date.now() - Math.max(...theirs.map((i) => i.seq)) / SEQ_PER_MS < QUIET_TAB_MS;
    const wait = await (locks ? locks.request(lock + tab, { ifAvailable: true }, (held) => (held ? take(outbox, theirs, give) : 0)) : lives ? 0 : take(outbox, theirs, give));
    if (wait) return wait;
  }
  return 0;
}

/** @param {import("./outbox.js").Outbox} outbox @param {import("./outbox.js").Item[]} theirs @param {Parameters<typeof adopt>[3]} give */
async function take(outbox, theirs, give) {
  const ours = theirs.filter((i) => i.scope === outbox.scope), old = Date.now() - KEPT_MS;
  outbox._forget(theirs.filter((i) => i.seq / SEQ_PER_MS < old));
  for (const session of new Set(ours.map((i) => i.session))) {
    const wait = await give(ours.filter((i) => i.session === session), session);
    if (wait) return wait;
  }
  return 0;
}
