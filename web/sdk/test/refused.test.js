// What cannot be used, is refused or is lost: it takes nothing else with it, and
// somebody is told.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { FakeVideo } from "./fakes.js";
import { pass, play, server, talking } from "./play.js";

test("what no server takes is told of, and not sent", async () => {
  const { client, told } = play();
  await pass(100);
  const self = {};
  self.self = self;
  for (const [name, data, code] of [["two words", {}, "invalid"], ["", {}, "invalid"], ["x".repeat(65), {}, "invalid"], ["tor\n", {}, "invalid"], ["goal", self, "invalid"], ["goal", { n: 7n }, "invalid"], [Object.create(null), {}, "invalid"], ["goal", { text: "x".repeat(5000) }, "too_large"]]) {
    told.errors.length = 0;
    assert.equal(client.track(name, data), false);
    assert.deepEqual(told.errors.map((e) => e.code), [code], JSON.stringify(told.errors));
  }
  assert.ok(client.track("a.B_c-9", { n: 1 }) && client.track(7));
  assert.deepEqual(server.last.of("event").map((e) => e.name), ["a.B_c-9", "7"]);
});

// beats answers a POST of beats as a server does: all of it or nothing.
function beats(init, took, bad = (m) => m.data?.bad, answer = { session: "s1" }) {
  const list = JSON.parse(init.body);
  if (list.length > 100 || list.some(bad)) return new Response(`{"code":"invalid","message":"name is not"}`, { status: 400 });
  took.push(...list);
  return new Response(JSON.stringify(answer));
}

test("one event that is refused takes no other with it", async () => {
  server.up = false;
  const { client, told } = play();
  await pass(5_000);
  for (let i = 0; i < 120; i++) client.track("goal", { i, bad: i === 7 || i === 99 });
  told.errors.length = 0;
  const took = [];
  server.answer = (url, init) => beats(init, took);
  server.up = true;
  await pass(60_000);
  assert.deepEqual(took.map((m) => m.data.i), Array.from({ length: 120 }, (_, i) => i).filter((i) => i !== 7 && i !== 99));
  assert.deepEqual(told.errors, Array(2).fill({ code: "invalid", message: "name is not" }));
  assert.equal(client.outbox.items.length, 0);
  assert.ok(server.requests.length < 60, "by halves");
});

test("what a request is refused for as a whole is told once", async () => {
  const { client, told } = await backlog(() => new Response(`{"code":"not_found","message":"no event"}`, { status: 404 }));
  assert.deepEqual(told.errors, [{ code: "not_found", message: "no event" }]);
  assert.equal(client.outbox.items.length, 0);
});

// backlog has 40 events that waited for the server, whose requests are answered by answer for a minute.
async function backlog(answer) {
  server.up = false;
  const { client, told } = play();
  await pass(5_000);
  for (let i = 0; i < 40; i++) client.track("goal", { i });
  told.errors.length = 0;
  server.answer = answer;
  server.up = true;
  talking();
  await pass(60_000);
  return { client, told };
}

for (const [what, answer] of [
  ["a page with 200", () => new Response("<h1>Welcome to the hotel</h1>")],
  ["a page with 404", () => new Response("<h1>default backend</h1>", { status: 404 })],
  ["a page with 413", () => new Response("<h1>Too large</h1>", { status: 413 })],
  ["other JSON", () => new Response(`{"ok":true,"session":7}`)],
]) {
  test("no gateway's answer takes no event, and is told once: " + what, async () => {
    const { client, told } = await backlog(answer);
    assert.deepEqual(told.errors, [{ code: "invalid", message: "this is no gateway of grandstand.v1: check the address, and its release" }]);
    assert.equal(client.outbox.items.length, 40);
    const took = [];
    server.answer = (url, init) => beats(init, took);
    await pass(20_000);
    assert.deepEqual(took.map((m) => m.data.i), Array.from({ length: 40 }, (_, i) => i));
    assert.equal(client.outbox.items.length, 0);
    client.close();
  });
}

