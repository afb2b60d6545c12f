// Compiled by package.test.js, as a page's own code would be: what is wrong in it is found, and nothing else.

import { connect, type Counts } from "grandstand-sdk";
import "grandstand-sdk/elements";

const number = document.createElement("live-counts"), trend = document.querySelector("live-trend");
connect({ event: "final", segments: { team: "KC" }, onCounts: (c: Counts) => number.feed(c) });
trend?.feed({ at: 1, age: 0, quality: "live", least: 10, segments: { world: { sessions: 2, fans: 2 }, team: null } });
document.createElement("live-rivals").setAttribute("mine", "team:KC");
document.createElement("live-top").feed({ at: 1, age: 0, quality: "stale", segments: {} });
// @ts-expect-error
number.feed({ world: 7 });
// @ts-expect-error
document.createElement("live-count").feed;
// @ts-expect-error
connect({ evnt: "final" });
