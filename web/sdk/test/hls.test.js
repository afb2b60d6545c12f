// The player of the demo page.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { Stream } from "../../static/hls.js";

// A live stream appends for hours, and has one signal for its end.
test("what was waited for leaves no listener behind", async () => {
  globalThis.location = new URL("https://live.example.com/");
  const stream = new Stream({}, "/live.m3u8"), buffer = new EventTarget(), { signal } = stream.stopped;
  delete globalThis.location;
  const left = () => getEventListeners(signal, "abort").length + getEventListeners(buffer, "updateend").length;
  for (let i = 0; i < 10; i++) {
    const waited = stream.event(buffer, "updateend");
    buffer.dispatchEvent(new Event("updateend"));
    await waited;
  }
  assert.equal(left(), 0);
  const waiting = stream.event(buffer, "updateend");
  stream.stop();
  await assert.rejects(waiting, { name: "AbortError" });
  assert.equal(left(), 0);
});
