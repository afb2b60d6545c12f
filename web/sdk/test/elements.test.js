// What elements show of numbers that are not there, not known, or not asked for.

import assert from "node:assert/strict";
import { after, before, mock, test } from "node:test";

import { Teams } from "../../static/teams.js";
import { pageIs, put, streams } from "./fakepage.js";

before(async () => {
  pageIs(true);
  await import("../src/elements.js");
  pageIs(false);
});

// onPage runs a test in a page, which no other test is in.
const onPage = (name, run) =>
  test(name, async () => {
    pageIs(true);
    const rejected = mock.fn();
    process.on("unhandledRejection", rejected);
    try {
      await run();
      await new Promise(setImmediate);
      assert.equal(rejected.mock.callCount(), 0, "nothing is thrown away");
    } finally {
      process.off("unhandledRejection", rejected);
      pageIs(false);
    }
  });
after(() => pageIs(false));

const src = () => "https://g" + Math.random() + ".example.com"; // its own source
const wait = async (ms) => {
  mock.timers.tick(ms);
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
};
const team = (kc, sf, more = {}) => ({ at: 1, age: 0, quality: "live", segments: { "team:KC": kc, "team:SF": sf }, ...more });
const of = (sessions) => ({ sessions, fans: sessions });
const texts = (e) => [e.left.textContent, e.right.textContent, e.bars.style.visibility, e.heard.textContent];
const rivals = (more) => put("live-rivals", { mine: "team:KC", theirs: "team:SF", ...more });

onPage("rivals: no share of what is not known, and no word", async () => {
  const e = rivals({ fed: "", quiet: "" });
  assert.equal(e.bars.style.visibility, "hidden", "before the first numbers");
  e.feed(team(undefined, undefined, { quality: "" }));
  assert.deepEqual(texts(e), ["KC –", "SF –", "hidden", ""]);
  e.feed(team(of(3000), of(1000)));
  assert.deepEqual(texts(e), ["KC 3,000 (75%)", "SF 1,000 (25%)", "", "KC 3,000, SF 1,000"]);
  assert.equal(e.bar.style.transform, "scaleX(0.75)");
  e.feed(team(of(3000), of(1000), { quality: "partial" }));
  assert.deepEqual(texts(e), ["KC ≈\u00a03,000 (75%)", "SF ≈\u00a01,000 (25%)", "", "KC ≈\u00a03,000, SF ≈\u00a01,000"]);
  e.feed(team(of(3000), null, { least: 10 }));
  assert.deepEqual(texts(e), ["KC 3,000", "SF <10", "hidden", ""]);
  e.feed(team(of(0), of(0)));
  assert.deepEqual(texts(e), ["KC 0", "SF 0", "hidden", "KC 0, SF 0"], "nobody is there: that is known");
  e.feed(team(of(30), of(10)));
  e.setAttribute("theirs", "team:NO");
  assert.deepEqual(texts(e), ["", "", "hidden", ""], "the numbers of another");
});

onPage("rivals without a server: the sentence, and no numbers", async () => {
  globalThis.fetch = async () => {
    throw new TypeError("failed to fetch");
  };
  const e = rivals({ event: "final", src: src() });
  await wait(150);
  streams.at(-1).refuse();
  await wait(10);
  assert.deepEqual(texts(e), ["KC –", "SF –", "hidden", ""]);
  assert.match(e.note.textContent, /^No answer from /);
  e.disconnectedCallback();
});

onPage("the top shows nothing that is not so", async () => {
  const e = put("live-top", { fed: "", dim: "team", quiet: "" });
  e.feed(team(of(3000), of(1000), { quality: "partial" }));
  assert.equal(e.list.textContent, "KC≈\u00a03,000SF≈\u00a01,000");
  assert.equal(e.heard.textContent, "KC ≈\u00a03,000, SF ≈\u00a01,000");
  e.setAttribute("event", "another");
  assert.deepEqual([e.list.textContent, e.heard.textContent], ["", ""]);
  e.feed({ at: 0, age: 0, quality: "", segments: {} });
  assert.deepEqual([e.list.textContent, e.heard.textContent], ["", ""]);
});

onPage("what is too small to be shown says what it is less than, also on the demo page", async () => {
  const e = put("live-counts", { fed: "", segment: "team:SF" }), teams = new Teams();
  teams.take({ dims: { team: { KC: of(3000), SF: null } }, min_cohort: 10 });
  e.feed({ at: 1, age: 0, quality: "live", least: teams.least, segments: teams.segments() });
  assert.equal(e.number.line.textContent, "<10");
  teams.clear();
  assert.equal(teams.least, undefined, "another event");
});

