import assert from "node:assert/strict";
import test from "node:test";

import { backoff } from "../src/api.js";
import { archiveOf, Decisions, treeOf } from "../src/cluster.js";
import { boundsOf, classOf } from "../src/classes.js";
import { Model } from "../src/model.js";
import { nameOf, shapeOf, valuesByShape } from "../src/places.js";
import { searchOf, viewOf } from "../src/state.js";

const at = 1_795_299_042_000;

function board(seconds, team, { epoch = 1, quality = "live" } = {}) {
  const of = (n) => ({ sessions: n, fans: n, peak: n, reach: n });
  const sum = Object.values(team).reduce((a, b) => a + b, 0);
  return { at: at + seconds * 1000, age_ms: 200, epoch, quality, dims: { world: of(sum), team: Object.fromEntries(Object.entries(team).map(([k, n]) => [k, of(n)])), "team+x": { "KC+y": of(sum) } } };
}

test("changes are over a minute, and movers leave crosses out", () => {
  const m = new Model();
  assert.equal(m.change("world"), null);
  for (let s = 0; s <= 120; s += 2) m.take(board(s, { KC: 100 + s, SF: 300 - s, NO: 5 }), s * 1000);
  assert.deepEqual(m.change("team:KC"), { by: 60, over: 60_000 });
  assert.deepEqual(m.movers(5).up, [{ segment: "team:KC", by: 60 }]);
  assert.deepEqual(m.movers(5).down, [{ segment: "team:SF", by: -60 }]);
  m.take(board(122, { KC: 220 }), 0);
  assert.deepEqual(m.movers(5).down.map((x) => x.segment), ["team:SF", "team:NO"], "who is gone has moved");
  assert.ok(m.samples.length < 20);
});

test("another epoch begins anew, and what is no board changes nothing", () => {
  const m = new Model();
  m.take(board(0, { KC: 1 }), 0);
  m.take(board(2, { KC: 9 }), 0);
  for (const bad of [null, 7, "x", {}, { dims: {} }, { dims: { world: {} } }]) assert.equal(m.take(bad, 0), false);
  assert.equal(m.world.sessions, 9);
  m.take(board(-100, { KC: 4 }, { epoch: 2 }), 0);
  assert.equal(m.change("world"), null);
});

test("a segment that is folded for the public has no count", () => {
  const m = new Model();
  const b = board(0, { KC: 1 });
  b.dims.team.SF = null;
  m.take(b, 0);
  assert.equal(m.count("team:SF"), undefined);
});

test("a dimension that is none costs no other", () => {
  const m = new Model();
  for (const odd of [null, 7, "KC", [null], { KC: 7 }, undefined]) {
    const b = board(0, { KC: 1 });
    assert.equal(m.take({ ...b, dims: { odd, ...b.dims } }, 0), true);
    assert.equal(m.count("team:KC").sessions, 1);
    assert.equal([...(m.dims.get("odd") ?? [])].length, 0);
  }
});

test("classes of the map are round numbers that hold still", () => {
  assert.deepEqual(boundsOf(0), []);
  assert.deepEqual(boundsOf(1), []);
  assert.deepEqual(boundsOf(7), [2, 5]);
  assert.deepEqual(boundsOf(3_300_000), [50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000]);
  assert.deepEqual(boundsOf(3_300_000), boundsOf(4_900_000));
  assert.equal(classOf(3_300_000, boundsOf(3_300_000)), 6);
  assert.equal(classOf(1, boundsOf(3_300_000)), 0);
  assert.equal(classOf(1, boundsOf(1)), 6);
});

test("views are links, and odd links are views", () => {
  const v = { event: "final 2026", segment: "team+region:KC+US-CA", range: "24h", map: "country", dim: "team+region" };
  assert.deepEqual(viewOf(searchOf(v)), v);
  assert.equal(searchOf(viewOf("")), "");
  for (const range of ["<script>", "toString", "__proto__", ""]) {
    assert.deepEqual(viewOf(`?range=${range}&map=moon`), { event: "", segment: "world", range: "1h", map: "region", dim: "" });
  }
});

test("places have names and shapes", () => {
  assert.equal(nameOf("region", "US-CA"), "California");
  assert.equal(nameOf("region", "DE-BY"), "DE-BY");
  assert.equal(nameOf("country", "DE"), "Germany");
  assert.equal(nameOf("country", "<b>"), "<b>");
  assert.equal(nameOf("team+region", "KC+US-MO"), "KC · Missouri");
  assert.equal(nameOf("team", "unknown"), "Unknown");
  assert.equal(shapeOf("region", "US-CA"), "06");
  assert.equal(shapeOf("country", "SG"), "");
  assert.equal(valuesByShape("region").size, 51);
});

const gateway = (id, peer, parent, more = {}) => ({ id, role: "gateway", peer, alive: true, joined_at: 1, seen_at: at, status: { tree: { relay: !parent, depth: parent ? 1 : 0, parent, hop_ms: 2 } }, ...more });

test("the tree has each gateway once, whatever members say", () => {
  const relay = gateway("r", "10.0.0.1:1");
  const pinned = gateway("p", "10.0.0.3:1", "ws://10.0.0.2:1/");
  const child = gateway("c", "10.0.0.2:1", "10.0.0.1:1");
  const shape = (members) => treeOf(members).map((n) => `${n.member.id}${n.level}`);
  assert.deepEqual(shape([pinned, child, relay]), ["r0", "c1", "p2"]);
  const a = gateway("a", "1:1", "2:2");
  const b = gateway("b", "2:2", "1:1");
  assert.deepEqual(shape([a, b, gateway("self", "3:3", "3:3")]).sort(), ["a0", "b0", "self0"]);
  assert.deepEqual(shape([gateway("lone", "1:1", "9.9.9.9:9")]), ["lone0"]);
  assert.deepEqual(shape([{ id: "old", role: "gateway", alive: true }, { id: "x", role: "aggregator", alive: true }]), ["old0"]);
});

test("decisions are those of a minute; a member that is new began at zero", () => {
  const d = new Decisions();
  const say = (seconds, of) => d.take({ now: at + seconds * 1000, members: Object.entries(of).map(([id, blocked]) => ({ ...gateway(id), status: { rules: [{ rule: "plan", waiting: 3, granted: 0, blocked, would_block: 0 }] } })) });
  assert.equal(say(0, { a: 100 }).rules[0].blocked, 0);
  assert.equal(say(30, { a: 110 }).rules[0].blocked, 10);
  assert.equal(say(60, { a: 120, b: 5 }).rules[0].blocked, 25);
  assert.equal(say(90, { a: 120, b: 5 }).rules[0].blocked, 15);
  assert.equal(say(90, { a: 120, b: 5 }).rules[0].waiting, 6);
});

test("the archive is as far behind as its last archiver", () => {
  const of = (status) => ({ ...gateway("x"), status });
  const c = { now: at, members: [of({ archive: { lag_ms: 10, pending: 1 } }), of({ archive: { lag_ms: 900, pending: 2 }, journal: { bytes: 7, files: 1 } }), of(undefined), { ...of({ archive: { lag_ms: 9e9, pending: 1 } }), alive: false }] };
  assert.deepEqual(archiveOf(c), { lag: 900, pending: 3, bytes: 7, files: 1, archivers: 2, journals: 1 });
});

test("waits have full jitter and a cap", () => {
  assert.equal(backoff(0, () => 0), 300);
  assert.equal(backoff(3, () => 1), 8300);
  assert.equal(backoff(99, () => 1), 20_300);
});
