import assert from "node:assert/strict";
import test, { mock } from "node:test";

import { fakePage } from "./fakepage.js";

// A server of another release says so in a sentence, and is asked again.
test("what is no list of events is said to be", async () => {
  const page = fakePage("https://live.example.com/dashboard");
  let events = () => new Response(`{"events":[]}`);
  globalThis.fetch = async (path) => (path === "/v1/events" ? events() : path === "/v1/cluster" ? new Response(`{"now":1,"members":[]}`) : new Response("", { status: 404 }));
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const pass = async (ms) => {
    for (; ms > 0; ms -= 100) {
      mock.timers.tick(100);
      await new Promise(setImmediate);
    }
  };
  const said = () => page.getElementById("notice-text").textContent;
  const strange = "This server does not answer as this page has it: it is of another release, or no gateway.";
  await import("../src/main.js");
  await pass(1000);
  for (const odd of [`{"events":[]}`, `7`, `null`, `[7]`, `[{"name":"x"}]`, `<h1>Hello</h1>`]) {
    events = () => new Response(odd);
    await pass(3000);
    assert.equal(said(), strange, odd);
    assert.equal(page.getElementById("status-text").textContent, "refused", odd);
    assert.equal(page.getElementById("board").hidden, true, odd);
  }
  events = () => new Response(`{"message":"ask at another address"}`, { status: 404 });
  await pass(3000);
  assert.equal(said(), "The server says: ask at another address.");
  events = () => new Response("[]");
  await pass(3000);
  assert.equal(said(), "", "it goes on by itself");
  assert.equal(page.getElementById("board").hidden, false);
  mock.timers.reset();
});
