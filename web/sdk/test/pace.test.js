// When a play beats: in the interval that the event has now, and not all at once.

import assert from "node:assert/strict";
import { test } from "node:test";

import { even, pass, play, server, talking } from "./play.js";

test("a pace changes the interval", async () => {
  const at = [];
  play({ onMessage: (text, from) => from === "player" && at.push([Date.now(), JSON.parse(text).interval_ms]) });
  await pass(100);
  talking();
  await pass(24_900);
  assert.equal(at.length, 3);
  server.last.say({ t: "pace", beat_ms: 30_000, tick_ms: 2000 });
  server.last.say({ t: "pace", beat_ms: "soon" }); // of no use: it stays
  await pass(150_000);
  assert.ok(at.slice(3).every(([, ms]) => ms === 30_000));
  assert.ok(at[3][0] - at[2][0] <= 10_050, "a lease of the old interval holds no longer");
  const gaps = at.slice(1).map(([t], i) => t - at[i][0]);
  assert.ok(gaps.slice(-3).every((ms) => ms === 30_000), String(gaps));
  server.last.say({ t: "pace", beat_ms: 5_000 });
  const n = at.length;
  await pass(5_050);
  assert.ok(at.length > n, "a shorter one begins within itself");
  await pass(20_000);
  assert.equal(at.at(-1)[0] - at.at(-2)[0], 5_000);
});

for (const ms of [5_000, 20_000]) {
  test(`the beats of all viewers are spread over a new interval of ${ms} ms`, async () => {
    globalThis.localStorage = undefined; // each has a session of its own
    const viewers = Array.from({ length: 500 }, (_, i) => ({ at: [], i }));
    for (const v of viewers) play({ viewer: "v" + v.i, storage: false, onMessage: (text, from) => from === "player" && v.at.push(Date.now()) });
    talking();
    await pass(13_000);
    for (const s of server.sockets) s.say({ t: "pace", beat_ms: ms, tick_ms: 2000 });
    const told = Date.now();
    await pass(30, 10);
    assert.ok(viewers.filter(({ at }) => at.at(-1) >= told).length < 20, "not all at once");
    await pass(2 * ms);
      for (const { at } of viewers) assert.ok(at.every((t, i) => !i || t - at[i - 1] <= Math.max(10_000, ms) + 50), "none is late");
    const settled = viewers.map(({ at }) => at.find((t) => t > told + ms) - told - ms);
    even(settled, ms + 50, "beats");
  });
}

// gateway makes a server without WebSockets that keeps a session's interval as a gateway does.
function gateway() {
  const g = { ms: 10_000, session: 0, beats: [] }, upgrade = server.answer;
  server.upgrades = false;
  server.answer = (url, init) => {
    if (url.pathname.endsWith("/live")) return upgrade();
    if (url.pathname.endsWith("/stream")) return new Response("");
    g.session ||= Number(url.searchParams.get("interval_ms")) || g.ms;
    for (const m of JSON.parse(init.body)) {
      if (m.t !== "beat") continue;
      if (m.interval_ms) g.session = m.interval_ms > 0 ? m.interval_ms : g.ms;
      g.beats.push(Date.now());
    }
    return new Response(JSON.stringify({ session: "r1", interval_ms: g.session, segments: ["world"], verdict: { status: "allowed" } }));
  };
  g.gaps = () => g.beats.slice(1).map((t, i) => Math.round((t - g.beats[i]) / 1000));
  return g;
}

test("without WebSockets the event's interval is followed too", async () => {
  const g = gateway();
  const { client } = play();
  await pass(40_000);
  assert.deepEqual(g.gaps().slice(-2), [10, 10]);
  g.ms = 20_000;
  await pass(120_000);
  assert.deepEqual(g.gaps().slice(-2), [20, 20]);
  assert.equal(g.session, 20_000);
  g.ms = 10_000;
  await pass(90_000);
  assert.deepEqual(g.gaps().slice(-2), [10, 10]);
  client.close();
});

test("without WebSockets a tab that was hidden at first beats as others when it is seen", async () => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: true });
  try {
    const g = gateway();
    g.session = 60_000; // it resumes one that was hidden
    const { client } = play();
    await pass(200_000);
    assert.deepEqual(g.gaps().slice(-2), [60, 60]);
    assert.equal(g.session, 60_000, "so long it may be silent");
    document.hidden = false;
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(60_000);
    assert.deepEqual(g.gaps().slice(-3), [10, 10, 10]);
    client.close();
  } finally {
    delete globalThis.document;
  }
});
