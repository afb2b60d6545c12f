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