for (const [what, page] of [
  ["200", () => new Response("<h1>Welcome</h1>")],
  ["404", () => new Response("<h1>default backend</h1>", { status: 404 })],
  ["403", () => new Response("<h1>no</h1>", { status: 403 })],
  ["400", () => new Response("<h1>Bad Request</h1>", { status: 400 })],
  ["401", () => new Response("<h1>Sign in</h1>", { status: 401 })],
  ["409", () => new Response(`{"code":409}`, { status: 409 })],
  ["413", () => new Response(`{"code":413}`, { status: 413 })],
]) {
  test("without WebSockets a play outlives what is no gateway, and loses nothing: " + what, async () => {
    const took = [], well = (url, init) => beats(init, took, undefined, { session: "r1", interval_ms: 10000, segments: ["world"] });
    let answer = well;
    blocked((url, init) => answer(url, init));
    const { client, told } = play();
    await pass(8_000);
    assert.equal(told.states.at(-1).state, "open");
    answer = page;
    for (let i = 0; i < 3; i++) client.track("goal", { i });
    await pass(40_000);
    assert.equal(client.outbox.items.length, 3);
    assert.deepEqual(told.errors, [{ code: "unavailable", message: `HTTP ${what}: it is tried again` }]);
    answer = well;
    await pass(45_000);
    assert.equal(client.session, "r1");
    assert.equal(told.states.at(-1).state, "open");
    assert.deepEqual([...new Set(took.filter((m) => m.t === "event").map((m) => m.data.i))], [0, 1, 2]);
    assert.equal(client.outbox.items.length, 0);
    client.close();
  });
}

test("without WebSockets a page with 200 is no play", async () => {
  blocked(() => new Response("<h1>Welcome</h1>"));
  const { client, told } = play();
  await pass(20_000);
  assert.ok(told.states.every((s) => s.state !== "open"));
  assert.equal(client.session, "");
  client.close();
});

// blocked makes a server whose WebSockets do not come through; it answers beats with answer.
function blocked(answer) {
  server.upgrades = false;
  const upgrade = server.answer;
  server.answer = (url, init) => (url.pathname.endsWith("/live") ? upgrade() : url.pathname.endsWith("/stream") ? new Response("") : answer(url, init));
}

test("without WebSockets a refused event is dropped, and the link stays", async () => {
  const took = [];
  blocked((url, init) => beats(init, took, undefined, { session: "r1", interval_ms: 10000, segments: ["world"] }));
  const { client, told } = play();
  await pass(8_000);
  const opened = () => told.states.filter((s) => s.state === "open").length;
  assert.equal(opened(), 1);
  for (let i = 0; i < 9; i++) client.track("goal", { i, bad: i === 4 });
  await pass(30_000);
  const events = took.filter((m) => m.t === "event");
  assert.deepEqual(events.map((m) => m.data.i), [0, 1, 2, 3, 5, 6, 7, 8]);
  assert.deepEqual(told.errors, [{ code: "invalid", message: "name is not" }]);
  assert.equal(client.outbox.items.length, 0);
  assert.equal(opened(), 1, "one link");
  for (let i = 0; i < 200; i++) client.track("goal", { i });
  await pass(30_000);
  assert.equal(new Set(took.filter((m) => m.t === "event").map((m) => m.seq)).size, 208, "more than a server takes in one list");
  assert.equal(opened(), 1);
});

// An event that is on its way is not taken for durable because of what was said after it.
test("without WebSockets requests follow each other", async () => {
  let lose = 0;
  const took = [];
  blocked(async (url, init) => {
    if (/event/.test(init.body) && lose++ === 0) {
      await new Promise((resolve) => setTimeout(resolve, 3000));
      throw new TypeError("lost on the way");
    }
    return beats(init, took, undefined, { session: "r1", interval_ms: 10000, segments: ["world"] });
  });
  const { client } = play();
  await pass(8_000);
  client.track("goal", { i: 1 });
  await pass(100);
  client.beat();
  await pass(1000);
  assert.equal(client.outbox.items.length, 1, "it is not acknowledged by the beat");
  await pass(30_000);
  assert.deepEqual(took.filter((m) => m.t === "event").map((m) => m.data.i), [1]);
  assert.equal(client.outbox.items.length, 0);
});