onPage("odd answers stop no element", async () => {
  const e = put("live-counts", { event: "final", src: src(), segment: "team:KC" });
  await wait(150);
  const stream = streams.at(-1);
  for (const odd of ["7", "null", "[]", `{"dims":7}`, `{"dims":null}`, `{"dims":{"team":null}}`, `{"dims":{"team":"KC"},"quality":"live"}`, `{"dims":{"team":{"KC":7}},"quality":"live"}`]) {
    stream.say(odd);
    assert.equal(e.number.line.textContent, "–", odd);
  }
  stream.say({ dims: { world: of(7), team: { KC: of(3000), SF: null } }, quality: "live", at: 1, age_ms: 0 });
  assert.equal(e.number.line.textContent, "3,000");
  e.disconnectedCallback();
  for (const [body, want] of [[`{"message":7}`, "This is no gateway"], [`{"message":""}`, "This is no gateway"], [`{"dims":7,"message":"no such event"}`, "No such event."], [`{"message":{"a":1}}`, "This is no gateway"]]) {
    globalThis.fetch = async () => new Response(body, { status: 400 });
    const odd = put("live-counts", { event: "final", src: src() });
    await wait(150);
    streams.at(-1).refuse();
    await wait(10);
    assert.ok(odd.note.textContent.startsWith(want), body + ": " + odd.note.textContent);
    odd.disconnectedCallback();
  }
});

onPage("what is more than a stream takes is said, and comes when there is room", async () => {
  const at = src(), names = Array.from({ length: 17 }, (_, i) => "t" + String(i).padStart(2, "0"));
  const all = names.map((n) => put("live-counts", { event: "final", src: at, segment: "team:" + n }));
  await wait(150);
  assert.equal(streams.at(-1).url.searchParams.get("segment").split(",").length, 16);
  streams.at(-1).say({ dims: { team: Object.fromEntries(names.slice(0, 16).map((n) => [n, of(7)])) }, quality: "live", at: 1, age_ms: 0 });
  assert.deepEqual([all[15].number.line.textContent, all[15].note.textContent], ["7", ""]);
  assert.deepEqual([all[16].number.line.textContent, all[16].note.textContent], ["–", "A page shows at most 16 segments of an event, and this is one more."]);
  all[0].disconnectedCallback();
  await wait(150);
  streams.at(-1).say({ dims: { team: Object.fromEntries(names.slice(1).map((n) => [n, of(8)])) }, quality: "live", at: 2, age_ms: 0 });
  assert.deepEqual([all[16].number.line.textContent, all[16].note.textContent], ["8", ""]);
  for (const e of all.slice(1)) e.disconnectedCallback();
});

onPage("a screen reader hears a number, and the next after 20 s", async () => {
  let now = 0;
  const clock = mock.method(performance, "now", () => now);
  try {
    const e = put("live-counts", { fed: "", label: "fans" });
    const hears = (at, sessions) => {
      now = at;
      e.feed({ at, age: 0, quality: "live", segments: { world: of(sessions) } });
      return e.heard.textContent;
    };
    assert.equal(hears(1_000, 3000), "3,000 fans");
    assert.equal(hears(3_000, 4000), "3,000 fans");
    assert.equal(hears(20_900, 5000), "3,000 fans");
    assert.equal(hears(21_000, 6000), "6,000 fans");
    assert.equal(hears(40_900, 7000), "6,000 fans");
    document.hidden = true;
    assert.equal(hears(41_000, 8000), "6,000 fans", "nobody is there");
    document.hidden = false;
    assert.equal(hears(43_000, 9000), "9,000 fans");
  } finally {
    document.hidden = false;
    clock.mock.restore();
  }
});

// clocked runs a test whose clock stands still but for pass(ms).
const clocked = async (run) => {
  let now = 1_000;
  const clock = mock.method(performance, "now", () => now);
  const pass = async (ms) => {
    now += ms;
    await wait(ms);
  };
  try {
    await run(pass);
  } finally {
    clock.mock.restore();
  }
};
const seconds = (e) => Number(/^(\d+) seconds? ago/.exec(e.note.textContent)?.[1] || 0);
const board = (n) => ({ dims: { world: of(n) }, quality: "live", at: 1, age_ms: 0 });

onPage("numbers grow old, whatever is asked meanwhile and whoever comes later", () =>
  clocked(async (pass) => {
    globalThis.fetch = async () => new Response("<h1>Bad gateway</h1>", { status: 502 });
    const at = src(), e = put("live-counts", { event: "final", src: at });
    await pass(150);
    streams.at(-1).say(board(3000));
    assert.deepEqual([e.number.line.textContent, e.note.textContent], ["3,000", ""]);
    let before = 0, asked = 0;
    for (let i = 0; i < 120; i++) {
      if (streams.at(-1).readyState === 1) {
        asked++;
        streams.at(-1).refuse();
      }
      if (i === 60) e.setAttribute("label", "fans");
      await pass(1000);
      assert.ok(seconds(e) >= before && e.hasAttribute("stale") === i >= 10, `after ${i + 1} s: ${e.note.textContent}`);
      before = seconds(e);
    }
    assert.ok(asked > 3, `asked ${asked} times`);
    assert.match(e.note.textContent, /^120 seconds ago · This is no gateway/);
    const later = put("live-counts", { event: "final", src: at });
    assert.deepEqual([later.number.line.textContent, later.note.textContent], ["3,000", e.note.textContent]);
    e.disconnectedCallback();
    later.disconnectedCallback();
    await pass(600_000);
    const latest = put("live-counts", { event: "final", src: at });
    assert.ok(latest.hasAttribute("stale") && seconds(latest) === 720, latest.note.textContent);
    await pass(150);
    streams.at(-1).say(board(4000));
    for (let i = 0; i < 3; i++) await pass(300); // the steps of a number that moves
    assert.deepEqual([latest.number.line.textContent, latest.note.textContent, latest.hasAttribute("stale")], ["4,000", "", false]);
    latest.disconnectedCallback();
  }));

