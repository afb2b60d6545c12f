// A browser that keeps nothing: switched off, denied, full, or broken. What is told
// goes out from memory then.

import assert from "node:assert/strict";
import { test } from "node:test";

import { pass, play, server, talking } from "./play.js";

const denied = () => {
  throw new DOMException("denied", "SecurityError");
};

// request is an IDBRequest that ends a moment later, well or not.
function request(result, error) {
  const r = { result, error };
  setTimeout(() => (error ? r.onerror?.() : (r.onupgradeneeded?.(), r.onsuccess?.())), 1);
  return r;
}

// database is an IndexedDB of which some does not work.
const database = (broken = {}) => ({
  open: () => request({ createObjectStore() {}, close() {}, transaction: () => ({ objectStore: () => store }), ...broken.db }),
  ...broken.factory,
});
const store = { put: denied, delete: denied, getAll: () => request([]) };
const full = { put: () => request(undefined, new DOMException("full", "QuotaExceededError")), delete: () => request(), getAll: () => request(undefined, new DOMException("unreadable", "UnknownError")) };

for (const [what, page] of [
  ["IndexedDB that may not be opened", { indexedDB: database({ factory: { open: denied } }) }],
  ["IndexedDB that cannot be opened", { indexedDB: database({ factory: { open: () => request(undefined, new DOMException("broken", "UnknownError")) } }) }],
  ["IndexedDB that never answers", { indexedDB: database({ factory: { open: () => ({}) } }) }],
  ["IndexedDB that takes nothing", { indexedDB: database() }],
  ["IndexedDB that is full and unreadable", { indexedDB: database({ db: { transaction: () => ({ objectStore: () => full }) } }) }],
  ["IndexedDB whose connection was closed", { indexedDB: database({ db: { transaction: denied } }) }],
  ["localStorage that is full", { localStorage: { getItem: () => null, setItem: denied, removeItem: denied } }],
  ["localStorage that is denied", { get localStorage() { return denied(); } }],
  ["neither", { indexedDB: undefined, localStorage: undefined }],
]) {
  test("a browser with " + what, async () => {
    const rejected = [], saw = (why) => rejected.push(why);
    const navigator = { locks: { request: async (name, ...more) => more.pop()({ name }) } };
    const properties = { ...Object.getOwnPropertyDescriptors(page), navigator: { value: navigator } };
    const was = Object.keys(properties).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
    for (const [name, d] of Object.entries(properties)) Object.defineProperty(globalThis, name, { ...d, configurable: true });
    process.on("unhandledRejection", saw);
    try {
      const { client, told } = play();
      talking();
      client.track("goal", { i: 0 });
      await pass(100);
      client.track("goal", { i: 1 });
      assert.deepEqual(server.last.of("event").map((m) => m.data.i), [0, 1]);
      server.last.gone(1006);
      client.track("goal", { i: 2 });
      await pass(2_000);
      assert.match(server.last.url, /session=s1/, "the tab itself knows its session");
      assert.deepEqual(server.last.of("event").map((m) => m.data.i), [0, 1, 2]);
      server.last.say({ t: "ack", seq: server.last.of("event").at(-1).seq });
      assert.equal(client.outbox.items.length, 0);
      await pass(20_500);
      assert.equal(server.last.of("beat").length, 3);
      assert.deepEqual(told.errors, []);
      client.close();
      await pass(1_000);
      assert.deepEqual(rejected, []);
    } finally {
      process.off("unhandledRejection", saw);
      for (const [name, d] of was) d ? Object.defineProperty(globalThis, name, d) : delete globalThis[name];
    }
  });
}

// within runs a test in a page whose IndexedDB has items, with locks of which those in held are not free, or with none.
async function within(items, held, run) {
  const of = new Map(items.map((i) => [String([i.tab, i.seq]), i]));
  const store = { put: (i) => void of.set(String([i.tab, i.seq]), i), delete: (key) => void of.delete(String(key)), getAll: () => request([...of.values()]) };
  const indexedDB = { open: () => request({ createObjectStore() {}, close() {}, transaction: () => ({ objectStore: () => store }) }) };
  const locks = held && { request: async (name, ...more) => more.pop()(held.includes(name) ? null : { name }) };
  const was = ["indexedDB", "navigator"].map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  Object.defineProperty(globalThis, "indexedDB", { value: indexedDB, configurable: true });
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  try {
    await run(of);
  } finally {
    for (const [name, d] of was) d ? Object.defineProperty(globalThis, name, d) : delete globalThis[name];
  }
}

// left is an event that a tab stored so long ago.
const left = (tab, ago, i) => {
  const seq = (Date.now() - ago) * 100 + i;
  return { tab, scope: `["live.example.com","final","v1","",""]`, session: "old", seq, body: JSON.stringify({ t: "event", seq, name: "goal", data: { i } }) };
};

test("what gone tabs left is tried again until a server takes it, no sooner than it says", async () => {
  await within([left("a", 60_000, 0), left("b", 60_000, 1), left("c", 60_000, 2)], ["grandstand.tab.c"], async (of) => {
    const asked = [], took = [];
    let up = false;
    server.answer = (url, init) => {
      asked.push(Date.now());
      if (!up) return new Response("{}", { status: 503, headers: { "Retry-After": "20" } });
      took.push(...JSON.parse(init.body).filter((m) => m.t === "event"));
      return new Response(`{"session":"old"}`);
    };
    talking();
    const { client } = play();
    await pass(60_000);
    assert.ok(asked.length >= 2 && asked.length <= 3, "not each of the tabs, not sooner: " + asked.length);
    assert.ok(asked.slice(1).every((t, i) => t - asked[i] >= 20_000));
    assert.equal(of.size, 3);
    up = true;
    await pass(30_000);
    assert.deepEqual(took.map((m) => m.data.i), [0, 1]);
    assert.deepEqual([...of.values()].map((i) => i.tab), ["c"], "that lives");
    const n = asked.length;
    server.last.gone(1006);
    await pass(40_000);
    assert.equal(asked.length, n, "once is enough");
    client.close();
  });
});

for (const [what, items, locks, broken] of [
  ["cannot be had without sdk-backlog.js", 1, [], { _post: () => Promise.reject(new TypeError("Failed to fetch dynamically imported module")) }],
  ["is unreadable", 0, [], {}],
]) {
  test("what gone tabs left is asked for once a page where it " + what, async () => {
    await within(items ? [left("a", 60_000, 0)] : [], locks, async (of) => {
      let asked = 0;
      const { client } = play(), adopt = client.outbox._adopt.bind(client.outbox);
      Object.assign(client, broken);
      client.outbox._adopt = (give) => (asked++, items ? adopt(give) : Promise.reject(new DOMException("unreadable", "UnknownError")));
      talking();
      await pass(60_000);
      server.last.gone(1006);
      await pass(60_000);
      assert.equal(asked, 1);
      assert.equal(of.size, items, "it stays for the next page");
      client.close();
    });
  });
}

test("a page without locks takes what a tab left an hour ago, and removes what is too old", async () => {
  await within([left("a", 2 * 3_600_000, 0), left("b", 60_000, 1), left("c", 8 * 86_400_000, 2)], undefined, async (of) => {
    const took = [];
    server.answer = (url, init) => {
      took.push(...JSON.parse(init.body).filter((m) => m.t === "event"));
      return new Response(`{"session":"old"}`);
    };
    const { client } = play();
    await pass(1_000);
    assert.ok(took.some((m) => m.data.i === 0) && !took.some((m) => m.data.i === 1), "it may live");
    assert.deepEqual([...of.values()].map((i) => i.tab), ["b"]);
    client.close();
  });
});