test("takeover and join without WebSockets", async () => {
  const said = [], asked = [];
  blocked((url, init) => {
    asked.push(url.searchParams.get("team"));
    const fixed = url.searchParams.get("region") ? ["region:US-CA"] : [];
    return beats(init, said, (m) => m.t !== "beat" && m.t !== "event", { session: "r1", interval_ms: 10000, segments: ["world", "team:" + url.searchParams.get("team"), ...fixed] });
  });
  const messages = [];
  const { client, told } = play({ segments: { team: "KC" }, onMessage: (text, from) => from === "server" && messages.push(JSON.parse(text)) });
  await pass(8_000);
  const streams = () => server.requests.filter((r) => /stream/.test(r.url)).map((r) => new URL(r.url).searchParams.get("segment"));
  assert.ok(streams().every((s) => s === "world,team:KC"));
  assert.ok(client.takeover(["x"]));
  await pass(500);
  assert.deepEqual(told.errors, [{ code: "invalid", message: "takeover needs a WebSocket, and none comes through here" }]);
  assert.ok(client.join({ team: "SF" }));
  await pass(500);
  assert.deepEqual(messages.filter((m) => m.t === "ok"), [{ t: "ok", re: "join" }]);
  assert.equal(streams().at(-1), "world,team:SF");
  const followed = streams().length;
  await pass(6_500);
  assert.ok(streams().length - followed <= 3 && streams().slice(followed).every((s) => s === "world,team:SF"), "one stream: " + streams());
  assert.equal(asked.at(-1), "SF");
  client.join({ region: "US-MO" });
  await pass(500);
  assert.equal(told.errors.at(-1).code, "forbidden", "its token says otherwise");
  assert.equal(told.states.filter((s) => s.state === "open").length, 1, "one link");
  client.close();
});

test("a join that is too large for a server is told of, and not said by any connection", async () => {
  const { client, told } = play(), large = { team: "é".repeat(2100) };
  await pass(100);
  assert.equal(client.join(large), false);
  server.last.gone(1006);
  assert.equal(client.join(large), false, "nor by the next address");
  await pass(5_000);
  assert.deepEqual(told.errors, Array(2).fill({ code: "too_large", message: "an event or join has at most 4 KB" }));
  assert.deepEqual(server.sockets.flatMap((s) => s.of("join")), []);
  assert.doesNotMatch(server.last.url, /team/);
  assert.throws(() => client.join({ n: 7n }));
  assert.ok(client.join({ team: "é".repeat(2000) }), "so much is taken");
  server.last.gone(1006);
  await pass(5_000);
  assert.equal(server.last.of("join").length, 1);
  client.close();
});

test("the next connection asks for what a join was given, and asks anew for what has no answer", async () => {
  const { client, told } = play({ segments: { team: "KC" } });
  await pass(100);
  client.join({ team: "no such", seat: "1" });
  client.join({ country: "US" });
  client.join({ team: "SF" });
  const [odd, fixed] = server.last.of("join");
  server.last.say({ t: "error", code: "invalid", message: "the value of team is not", seq: odd.seq });
  server.last.say({ t: "error", code: "unavailable", message: "no registry just now", seq: fixed.seq });
  server.last.say({ t: "ok", re: "join" });
  assert.deepEqual(told.errors.map((e) => e.code), ["invalid", "unavailable"]);
  client.join({ row: "2" });
  server.last.gone(1006);
  await pass(2_000);
  const { searchParams } = new URL(server.last.url);
  assert.deepEqual(["team", "seat", "country", "row"].map((dim) => searchParams.get(dim)), ["SF", null, null, null]);
  assert.deepEqual(server.last.of("join").map((m) => m.seg), [{ row: "2" }]);
  server.last.say({ t: "ok", re: "join" });
  server.last.gone(1006);
  assert.equal(client.join({ seat: "3" }), false, "nobody is there");
  await pass(3_000);
  assert.match(server.last.url, /team=SF&row=2&seat=3$/);
  assert.equal(server.last.of("join").length, 0);
  client.close();
});

test("a backlog does not undo a join that is asked for anew", async () => {
  const { client } = play({ segments: { team: "KC" } }), teams = [];
  await pass(100);
  client.join({ team: "SF" });
  server.up = false;
  server.last.gone(1006);
  await pass(2_000);
  for (let i = 0; i < 30; i++) client.track("goal", { i });
  server.answer = (url) => {
    if (url.pathname.endsWith("/beats")) teams.push(url.searchParams.get("team"));
    return new Response(`{"session":"s1"}`);
  };
  server.up = true;
  await pass(20_000);
  assert.match(server.last.url, /team=KC/);
  assert.deepEqual(server.last.of("join").map((m) => m.seg), [{ team: "SF" }]);
  assert.deepEqual(teams, [null], "the session has its segments");
  assert.equal(client.outbox.items.length, 0);
  client.close();
});

