import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

import { after, backoff, compactCounts, counts, refusal } from "../src/protocol.js";
import { stateOf } from "../src/video.js";
import "./elements.test.js";
import { FakeStorage, FakeVideo } from "./fakes.js";
import "./hls.test.js";
import "./outage.test.js";
import "./pace.test.js";
import "./package.test.js";
import { even, pass, play, server, talking } from "./play.js";
import "./proxy.test.js";
import "./refused.test.js";
import "./storage.test.js";

test("a play: hello, beats in their interval, counts, goodbye", async () => {
  const { client, told } = play({ segments: { team: "KC" } });
  await pass(100);
  assert.equal(server.sockets.length, 1);
  assert.equal(server.last.url, "wss://live.example.com/v1/events/final/live?viewer=v1&team=KC");
  assert.deepEqual(server.last.protocols, ["grandstand.v1.bin", "grandstand.v1"]);
  assert.deepEqual(told.states.map((s) => s.state), ["connecting", "open"]);
  server.last.say({ t: "counts", at: 1000, age: 5, epoch: 1, n: { world: [10, 9], team: null } });
  server.last.say({ t: "counts", at: 900, age: 5, epoch: 1, n: { world: [8, 8], team: null } }); // older: not shown
  assert.deepEqual(told.counts, [{ at: 1000, age: 5, epoch: 1, quality: "live", segments: { world: { sessions: 10, fans: 9 }, team: null } }]);
  const silent = setInterval(() => server.last.say({ t: "counts", at: Date.now(), age: 1, epoch: 1, n: {} }), 2000);
  await pass(30_000);
  clearInterval(silent);
  const beats = server.last.of("beat");
  assert.equal(beats.length, 4);
  assert.ok(beats.every((b, i) => b.state === "playing" && b.interval_ms === 10000 && (i === 0 || b.seq > beats[i - 1].seq)));
  client.close();
  assert.equal(server.last.closedWith, 1000);
  await pass(60_000);
  assert.equal(server.sockets.length, 1);
});

test("counts in their compact form", async () => {
  const hex = readFileSync(new URL("../../../testdata/counts-v1.hex", import.meta.url), "utf8").replace(/\s/g, "");
  const bytes = (h) => Uint8Array.from(h.match(/../g), (x) => parseInt(x, 16)).buffer;
  const dims = ["world", "country", "region", "team", "team+region"];
  const want = { at: 1795299042179, age: 230, epoch: 3, quality: "partial", segments: {
    world: { sessions: 3300000, fans: 3190211 }, country: { sessions: 3000000, fans: 2900000 }, region: null,
    team: { sessions: 3299990, fans: 3190201 }, "team+region": { sessions: 3300000, fans: 3190211 } } };
  assert.deepEqual(compactCounts(bytes(hex), dims), want);
  for (let n = 0; n < hex.length; n += 2) assert.equal(compactCounts(bytes(hex).slice(0, n / 2), dims), null, "cut off after " + n / 2);
  assert.equal(compactCounts(bytes("02" + hex.slice(2)), dims), null, "another version");
  const { told } = play();
  await pass(100);
  server.last.say({ t: "hello", session: "s1", dims });
  server.last.say(bytes(hex));
  assert.deepEqual(told.counts, [want]);
});

test("what is not acknowledged is sent again, in its order, with its number", async () => {
  const { client } = play();
  await pass(100);
  const first = server.last;
  for (let i = 0; i < 5; i++) client.track("goal", { i });
  const seqs = first.of("event").map((m) => m.seq);
  assert.equal(seqs.length, 5);
  first.say({ t: "ack", seq: seqs[1] });
  first.gone(1006);
  client.track("goal", { i: 5 });
  await pass(2_000);
  assert.notEqual(server.last, first);
  assert.match(server.last.url, /session=s1/);
  assert.deepEqual(server.last.of("event").map((m) => m.data.i), [2, 3, 4, 5]);
  assert.deepEqual(server.last.of("event").slice(0, 3).map((m) => m.seq), seqs.slice(2));
  server.last.say({ t: "error", code: "unavailable", seq: seqs[2] });
  await pass(9_050); // 5 s, and up to 4
  assert.deepEqual(server.last.of("event").map((m) => m.data.i), [2, 3, 4, 5, 2]);
  server.last.say({ t: "ack", seq: server.last.of("event").at(-2).seq });
  assert.equal(client.outbox.items.length, 0);
});