onPage("an event that is taken away says so beside its last numbers", () =>
  clocked(async (pass) => {
    globalThis.fetch = async () => new Response(`{"message":"there is no such event"}`, { status: 404 });
    const e = put("live-counts", { event: "final", src: src() });
    await pass(150);
    streams.at(-1).say(board(3000));
    streams.at(-1).refuse();
    await pass(9_000);
    assert.equal(e.note.textContent, "");
    await pass(3_000);
    assert.deepEqual([e.number.line.textContent, e.note.textContent], ["3,000", "12 seconds ago · There is no such event."]);
    e.disconnectedCallback();
  }));

onPage("what is fed again is as old as it was", () =>
  clocked(async (pass) => {
    const e = put("live-counts", { fed: "" }), arrived = performance.now();
    const feed = () => e.feed({ at: 1, age: 500, arrived, quality: "live", segments: { world: of(3000) } });
    feed();
    await pass(20_000);
    feed();
    assert.equal(seconds(e), 21);
  }));

onPage("numbers that come old grow older each second, whatever was looked at before", () =>
  clocked(async (pass) => {
    const e = put("live-counts", { fed: "" });
    const feed = (age, quality) => e.feed({ at: 1, age, quality, segments: { world: of(3000) } });
    feed(0, "live");
    await pass(2_000);
    feed(8_000, "stale");
    for (const want of [8, 9, 10]) {
      assert.equal(seconds(e), want);
      await pass(1_000);
    }
    feed(9_500, "live");
    assert.equal(e.note.textContent, "");
    await pass(1_000);
    assert.equal(seconds(e), 11, "10.5, rounded");
  }));

onPage("a language that is none is the browser's, and a src that is no address is said", async () => {
  for (const lang of ["en_US", "en-", "", undefined, "…"]) {
    document.lang = lang;
    const e = put("live-counts", { fed: "" });
    e.feed({ at: 1, age: 0, quality: "live", segments: { world: of(3000) } });
    assert.equal(e.number.line.textContent, new Intl.NumberFormat().format(3000), lang);
  }
  document.lang = "de";
  const german = put("live-counts", { fed: "" });
  german.feed({ at: 1, age: 0, quality: "live", segments: { world: of(3000) } });
  assert.equal(german.number.line.textContent, "3.000");
  document.lang = "en";
  for (const bad of ["live.example.com", "localhost:8080", "//", "https://", "/v1"]) {
    const e = put("live-counts", { event: "final", src: bad });
    assert.equal(e.note.textContent, "src is an address: https://…", bad);
    e.setAttribute("src", src());
    assert.equal(e.note.textContent, "", bad);
    await wait(150);
    assert.equal(streams.at(-1)?.url.host, new URL(e.getAttribute("src")).host);
    e.disconnectedCallback();
  }
});

onPage("a number that is none to count with is rounded, and holds still", async () => {
  const e = put("live-counts", { fed: "" });
  const feed = (sessions) => e.feed({ at: 1, age: 0, quality: "live", segments: { world: of(sessions) } });
  for (const [n, want] of [[3.5, "4"], [10.4, "10"], [10, "10"], [0.4, "0"]]) {
    feed(n);
    for (let i = 0; i < 5; i++) await wait(300);
    assert.equal(e.number.line.textContent, want);
  }
  assert.equal(e.heard.textContent, "4 watching");
});

onPage("what is fed before an element is in the page is of its segment", async () => {
  const segments = { world: of(8200), "team:KC": of(4212), "team:SF": of(3875) };
  const early = (name, attributes) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries({ fed: "", ...attributes })) e.setAttribute(k, v);
    e.feed({ at: 1, age: 0, quality: "live", segments });
    return Object.assign(e, { isConnected: true });
  };
  const e = early("live-counts", { segment: "team:KC", label: "KC fans" });
  e.connectedCallback();
  assert.deepEqual([e.number.line.textContent, e.heard.textContent], ["4,212", "4212 KC fans"]);
  const bar = early("live-rivals", { mine: "team:KC", theirs: "team:SF" });
  bar.connectedCallback();
  assert.match(bar.heard.textContent, /^KC 4.?212, SF 3.?875$/);
});

// React, Vue and Preact set a property instead of an attribute where there is one.
onPage("no attribute of an element is a property of it", () => {
  for (const name of ["live-counts", "live-rivals", "live-top", "live-trend"]) {
    const e = put(name, { fed: "" });
    for (const attribute of e.constructor.observedAttributes) {
      if (attribute !== "lang") assert.ok(!(attribute in e), `${name}: ${attribute}`);
    }
  }
});