test("without WebSockets a join that is refused is forgotten, and nothing else is", async () => {
  const took = [], asked = [];
  blocked((url, init) => {
    asked.push(url.searchParams.get("team"));
    if (asked.at(-1) === "no such") return new Response(`{"code":"invalid","message":"the value of team is not"}`, { status: 400 });
    return beats(init, took, undefined, { session: "r1", interval_ms: 10000, segments: ["world", "team:" + asked.at(-1)] });
  });
  const { client, told } = play({ segments: { team: "KC" } });
  await pass(8_000);
  client.join({ team: "no such" });
  client.join({ team: "SF" });
  client.track("goal", { i: 1 });
  await pass(30_000);
  assert.deepEqual(told.errors, [{ code: "invalid", message: "the value of team is not" }]);
  assert.equal(asked.filter((team) => team === "no such").length, 1);
  assert.equal(asked.at(-1), "SF");
  assert.deepEqual(took.filter((m) => m.t === "event").map((m) => m.data.i), [1]);
  assert.equal(told.states.filter((s) => s.state === "open").length, 1, "one link");
  client.close();
});

test("connect says what it has to be told", async () => {
  const errors = mock.method(console, "error", () => {});
  for (const [options, message] of [
    [{ event: undefined }, 'say which event: connect({ event: "..." })'],
    [{ event: "" }, 'say which event: connect({ event: "..." })'],
    [{ event: "\ud800" }, 'say which event: connect({ event: "..." })'], // no address can have it
    [{ url: "live.example.com" }, 'say which url: connect({ url: "..." })'],
    [{ url: "file:///home/player.js" }, 'say which url: connect({ url: "..." })'],
  ]) {
    const { client, told } = play(options);
    await pass(50);
    assert.deepEqual(told.states, [{ state: "closed", code: "invalid", message }]);
    assert.equal(errors.mock.calls.at(-1).arguments[1], message);
    client.retry();
    await pass(60_000, 1000);
    assert.deepEqual([server.sockets.length, server.requests.length], [0, 0]);
    client.close();
  }
  errors.mock.restore();
});

test("without handlers the console says what is wrong, once an outage, and why it ends", async () => {
  globalThis.location = { origin: "https://tv.example.com" };
  const warned = mock.method(console, "warn", () => {}), errors = mock.method(console, "error", () => {});
  const none = { onError: undefined, onState: undefined, onBlocked: undefined };
  const lines = () => [...warned.mock.calls, ...errors.mock.calls].map((c) => c.arguments.join(" "));
  const foreign = "grandstand: live.example.com serves no pages of https://tv.example.com: its operator lists that in --origins";
  try {
    const { client } = play(none);
    talking();
    for (const outage of [1, 2]) {
      server.foreign = true;
      server.last?.gone(1006);
      await pass(60_000);
      assert.deepEqual(lines(), Array(outage).fill(foreign));
      server.foreign = false;
      await pass(40_000);
    }
    assert.ok(server.last.readyState === 1);
    warned.mock.resetCalls();
    server.last.gone(4504, "event_ended");
    assert.deepEqual(lines(), ["grandstand: event_ended"]);
    client.close();
    warned.mock.resetCalls();
    play({ ...none, event: "" });
    await pass(50);
    assert.deepEqual(lines(), ['grandstand: say which event: connect({ event: "..." })']);
    warned.mock.resetCalls();
    errors.mock.resetCalls();
    const told = play();
    await pass(50);
    told.client.track("two words");
    server.last.gone(4504, "event_ended");
    assert.deepEqual(lines(), [], "who has handlers is told by them");
  } finally {
    warned.mock.restore();
    errors.mock.restore();
    delete globalThis.location;
  }
});

