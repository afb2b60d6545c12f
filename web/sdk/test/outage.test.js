// What a play does, and says, while its gateway is away or will not have it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { even, pass, play, server, talking } from "./play.js";

test("a token that ended is renewed each time; two fresh ones that are refused are the end", async () => {
  let asked = 0, good = () => true;
  server.onopen = (s) => (good(s.protocols.at(-1)) ? s.hello() : s.gone(1006));
  server.answer = () => new Response(`{"code":"unauthorized","message":"the token has expired"}`, { status: 401 });
  const { told } = play({ token: async () => "t" + ++asked });
  talking();
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

for (const [what, broken, says] of [
  ["throws", () => { throw new Error("no user"); }, /^token: Error: no user$/],
  ["rejects", () => Promise.reject(new Error("no user")), /^token: Error: no user$/],
  ["never answers", () => new Promise(() => {}), /^token: no answer$/],
]) {
  test("a token function that " + what + " is told of once, and asked again", async () => {
    const rejected = [], saw = (why) => rejected.push(why);
    process.on("unhandledRejection", saw);
    let token = broken;
    const { client, told } = play({ token: () => token() });
    talking();
    await pass(60_000);
    assert.deepEqual(told.errors.map((e) => e.code), ["unavailable"]);
    assert.match(told.errors[0].message, says);
    assert.ok(told.states.filter((s) => s.state === "waiting").length >= 2, "it is asked again");
    token = async () => "t1";
    await pass(45_000);
    assert.equal(told.states.at(-1).state, "open");
    process.off("unhandledRejection", saw);
    assert.deepEqual(rejected, []);
    client.close();
  });
}

for (const code of [4002, 4501]) {
  test(`each new token is refused after the hello: the second time is the end: ${code}`, async () => {
    let asked = 0;
    const { told } = play({ token: async () => "t" + ++asked });
    talking();
    server.onopen = (s) => {
      s.hello();
      setTimeout(() => s.gone(code, "bad_token"), 1000);
    };
    await pass(600_000, 500);
    assert.equal(asked, 2);
    assert.deepEqual(told.states.at(-1), { state: "closed", code: "unauthorized", message: "bad_token" });
  });
}

// tokens are good for life ms. The server says hello to those that are, and closes with 4002 or refuses others.
function tokens(life, then = () => {}) {
  const issued = new Map(), good = (s) => Date.now() - issued.get(s.protocols.at(-1)) < life;
  server.onopen = (s) => {
    if (!good(s)) return s.gone(1006);
    s.hello();
    then(s, good);
  };
  server.answer = () => new Response(`{"code":"unauthorized","message":"the token has expired"}`, { status: 401 });
  const token = async () => {
    issued.set("bearer.t" + issued.size, Date.now());
    return "t" + (issued.size - 1);
  };
  return { issued, token };
}

test("a new token that grows old in an outage, before anybody took it, is not the end", async () => {
  const { issued, token } = tokens(300_000), { client, told } = play({ token });
  talking();
  await pass(300_000, 500);
  server.up = false;
  server.last.gone(4002, "token_expired");
  await pass(400_000, 500);
  assert.equal(issued.size, 2);
  server.up = true;
  await pass(60_000);
  assert.equal(issued.size, 3);
  assert.equal(told.states.at(-1).state, "open", JSON.stringify(told.states.at(-1)));
  client.close();
});

test("short tokens on a connection that never lasts are renewed each time", async () => {
  const { issued, token } = tokens(120_000, (s, good) => setTimeout(() => s.gone(good(s) ? 1006 : 4002), 8000));
  const { client, told } = play({ token });
  talking();
  await pass(900_000, 500);
  assert.ok(issued.size >= 6 && issued.size <= 8, "one every two minutes: " + issued.size);
  assert.ok(told.states.every((s) => s.state !== "closed"), JSON.stringify(told.states.at(-1)));
  client.close();
});

test("a server that dies in the middle of a play is told of, once an outage", async () => {
  const { told } = play(), nobody = { code: "unavailable", message: "no answer from live.example.com: check the address, and that it runs" };
  talking();
  for (const outage of [1, 2]) {
    await pass(15_000);
    assert.equal(told.states.at(-1).state, "open");
    server.up = false;
    server.last.gone(1006);
    await pass(120_000);
    assert.deepEqual(told.errors, Array(outage).fill(nobody));
    server.up = true;
    await pass(40_000);
  }
});

test("what a proxy says is told once, and the play begins when it can", async () => {
  talking();
  for (const [status, body, message] of [
    [500, "<h1>Oops</h1>", "HTTP 500: it is tried again"],
    [502, "<h1>Bad Gateway</h1>", "HTTP 502: it is tried again"],
    [504, "", "HTTP 504: it is tried again"],
    [503, `{"code":"unavailable","message":"the gateway is full"}`, "the gateway is full"],
  ]) {
    const { client, told } = play({ viewer: "v" + status });
    await pass(15_000);
    server.upgrades = false;
    server.answer = () => new Response(body, { status });
    server.last.gone(1006);
    await pass(120_000);
    assert.deepEqual(told.errors, [{ code: "unavailable", message }]);
    server.upgrades = true;
    await pass(40_000);
    assert.equal(told.states.at(-1).state, "open");
    client.close();
  }
});

test("a play outlives what something between says while its gateway is replaced", async () => {
  talking();
  for (const [status, body] of [[404, "<h1>default backend</h1>"], [200, "<h1>Welcome</h1>"], [403, "<h1>no</h1>"], [401, "<h1>Sign in</h1>"], [409, ""], [404, `{"code":404,"message":"no route"}`]]) {
    const { client, told } = play({ viewer: "v" + status });
    await pass(15_000);
    server.upgrades = false;
    server.answer = () => new Response(body, { status });
    server.last.gone(1006);
    await pass(60_000);
    assert.deepEqual(told.errors, [{ code: "unavailable", message: `HTTP ${status}: it is tried again` }]);
    server.upgrades = true;
    await pass(40_000);
    assert.equal(told.states.at(-1).state, "open");
    assert.equal(client.session, "s1");
    client.close();
  }
});

// onAPage runs a test with a window and a document that is seen.
async function onAPage(run) {
  Object.assign(globalThis, { window: new EventTarget(), document: Object.assign(new EventTarget(), { hidden: false }) });
  try {
    await run(globalThis);
  } finally {
    delete globalThis.window;
    delete globalThis.document;
  }
}

test("neither a network that is back nor a tab that is seen breaks the server's wait; a person does", () => onAPage(async ({ window, document }) => {
  const { client, told } = play();
  talking();
  await pass(15_000);
  server.upgrades = false;
  server.answer = () => new Response("{}", { status: 503, headers: { "Retry-After": "60" } });
  server.last.gone(1006);
  await pass(5_000);
  const tries = server.sockets.length;
  const asked = () => told.states.at(-1);
  assert.ok(asked().retryMS >= 60_000);
  for (let i = 0; i < 10; i++) {
    document.dispatchEvent(new Event("visibilitychange"));
    window.dispatchEvent(new Event("online"));
    await pass(300);
  }
  await pass(50_000);
  assert.equal(server.sockets.length, tries);
  client.retry();
  assert.equal(asked().state, "connecting");
  await pass(1);
  assert.equal(server.sockets.length, tries + 1);
  await pass(5_000);
  server.upgrades = true;
  const n = server.sockets.length;
  await pass(70_000);
  assert.equal(server.sockets.length, n + 1, "it ends by itself");
  assert.equal(asked().state, "open");
  client.close();
}));

test("a page that comes back from the browser's cache plays on, unless its play had ended", () => onAPage(async ({ window }) => {
  const { client, told } = play(), page = (name) => window.dispatchEvent(Object.assign(new Event(name), { persisted: true }));
  await pass(100);
  page("pagehide");
  assert.equal(server.last.closedWith, 1000);
  await pass(60_000);
  assert.equal(server.sockets.length, 1);
  page("pageshow");
  await pass(100);
  assert.equal(server.sockets.length, 2);
  assert.match(server.last.url, /session=s1/);
  assert.equal(told.states.at(-1).state, "open");
  server.last.gone(4504, "event_ended");
  page("pagehide");
  page("pageshow");
  await pass(60_000);
  assert.equal(server.sockets.length, 2);
  assert.equal(told.states.at(-1).code, "ended");
  client.close();
}));

test("a thousand clients whose network is back at once come back within a second, but not at once", () => onAPage(async ({ window }) => {
  globalThis.localStorage = undefined; // each has a session of its own
  const all = Array.from({ length: 1000 }, (_, i) => play({ viewer: "v" + i, storage: false }));
  await pass(1_000);
  server.up = false;
  window.dispatchEvent(new Event("offline"));
  await pass(69_000, 1000);
  await pass(1_000, 10); // what was tried has failed
  server.up = true;
  const before = server.sockets.length, back = Date.now(), at = new Map();
  server.onopen = (s) => {
    const viewer = new URL(s.url).searchParams.get("viewer");
    if (!at.has(viewer)) at.set(viewer, Date.now() - 5 - back);
    s.hello();
  };
  window.dispatchEvent(new Event("online"));
  await pass(1_100, 10);
  assert.equal(at.size, 1000);
  assert.ok(server.sockets.length - before <= 1000, "one try each");
  even([...at.values()], 1_020, "after the network was back");
  for (const { client } of all) client.close();
}));

// fallback begins a play without WebSockets, whose beats are answered by answer().
async function fallback(answer, options) {
  const upgrade = server.answer, g = { answer };
  server.upgrades = false;
  server.answer = (url, init) => (url.pathname.endsWith("/live") ? upgrade() : url.pathname.endsWith("/stream") ? new Response("") : g.answer(url, init));
  const p = play(options);
  await pass(8_000);
  return { ...p, g };
}

const well = () => new Response(JSON.stringify({ session: "r1", interval_ms: 10000, segments: ["world"], verdict: { status: "allowed" } }));

test("without WebSockets an outage is told of once too", async () => {
  const { told, client, g } = await fallback(well);
  assert.equal(told.states.at(-1).via, "sse");
  for (const [answer, message] of [
    [() => Promise.reject(new TypeError("failed to fetch")), "no answer: it is tried again"],
    [() => new Response("<h1>Bad Gateway</h1>", { status: 502 }), "HTTP 502: it is tried again"],
    [() => new Response(`{"message":"the gateway is full"}`, { status: 503 }), "the gateway is full"],
  ]) {
    told.errors.length = 0;
    g.answer = answer;
    await pass(120_000);
    assert.deepEqual(told.errors, [{ code: "unavailable", message }]);
    g.answer = well;
    await pass(45_000);
    assert.equal(told.states.at(-1).state, "open");
  }
  client.close();
});

test("something between that wants a token may have another, but does not end the play", async () => {
  const page = () => new Response("<h1>Sign in</h1>", { status: 401 });
  for (const way of ["websocket", "sse"]) {
    let asked = 0;
    const token = async () => "t" + ++asked, viewer = way, gateway = server.answer;
    const { client, told, g } = way === "sse" ? await fallback(well, { token, viewer }) : play({ token, viewer });
    talking();
    await pass(15_000);
    assert.deepEqual([told.states.at(-1).via, asked], [way, 1]);
    if (g) g.answer = page;
    else [server.answer, server.upgrades] = [page, false];
    server.last.gone(1006);
    await pass(60_000);
    assert.ok(asked >= 2 && asked <= 8, "not at each try: " + asked);
    assert.ok(told.states.every((s) => s.state !== "closed"), JSON.stringify(told.states.at(-1)));
    assert.deepEqual(told.errors, [{ code: "unavailable", message: "HTTP 401: it is tried again" }]);
    if (g) g.answer = well;
    else [server.answer, server.upgrades] = [gateway, true];
    await pass(45_000);
    assert.equal(told.states.at(-1).state, "open");
    client.close();
  }
});

test("without WebSockets a token that is revoked is the end, and why is said", async () => {
  let asked = 0;
  const { told, g } = await fallback(well, { token: async () => "t" + ++asked });
  await pass(30_000);
  assert.equal(told.states.at(-1).via, "sse");
  g.answer = () => new Response(`{"code":"unauthorized","message":"the token was revoked"}`, { status: 401 });
  await pass(600_000, 500);
  assert.equal(asked, 2);
  assert.deepEqual(told.states.at(-1), { state: "closed", code: "unauthorized", message: "the token was revoked" });
});

test("without WebSockets a token that ended is renewed each time", async () => {
  let asked = 0, good = "t1";
  const { told, client } = await fallback((url, init) => (init.headers.Authorization === "Bearer " + good ? well() : new Response(`{"code":"unauthorized","message":"the token has expired"}`, { status: 401 })), { token: async () => "t" + ++asked });
  for (const night of [2, 3, 4]) {
    good = "t" + night;
    await pass(60_000);
    assert.equal(asked, night);
    assert.equal(told.states.at(-1).state, "open");
  }
  client.close();
});

test("without WebSockets a play stays away for as long as Retry-After says", async () => {
  const { told, client, g } = await fallback(well);
  for (const [status, after, least] of [[503, "20", 20_000], [429, "20", 20_000], [429, "1", 10_000], [502, "", 5_000], [503, "99999", 600_000]]) {
    g.answer = () => new Response("{}", { status, headers: { "Retry-After": after } });
    const n = told.states.length;
    await pass(12_000);
    const { state, retryMS } = told.states[n];
    assert.equal(state, "waiting");
    assert.ok(retryMS >= least && retryMS <= least + 1000, `${status}, Retry-After ${after}: ${retryMS}`);
    g.answer = well;
    await pass(least + 15_000, 500);
    assert.equal(told.states.at(-1).state, "open");
  }
  client.close();
});

test("a backlog that is refused comes again after Retry-After, at a time of its own", async () => {
  globalThis.localStorage = undefined; // each has a session of its own
  server.up = false;
  const all = Array.from({ length: 300 }, (_, i) => play({ viewer: "v" + i, storage: false }).client);
  await pass(3_000);
  for (const client of all) for (let i = 0; i < 30; i++) client.track("goal", { i });
  const asked = new Map();
  server.answer = (url) => {
    const viewer = url.searchParams.get("viewer");
    if (url.pathname.endsWith("/beats")) asked.set(viewer, [...(asked.get(viewer) || []), Date.now()]);
    return new Response("{}", { status: 503, headers: { "Retry-After": "12" } });
  };
  server.up = true;
  await pass(45_000);
  const waits = [...asked.values()].filter((at) => at.length > 1).map(([first, second]) => second - first - 12_000);
  assert.equal(waits.length, 300);
  even(waits, 4_050, "waits beyond what was asked for");
  for (const client of all) client.close();
});
