// A page may hand the client on behind a Proxy, as Vue's data(), ref() and reactive()
// do with what they are given, and what is in it.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as built from "../dist/sdk.js";
import "../dist/sdk-backlog.js"; // as in play.js
import { Client } from "../src/client.js";
import { pass, play, server, talking } from "./play.js";

const shallow = (client) => new Proxy(client, { get: Reflect.get });

// deep wraps all that an object has too, each once, and stores what is not wrapped: as Vue does.
function deep(client) {
  const raws = new WeakMap(), seen = new WeakMap(), raw = (v) => raws.get(v) || v;
  const wrap = (v) => {
    if (typeof v !== "object" || !/\[object (Object|Array)\]/.test(Object.prototype.toString.call(v))) return v;
    if (!seen.has(v)) seen.set(v, new Proxy(v, { get: (...of) => wrap(Reflect.get(...of)), set: (o, k, value, at) => Reflect.set(o, k, raw(value), at) }));
    raws.set(seen.get(v), v);
    return seen.get(v);
  };
  return wrap(client);
}

for (const [what, Of] of [["its source", Client], ["what is built of it", built.Client]]) {
  for (const proxy of [shallow, deep]) {
    test(`a client behind a ${proxy.name} Proxy does what it does: ${what}`, async () => {
      talking();
      const { client, told } = play({ segments: { team: "KC" } }, Of), p = proxy(client), took = [];
      await pass(100);
      assert.ok(p.track("goal", { i: 0 }) && p.join({ team: "SF" }) && p.takeover(["x"]));
      assert.deepEqual(server.last.sent.map((m) => m.t), ["beat", "event", "join", "takeover"]);
      server.last.say({ t: "ack", seq: server.last.of("event")[0].seq });
      server.last.say({ t: "ok", re: "join" });
      server.up = false;
      server.last.gone(1006);
      await pass(15_000);
      for (let i = 1; i < 40; i++) assert.ok(p.track("goal", { i }));
      server.up = true;
      server.answer = (url, init) => {
        took.push(...JSON.parse(init.body).map((m) => m.data.i));
        return new Response(`{"session":"s1"}`);
      };
      const n = server.sockets.length;
      p.retry();
      await pass(100);
      assert.equal(server.sockets.length, n + 1, "at once");
      assert.match(server.last.url, /team=SF/);
      assert.equal(told.states.at(-1).state, "open");
      assert.deepEqual(took, Array.from({ length: 39 }, (_, i) => i + 1));
      assert.equal(client.outbox.items.length, 0);
      const [beats, counts] = [server.last.of("beat").length, told.counts.length];
      await pass(10_000);
      assert.ok(server.last.of("beat").length > beats && told.counts.length > counts, "it goes on");
      p.close();
      assert.equal(server.last.closedWith, 1000);
      await pass(60_000);
      assert.equal(server.sockets.length, n + 1);
    });
  }
}