test("a backlog goes by requests, whose answers say that it is durable", async () => {
  server.up = false;
  const { client } = play();
  await pass(5_000);
  for (let i = 0; i < 120; i++) client.track("goal", { i });
  const got = [];
  let refuse = 1;
  server.answer = (url, init) => {
    if (refuse-- > 0) return new Response("{}", { status: 503 });
    assert.match(url.href, /\/beats\?.*session=s1/);
    got.push(...JSON.parse(init.body).map((m) => m.data.i));
    return new Response(`{"session":"s1"}`);
  };
  server.up = true;
  await pass(60_000);
  got.push(...server.sockets.flatMap((s) => s.of("event")).map((m) => m.data.i));
  server.last.say({ t: "ack", seq: Number.MAX_SAFE_INTEGER });
  assert.deepEqual([...new Set(got)].sort((a, b) => a - b), Array.from({ length: 120 }, (_, i) => i));
  assert.equal(client.outbox.items.length, 0);
});

test("where backlog.js does not come a backlog goes on the connection, a few at a time", async () => {
  server.up = false;
  const { client } = play();
  client._post = () => Promise.reject(new TypeError("Failed to fetch dynamically imported module"));
  await pass(5_000);
  for (let i = 0; i < 50; i++) client.track("goal", { i });
  talking();
  server.up = true;
  await pass(60_000);
  const events = server.last.of("event");
  assert.deepEqual(events.map((m) => m.data.i), Array.from({ length: 50 }, (_, i) => i));
  server.last.say({ t: "ack", seq: events.at(-1).seq });
  assert.equal(client.outbox.items.length, 0);
  client.close();
});

test("a backlog on the connection keeps to what a gateway takes, however fast it is acknowledged", async () => {
  server.up = false;
  const { client, told } = play(), got = new Set();
  client._post = () => Promise.reject(new TypeError("Failed to fetch dynamically imported module"));
  await pass(5_000);
  for (let i = 0; i < 300; i++) client.track("goal", { i });
  server.onopen = (s) => {
    let left = 60, at = Date.now(); // 60, then 10/s, as gateways take by default
    const { send } = s;
    s.send = (text) => {
      send.call(s, text);
      left = Math.min(60, left + (Date.now() - at) / 100) - 1;
      at = Date.now();
      if (left < 0) return s.gone(1008, "rate_limited");
      const { t, seq } = JSON.parse(text);
      if (t !== "event") return;
      got.add(seq);
      setTimeout(() => s.readyState === 1 && s.say({ t: "ack", seq }), 150);
    };
    s.hello();
  };
  talking();
  server.up = true;
  for (let i = 300; i < 400; i++) {
    await pass(1_500);
    client.track("goal", { i });
  }
  assert.equal(told.states.filter((s) => s.state === "open").length, 1, "one connection");
  await pass(30_000);
  assert.deepEqual([got.size, client.outbox.items.length], [400, 0]);
  client.close();
});