test("events that are lost because too many wait are told of once an outage", async () => {
  server.up = false;
  const { client, told } = play();
  await pass(3_000);
  const lost = () => told.errors.filter((e) => /oldest/.test(e.message)).length;
  for (let i = 0; i < 1000; i++) client.track("goal", { i });
  assert.equal(lost(), 0);
  for (let i = 0; i < 50; i++) assert.ok(client.track("goal", { i }));
  assert.equal(lost(), 1);
  assert.equal(client.outbox.items.length, 1000);
  assert.equal(told.errors.at(-1).code, "unavailable");
  server.answer = () => new Response(`{"session":"s1"}`);
  server.up = true;
  await pass(60_000);
  assert.equal(client.outbox.items.length, 0);
  server.up = false;
  server.last.gone(1006);
  for (let i = 0; i < 1002; i++) client.track("goal", { i });
  assert.equal(lost(), 2, "another outage");
  client.close();
});

test("a position that is a time of day is not told: servers refuse it", async () => {
  const video = new FakeVideo();
  for (const [currentTime, pos] of [[1_795_299_042, undefined], [Infinity, undefined], [NaN, undefined], [12.3456, 12.346]]) {
    video.currentTime = currentTime;
    const { client } = play({ video });
    await pass(100);
    assert.equal(server.last.of("beat")[0].pos, pos);
    client.close();
  }
});

test("callbacks that reject stop nothing, and are told of", async () => {
  const errors = mock.method(console, "error", () => {}), wrong = async () => { throw new Error("the page's"); };
  play({ onCounts: wrong, onState: wrong, onMessage: wrong, onError: wrong, bitrate: wrong });
  await pass(100);
  server.last.say({ t: "counts", at: 1000, age: 5, epoch: 1, n: { world: [10, 9] } });
  server.last.say({ t: "error", code: "invalid", message: "no" });
  await pass(12_000);
  assert.ok(server.last.of("beat").length >= 2);
  const named = new Set(errors.mock.calls.map((c) => c.arguments[1]));
  assert.deepEqual([...named].sort(), ["bitrate", "onCounts", "onError", "onMessage", "onState"]);
  errors.mock.restore();
});

// locked gives this process locks as a page has them: one holder of a name at a time.
function locked(run) {
  return async () => {
    const held = new Map();
    const request = async (name, ...more) => {
      const use = more.pop();
      if (more[0]?.ifAvailable && held.has(name)) return use(null);
      const before = held.get(name), mine = (async () => (await before?.catch(() => {}), use({ name })))();
      held.set(name, mine);
      return mine;
    };
    const was = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
    try {
      await run(held);
    } finally {
      if (was) Object.defineProperty(globalThis, "navigator", was);
      else delete globalThis.navigator;
    }
  };
}

test("a browser without AbortSignal.timeout plays, and gives up what is not answered", locked(async () => {
  const { timeout } = AbortSignal;
  delete AbortSignal.timeout; // as Safari 15
  try {
    server.upgrades = false;
    let answered = 0;
    blocked((url, init) => {
      if (answered++ < 2) return beats(init, [], undefined, { session: "r1", interval_ms: 10000, segments: ["world"] });
      return new Promise((resolve, reject) => init.signal.addEventListener("abort", () => reject(new Error("late"))));
    });
    const { client, told } = play();
    await pass(8_000);
    assert.equal(told.states.at(-1).via, "sse", JSON.stringify(told));
    told.states.length = 0;
    await pass(22_000);
    assert.equal(told.states[0]?.state, "waiting", "a beat was not answered");
    client.close();
  } finally {
    AbortSignal.timeout = timeout;
  }
}));

test("tabs that begin the same play wait for each other, but not for good", locked(async (held) => {
  server.onopen = () => {}; // it says no hello
  play();
  await pass(100);
  play();
  await pass(4_000);
  assert.equal(server.sockets.length, 1, "the second waits");
  server.sockets[0].hello();
  await pass(500);
  assert.match(server.sockets[1].url, /session=s1/, "and takes part in the play of the first");
  held.set(`grandstand.session.["live.example.com","final","v2","",""]`, new Promise(() => {})); // a tab that hangs
  play({ viewer: "v2" });
  await pass(4_900);
  assert.equal(server.sockets.length, 2);
  await pass(200);
  assert.equal(server.sockets.length, 3, "on its own after a while");
}));
