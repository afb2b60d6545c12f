// One play of an event, with a server of its own, under a clock that the test moves.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock } from "node:test";

import { Client } from "../src/client.js";
import "../src/backlog.js"; // else they would be read from disk while time stands still
import "../src/sse.js";
import { FakeServer, FakeStorage } from "./fakes.js";

/** That of the test. @type {FakeServer} */
export let server;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_795_299_042_179 });
  globalThis.localStorage = new FakeStorage();
  server = new FakeServer();
  server.onopen = (s) => s.hello();
});
afterEach(() => mock.timers.reset());

/** Lets ms go by, with everything that is due on the way. */
export async function pass(ms, step = 50) {
  for (let left = ms; left > 0; left -= step) {
    mock.timers.tick(Math.min(step, left));
    await new Promise(setImmediate);
  }
}

/** Has the server say counts on every connection, as it does: one that says nothing is given up. It ends with the test. */
export function talking() {
  setInterval(() => server.sockets.forEach((s) => s.readyState === 1 && s.say({ t: "counts", at: Date.now(), age: 1, epoch: 1, n: {} })), 2000);
}

export function play(options = {}, Of = Client) {
  const told = { states: [], counts: [], blocked: [], unblocked: 0, errors: [] };
  const client = new Of({
    event: "final", url: "https://live.example.com", viewer: "v1",
    onState: (s) => told.states.push(s), onCounts: (c) => told.counts.push(c), onBlocked: (r) => told.blocked.push(r),
    onUnblocked: () => told.unblocked++, onError: (e) => told.errors.push(e), ...options,
  }, "https://cdn.example.com/sdk.js");
  return { client, told };
}

// even fails unless the values are spread evenly from 0 to most (Kolmogorov and
// Smirnov: the largest distance to the uniform distribution, at 1 in 10,000).
export function even(values, most, what) {
  const sorted = values.toSorted((a, b) => a - b), n = sorted.length;
  assert.ok(sorted[0] >= 0 && sorted[n - 1] <= most, what);
  const distance = Math.max(...sorted.map((v, i) => Math.abs(v / most - (i + 0.5) / n)));
  assert.ok(distance < 2.23 / Math.sqrt(n), `${what}: ${distance}`);
}