test("close codes: what is final, what asks for a token, what for patience", async () => {
  assert.deepEqual([1006, 1012, 1008, 4000, 4002, 4008, 4501, 4503, 4504].map(after), ["retry", "retry", "slowly", "retry", "renew", "retry", "renew", "final", "final"]);
  let asked = 0;
  const { told } = play({ token: async () => "t" + ++asked });
  await pass(100);
  assert.deepEqual(server.last.protocols, ["grandstand.v1.bin", "grandstand.v1", "bearer.t1"]);
  server.last.say({ t: "renew" });
  await pass(50);
  assert.deepEqual(server.last.of("auth"), [{ t: "auth", token: "t2" }]);
  server.last.gone(4002);
  await pass(2_000);
  assert.deepEqual(server.last.protocols.at(-1), "bearer.t3");
  server.last.gone(1008);
  await pass(9_000);
  const n = server.sockets.length;
  await pass(5_000);
  assert.equal(server.sockets.length, n + 1, "patience");
  server.last.gone(4504, "the event is over");
  await pass(60_000);
  assert.equal(server.sockets.length, n + 1);
  assert.deepEqual(told.states.at(-1), { state: "closed", code: "ended", message: "the event is over" });
});

test("a token that is the same is no answer to renew", async () => {
  let from = "t1";
  for (const token of ["t1", async () => from]) {
    from = "t1";
    const { client } = play({ token });
    await pass(100);
    for (let i = 0; i < 30; i++) server.last.say({ t: "renew" });
    await pass(50);
    assert.deepEqual(server.last.of("auth"), []);
    from = "t2";
    if (token === "t1") client.options.token = from;
    server.last.say({ t: "renew" });
    await pass(50);
    assert.deepEqual(server.last.of("auth"), [{ t: "auth", token: "t2" }]);
    client.close();
  }
});

test("drain: elsewhere after the time that the server says", async () => {
  play();
  await pass(100);
  server.last.say({ t: "drain", retry_ms: 8000 });
  server.last.gone(1012);
  await pass(7_900);
  assert.equal(server.sockets.length, 1);
  await pass(1_200);
  assert.equal(server.sockets.length, 2);
});

test("a connection that says nothing is given up", async () => {
  play();
  await pass(30_000);
  assert.equal(server.sockets[0].closedWith, 4000);
  assert.ok(server.sockets.length >= 2);
});

test("blocked, and a takeover", async () => {
  const { client, told } = play();
  await pass(100);
  server.last.say({ t: "blocked", code: "device_limit", message: "Two at a time.", limit: 2, conflicts: [{ device: "b", name: "TV", since: 2, termination_code: "y" }, { device: "a", since: 1, termination_code: "x" }, 7] });
  assert.deepEqual(told.blocked[0].conflicts.map((c) => c.code), ["x", "y"]);
  assert.equal(server.last.of("beat").at(-1).state, "starting");
  client.takeover(["x"]);
  assert.deepEqual(server.last.of("takeover"), [{ t: "takeover", codes: ["x"] }]);
  server.last.say({ t: "ok", re: "takeover" });
  assert.equal(told.unblocked, 1);
  server.last.say({ t: "blocked", code: "taken_over", by: "TV" });
  assert.equal(server.last.of("beat").at(-1).state, "paused");
  assert.ok(client.blocked.final);
  assert.deepEqual(refusal({ code: 7, conflicts: "x", limit: -1 }), { code: "", message: "", rule: "", by: "", limit: 0, current: 0, retryMS: 0, conflicts: [], final: false });
});

test("why an upgrade was refused is asked in plain HTTP", async () => {
  server.upgrades = false;
  for (const [status, body, want] of [
    [404, { code: "not_found", message: "no event" }, "not_found"],
    [401, { code: "unauthorized", message: "no token" }, "unauthorized"],
    [403, { code: "forbidden", message: "another event" }, "forbidden"],
  ]) {
    server.answer = () => new Response(JSON.stringify(body), { status });
    globalThis.localStorage = new FakeStorage();
    const { told, client } = play();
    await pass(500);
    assert.deepEqual(told.states.at(-1), { state: "closed", code: want, message: body.message });
    client.close();
  }
  server.answer = () => new Response("{}", { status: 503, headers: { "Retry-After": "7" } });
  const { told, client } = play();
  await pass(200);
  assert.ok(told.states.at(-1).retryMS >= 7000 && told.states.at(-1).retryMS <= 8000, JSON.stringify(told.states.at(-1)));
  client.close();
});

