// What a play does, and says, while its gateway is away or will not have it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { pass, play, server } from "./play.js";

test("a token that ended is renewed each time; two fresh ones that are refused are the end", async () => {
  let asked = 0, good = () => true;
  server.onopen = (s) => (good(s.protocols.at(-1)) ? s.hello() : s.gone(1006));
  server.answer = () => new Response(`{"code":"unauthorized","message":"the token has expired"}`, { status: 401 });
  const { told } = play({ token: async () => "t" + ++asked });
  await pass(100);
  for (const night of [1, 2, 3]) {
    await pass(7_200_000, 1000);
    const old = "bearer.t" + asked;
    good = (token) => token !== old;
    server.last.gone(1006);
    await pass(5_000);
    assert.equal(server.last.protocols.at(-1), "bearer.t" + (night + 1));
    assert.equal(told.states.at(-1).state, "open");
  }
  good = () => false;
  server.last.gone(1006);
  await pass(60_000);
  assert.equal(asked, 5, "one more try");
  assert.deepEqual(told.states.at(-1), { state: "closed", code: "unauthorized", message: "the token has expired" });
});
