// Events that wait for their acknowledgement, also over a crash of the tab: each
// is in IndexedDB from the moment it was tracked until the server said that it is
// durable. What another tab left behind is taken over by the next (its lock is
// free then). Without IndexedDB the outbox is in memory only.

const DB = "grandstand", STORE = "events", LOCK = DB + ".tab.";
const MOST = 1000; // events of a tab that wait; the oldest give way

/**
 * @typedef {object} Item
 * @property {string} tab whose it is
 * @property {string} scope which play it is of
 * @property {string} session that it belongs to; "" before the first hello
 * @property {number} seq
 * @property {string} body the message, complete
 */

/** @param {IDBRequest} request @returns {Promise<any>} */
const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class Outbox {
  /** @param {string} scope @param {boolean} persistent */
  constructor(scope, persistent) {
    this.scope = scope;
    this.tab = "" + Math.random() + Date.now();
    /** @type {Item[]} by seq */
    this.items = [];
    this._full = false; // some gave way since all was delivered
    /** @type {Promise<IDBDatabase | null>} */
    this._db = persistent ? this._open().catch(() => null) : Promise.resolve(null);
    this._release = (/** @type {any} */ _) => {};
  }

  /** @returns {Promise<IDBDatabase>} */
  async _open() {
    const request = indexedDB.open(DB, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: ["tab", "seq"] });
    const db = await done(request);
    db.onversionchange = () => db.close();
    // The lock lives as long as the tab: that it is free says that the tab is gone.
    globalThis.navigator?.locks?.request(LOCK + this.tab, () => new Promise((resolve) => (this._release = resolve))).catch(() => {});
    return db;
  }

  /** Carries out changes; that they fail is no worse than a tab without storage. @param {(s: IDBObjectStore) => void} change */
  async _write(change) {
    const db = await this._db;
    try {
      if (db) change(db.transaction(STORE, "readwrite").objectStore(STORE));
    } catch {
      // As above.
    }
  }

  /** @param {string} session @param {number} seq @param {string} body @returns {boolean} whether it is the first that another gave way to */
  _add(session, seq, body) {
    const full = this._full, item = { tab: this.tab, scope: this.scope, session, seq, body };
    const gone = this.items.push(item) > MOST && this.items.shift();
    if (gone) this._full = true;
    this._write((s) => {
      s.put(item);
      if (gone) s.delete([gone.tab, gone.seq]);
    });
    return this._full && !full;
  }

  /** Says which session what waits belongs to. @param {string} session */
  name(session) {
    const nameless = this.items.filter((i) => !i.session);
    for (const item of nameless) item.session = session;
    this._write((s) => nameless.forEach((i) => s.put({ ...i })));
  }

  /** @param {(i: Item) => boolean} which are durable, or can never be */
  _remove(which) {
    this._forget(this.items.filter(which));
  }

  /** @param {Item[]} items */
  _forget(items) {
    if (!items.length) return;
    this.items = this.items.filter((i) => !items.includes(i));
    this._full &&= this.items.length > 0;
    this._write((s) => items.forEach((i) => s.delete([i.tab, i.seq])));
  }

  /**
   * What tabs left that are gone, of the same play, session by session; "" is of
   * those that never had one. They stay stored until _forget. give is called with
   * them while no other tab takes them too; 0: it took them, and gets the next.
   * @param {(items: Item[], session: string) => Promise<number>} give
   * @returns {Promise<number>} 0, or what give returned else
   */
  async _adopt(give) {
    const db = await this._db;
    if (!db) return 0;
    /** @type {Item[]} */
    const all = await done(db.transaction(STORE).objectStore(STORE).getAll()), theirs = all.filter((i) => i.tab !== this.tab);
    return theirs.length && (await import("./backlog.js")).adopt(this, theirs, LOCK, give);
  }

  async close() {
    this._release(0);
    (await this._db)?.close();
  }
}