test("a session that the server does not take is given up", async () => {
  localStorage.setItem(`grandstand.session.["live.example.com","final","v1","",""]`, "old " + Date.now());
  server.onopen = (s) => (/session=old/.test(s.url) ? s.gone(1006) : s.hello());
  server.answer = () => new Response(`{"code":"forbidden","message":"the session is of another viewer"}`, { status: 403 });
  const { client } = play();
  await pass(500);
  assert.match(server.sockets[0].url, /session=old/);
  assert.doesNotMatch(server.last.url, /session=/);
  assert.equal(client.session, "s1");
});

for (const status of [403, 400]) {
  test(`a session that the server does not take is given up over Server-Sent Events too: ${status}`, async () => {
    localStorage.setItem(`grandstand.session.["live.example.com","final","v1","",""]`, "old " + Date.now());
    server.upgrades = false;
    const upgrade = server.answer, asked = [];
    server.answer = (url) => {
      if (url.pathname.endsWith("/live")) return upgrade();
      if (url.pathname.endsWith("/counts/stream")) return new Response("");
      const session = url.searchParams.get("session");
      asked.push(session);
      if (session === "old") return new Response(`{"code":"forbidden","message":"the session is of another viewer"}`, { status });
      return new Response(JSON.stringify({ session: "r1", interval_ms: 10000, segments: ["world"], verdict: { status: "allowed" } }));
    };
    const { client, told } = play();
    await pass(12_000);
    assert.deepEqual([...new Set(asked)], ["old", null, "r1"]);
    assert.equal(client.session, "r1");
    assert.equal(told.states.at(-1).state, "open");
    client.close();
  });
}

test("a session is given up over Server-Sent Events when the secret changes in the middle", async () => {
  server.upgrades = false;
  const upgrade = server.answer;
  let session = "r1";
  server.answer = (url) => {
    if (url.pathname.endsWith("/live")) return upgrade();
    if (url.pathname.endsWith("/counts/stream")) return new Response("");
    const named = url.searchParams.get("session");
    if (named && named !== session) return new Response(`{"code":"forbidden","message":"the session is of another viewer"}`, { status: 403 });
    return new Response(JSON.stringify({ session, interval_ms: 10000, segments: ["world"], verdict: { status: "allowed" } }));
  };
  const { client, told } = play();
  await pass(12_000);
  assert.equal(client.session, "r1");
  session = "r2";
  await pass(20_000);
  assert.equal(client.session, "r2");
  assert.equal(told.states.at(-1).state, "open");
  client.close();
});

test("where WebSockets are blocked it is Server-Sent Events", async () => {
  server.upgrades = false;
  const said = [];
  const upgrade = server.answer;
  server.answer = (url, init) => {
    if (url.pathname.endsWith("/live")) return upgrade();
    if (url.pathname.endsWith("/counts/stream")) {
      said.push("stream " + url.searchParams.get("segment"));
      return new Response(`retry: 3000\n\nid: 9\ndata: {"at":${Date.now()},"age_ms":7,"epoch":2,"quality":"live","dims":{"world":{"sessions":5,"fans":4},"team":{"KC":{"sessions":3,"fans":3}}}}\n\n`);
    }
    const list = JSON.parse(init.body);
    said.push(...list.map((m) => m.t + " " + (m.name || m.state)));
    return new Response(JSON.stringify({ session: "r1", interval_ms: 10000, segments: ["world", "team:KC"], verdict: { status: "allowed" }, frame: { t: "counts", at: 1, age: 1, epoch: 1, n: { world: [1, 1], team: [1, 1] } } }));
  };
  const { client, told } = play();
  await pass(8_000);
  assert.equal(told.states.at(-1).via, "sse");
  client.track("goal");
  await pass(12_000);
  assert.ok(said.includes("stream world,team:KC") && said.includes("beat playing") && said.includes("event goal"), said.join());
  assert.equal(client.outbox.items.length, 0);
  assert.deepEqual(told.counts.at(-1).segments, { world: { sessions: 5, fans: 4 }, team: { sessions: 3, fans: 3 } });
  client.close();
  await pass(100);
  assert.equal(JSON.parse(server.requests.at(-1).body)[0].state, "ended");
});

test("the video's state is the beat's", async () => {
  const video = new FakeVideo();
  const { client } = play({ video });
  await pass(100);
  const states = () => server.last.of("beat").map((b) => b.state);
  assert.deepEqual(states(), ["starting"]);
  await pass(400);
  video.be({ readyState: 4, paused: false, currentTime: 0.1, played: { length: 1 } }, "playing");
  await pass(300);
  video.be({ readyState: 2 }, "waiting");
  await pass(700);
  video.be({ readyState: 4 }, "playing");
  await pass(300);
  video.be({ seeking: true }, "seeking");
  await pass(300);
  video.be({ seeking: false, currentTime: 60 }, "seeked");
  await pass(300);
  video.be({ paused: true }, "pause");
  await pass(300);
  video.be({ ended: true }, "ended");
  await pass(300);
  assert.deepEqual(states(), ["starting", "playing", "buffering", "playing", "buffering", "playing", "paused", "ended"]);
  assert.equal(server.last.of("beat").at(-1).pos, 60);
  assert.deepEqual(server.last.of("event").map((e) => e.name), ["startup", "rebuffer", "seek"]);
  assert.equal(stateOf(new FakeVideo()), "starting");
  client.close();
});

// startups of a video that is seen in this state first, and then does as steps say: [ms later, state, event].
const ready = { readyState: 4, paused: false, currentTime: 9, played: { length: 1 } }, preloaded = { readyState: 4 };
for (const [what, first, steps, want] of [
  ["that plays, pauses for five minutes, and waits for data", ready, [[1000, { paused: true }, "pause"], [300_000, { paused: false }, "playing"], [1000, { readyState: 2 }, "waiting"], [700, { readyState: 4 }, "playing"]], [["rebuffer", 700]]],
  ["that waits for data", { ...ready, readyState: 2 }, [[700, { readyState: 4 }, "playing"]], [["rebuffer", 700]]],
  ["that was paused", { ...ready, paused: true }, [[300_000, { paused: false }, "play"], [100, {}, "playing"]], []],
  ["that is preloaded, and clicked after three minutes", preloaded, [[179_000, { paused: false }, "play"], [50, ready, "playing"]], [["startup", 50]]],
  ["without autoplay", {}, [[500, preloaded, "canplay"], [10, {}, "canplaythrough"], [60_000, { paused: false }, "play"], [100, ready, "playing"]], [["startup", 100]]],
  ["that is tried, given up, and tried again", {}, [[500, { paused: false }, "play"], [5000, { paused: true }, "pause"], [60_000, { paused: false }, "play"], [200, ready, "playing"]], [["startup", 200]]],
  ["that tries to play already", { paused: false }, [[900, ready, "playing"]], [["startup", 900]]],
  ["with autoplay", { autoplay: true }, [[500, { readyState: 3 }, "canplay"], [400, { readyState: 4, paused: false }, "play"], [0, ready, "playing"], [0, {}, "canplaythrough"]], [["startup", 900]]],
  ["with autoplay, as Chromium has it", { autoplay: true }, [[500, { readyState: 4 }, "canplay"], [0, {}, "canplaythrough"], [20, { ...ready, currentTime: 0.1 }, "play"], [0, {}, "playing"]], [["startup", 520]]],
  ["with autoplay that is not allowed, before all is there", { autoplay: true }, [[1000, { readyState: 1 }, "loadstart"], [59_000, { paused: false }, "play"], [400, ready, "playing"]], [["startup", 400]]],
  ["with autoplay that is not allowed", { autoplay: true }, [[500, { readyState: 3 }, "canplay"], [400, preloaded, "canplaythrough"], [60_000, { paused: false }, "play"], [100, ready, "playing"]], [["startup", 100]]],
]) {
  test("startup and rebuffer of a video " + what, async () => {
    const clock = mock.method(performance, "now", () => 1000 + Date.now());
    const video = Object.assign(new FakeVideo(), first);
    const { client } = play({ video });
    talking();
    for (const [ms, state, event] of steps) {
      await pass(ms);
      video.be(state, event);
    }
    assert.deepEqual(server.last.of("event").map((e) => [e.name, e.data.ms]), want);
    client.close();
    clock.mock.restore();
  });
}

test("a beat tells the bitrate of what was decoded since the last", async () => {
  const clock = mock.method(performance, "now", () => Date.now());
  const video = Object.assign(new FakeVideo(), { readyState: 4, paused: false, currentTime: 1, played: { length: 1 }, webkitVideoDecodedByteCount: 9e6, webkitAudioDecodedByteCount: 9e5 });
  const decoding = setInterval(() => {
    video.webkitVideoDecodedByteCount += 50_000;
    video.webkitAudioDecodedByteCount += 2_000;
  }, 100);
  play({ video });
  talking();
  await pass(20_500);
  const bitrates = () => server.last.of("beat").map((b) => b.bitrate);
  assert.equal(bitrates().length, 3);
  for (const kbits of bitrates().slice(1)) assert.ok(Math.abs(kbits - 4160) <= 42, "52 kB in 100 ms are 4160 kbit/s, not " + kbits);
  video.be({ paused: true }, "pause");
  await pass(10_000);
  assert.equal(bitrates().at(-1), undefined, "nothing plays");
  video.be({ paused: false }, "playing");
  clearInterval(decoding);
  await pass(20_500);
  assert.equal(bitrates().at(-1), undefined, "nothing is decoded");
  play({ video, viewer: "v2", bitrate: () => 4500 });
  await pass(100);
  assert.deepEqual(bitrates(), [4500], "what the player says");
  clock.mock.restore();
});

test("callbacks that throw stop nothing", async () => {
  const errors = mock.method(console, "error", () => {});
  play({ onCounts: () => { throw new Error("the page's"); }, onState: () => { throw new Error("too"); }, bitrate: () => { throw new Error("the player's"); } });
  await pass(100);
  server.last.say({ t: "counts", at: 1000, age: 5, epoch: 1, n: { world: [10, 9] } });
  for (const odd of ["", "null", "7", "[]", "{}", `{"t":7}`, `{"t":"counts","n":3}`, `{"t":"error"}`]) server.last.say(odd);
  server.last.say(new ArrayBuffer(3));
  await pass(12_000);
  assert.ok(server.last.of("beat").length >= 2);
  assert.ok(errors.mock.callCount() >= 2);
  errors.mock.restore();
});

test("an hour without a network: every event arrives once, in the same play", async () => {
  const { client } = play();
  await pass(100);
  server.up = false;
  server.last.gone(1006);
  for (let i = 0; i < 240; i++) {
    client.track("goal", { i });
    await pass(15_000, 500);
  }
  const got = [];
  server.answer = (url, init) => {
    if (url.pathname.endsWith("/beats")) got.push(...JSON.parse(init.body).filter((m) => m.t === "event"));
    return new Response(`{"session":"s1"}`);
  };
  server.onopen = (s) => {
    s.send = (text) => {
      const m = JSON.parse(text);
      if (m.t === "event") got.push(m);
      s.say({ t: "ack", seq: m.seq });
    };
    s.hello();
  };
  server.up = true;
  await pass(60_000);
  assert.match(server.last.url, /session=s1/);
  assert.deepEqual(got.map((m) => m.data.i).sort((a, b) => a - b), Array.from({ length: 240 }, (_, i) => i));
  assert.equal(new Set(got.map((m) => m.seq)).size, 240);
  assert.equal(client.outbox.items.length, 0);
  client.close();
});

test("why nobody answers is told once: the address, or the origin", async () => {
  globalThis.location = { origin: "https://tv.example.com" };
  server.foreign = true;
  let { told, client } = play();
  await pass(60_000);
  assert.deepEqual(told.errors, [{ code: "forbidden", message: "live.example.com serves no pages of https://tv.example.com: its operator lists that in --origins" }]);
  assert.match(told.states.at(-1).state, /^(waiting|connecting)$/, "it goes on trying");
  client.close();
  server.foreign = false;
  server.up = false;
  ({ told, client } = play());
  await pass(60_000);
  assert.deepEqual(told.errors, [{ code: "unavailable", message: "no answer from live.example.com: check the address, and that it runs" }]);
  client.close();
  delete globalThis.location;
});

test("what is no gateway of this version is said to be", async () => {
  server.upgrades = false;
  const strange = "this is no gateway of grandstand.v1: check the address, and its release";
  for (const answer of [() => new Response("<h1>Not found</h1>", { status: 404 }), () => new Response("<h1>Hello</h1>")]) {
    server.answer = answer;
    const { told, client } = play();
    await pass(500);
    assert.deepEqual(told.states.at(-1), { state: "closed", code: "invalid", message: strange });
    client.close();
  }
  // It takes requests at the same address, but knows none of ours.
  const upgrade = `{"code":"invalid","message":"this address takes WebSockets: ask for an upgrade (RFC 6455)"}`;
  server.answer = (url) => (url.pathname.endsWith("/live") ? new Response(upgrade, { status: 400 }) : new Response("gone", { status: 404 }));
  const { told } = play();
  await pass(8_000);
  assert.equal(told.states.at(-1).state, "closed");
  assert.equal(told.states.at(-1).code, "invalid");
});

test("a clock that is wrong, or set right, stops nothing", async () => {
  mock.timers.setTime(Date.now() + 86_400_000);
  const { client, told } = play();
  await pass(100);
  const first = server.last.of("beat").at(-1).seq;
  server.last.say({ t: "counts", at: 1_795_299_042_179, age: 5, epoch: 1, n: { world: [10, 9] } });
  assert.equal(told.counts.length, 1, "the server's time counts");
  client.track("goal");
  server.last.say({ t: "ack", seq: server.last.of("event")[0].seq });
  assert.equal(client.outbox.items.length, 0);
  await pass(11_000);
  assert.ok(server.last.of("beat").at(-1).seq > first);
  client.close();
  const again = play(); // the next play is another: a number may not come twice in a session
  await pass(100);
  assert.doesNotMatch(server.last.url, /session=/);
  again.client.close();
});

// A server that was lost for a while is not run over: the tries of a thousand
// clients are spread evenly over the wait, whose ceiling doubles.
test("a thousand clients come back as full jitter has it", async () => {
  for (const [attempt, ceiling] of [[0, 1000], [3, 8000], [5, 30000], [50, 30000]]) even(Array.from({ length: 1000 }, () => backoff(attempt)), ceiling, "attempt " + attempt);
  server.up = false;
  globalThis.localStorage = undefined; // each has a session of its own
  const all = Array.from({ length: 1000 }, (_, i) => play({ viewer: "v" + i, storage: false }));
  await pass(35_000);
  const waits = all.map(({ told }) => told.states.filter((s) => s.state === "waiting").map((s) => s.retryMS));
  for (let attempt = 0; attempt < 5; attempt++) even(waits.map((w) => w[attempt]), 1000 * 2 ** attempt, "wait " + attempt + " of all");
  const back = new Map();
  server.onopen = (s) => {
    const viewer = new URL(s.url).searchParams.get("viewer");
    back.set(viewer, (back.get(viewer) || 0) + 1);
    s.hello();
  };
  server.up = true;
  const perSecond = [];
  for (let i = 0; i < 31; i++) {
    const n = server.sockets.length;
    await pass(1000);
    perSecond.push(server.sockets.length - n);
  }
  assert.equal(back.size, 1000, "all are back within the longest wait");
  assert.ok(Math.max(...perSecond) < 120, "no wave: " + perSecond);
  for (const { client } of all) client.close();
});
