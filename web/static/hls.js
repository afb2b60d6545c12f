// A small player of one HLS stream (RFC 8216) of fragmented MP4, live or as a
// recording, over Media Source Extensions: that much every browser has but old
// iPhones, which play HLS themselves.

const TYPE = 'video/mp4; codecs="avc1.42c01e, mp4a.40.2"'; // what web/pitch makes
const BEHIND = 3; // segments behind the end to begin with
const AHEAD_S = 20; // to load
const LATE_S = 12; // behind what is loaded: then it jumps
const KEEP_S = 60; // that was played
const POLL_MS = 1000;
const TRIES = 5; // that fail, one after the other

const Source = globalThis.ManagedMediaSource || globalThis.MediaSource;

// playable says whether this browser can play the stream.
export const playable = () => Boolean(Source?.isTypeSupported(TYPE));

// parsePlaylist returns {init, first, segments: [{uri, seconds}], from}: first is
// the number of the first segment, from its time in Unix ms.
export function parsePlaylist(text) {
  const list = { init: "", first: 0, segments: [], from: 0 };
  let seconds = 0;
  for (const line of text.split(/\r?\n/)) {
    const [, tag, value] = /^#EXT-?X?-?([A-Z-]+):(.*)$/.exec(line) || [];
    if (tag === "MAP") list.init = /URI="([^"]*)"/.exec(value)?.[1] || "";
    else if (tag === "MEDIA-SEQUENCE") list.first = parseInt(value, 10) || 0;
    else if (tag === "INF") seconds = parseFloat(value) || 0;
    else if (tag === "PROGRAM-DATE-TIME") list.from ||= Date.parse(value.replace(/([+-]\d\d)(\d\d)$/, "$1:$2")) || 0;
    else if (line && !line.startsWith("#")) list.segments.push({ uri: line, seconds });
  }
  return list;
}

export class Stream {
  // recorded plays all that there is, from the beginning, in place of what is live.
  constructor(video, url, recorded = false) {
    Object.assign(this, { video, url: new URL(url, location.href), recorded });
    this.stopped = new AbortController();
  }

  stop() {
    this.stopped.abort();
    if (this.object) URL.revokeObjectURL(this.object);
  }

  // start resolves with {from, to} in Unix ms once it plays, and rejects if it
  // cannot. failed is called when it ends without being stopped.
  async start(failed) {
    const list = await this.list();
    if (!list.init || list.segments.length === 0) throw new Error("there is no picture yet");
    const source = (this.source = new Source());
    this.video.disableRemotePlayback = true; // Safari wants it said
    this.object = URL.createObjectURL(source);
    this.video.src = this.object;
    await this.event(source, "sourceopen");
    this.buffer = source.addSourceBuffer(TYPE);
    this.buffer.mode = "sequence"; // from 0 on, whatever the stream's own clock says
    const seconds = list.segments.reduce((sum, s) => sum + s.seconds, 0);
    if (this.recorded) source.duration = seconds;
    this.next = this.recorded ? list.first : Math.max(list.first, list.first + list.segments.length - BEHIND);
    await this.append(list.init);
    this.follow(list).catch((err) => this.stopped.signal.aborted || failed(err));
    return { from: list.from, to: list.from + seconds * 1000 };
  }

  async follow(list) {
    for (let tries = 0; ; ) {
      try {
        await this.load(list);
        if (this.recorded && this.next >= list.first + list.segments.length) {
          this.source.endOfStream();
          return;
        }
        await this.pause(POLL_MS);
        if (!this.recorded) list = await this.list();
        tries = 0;
      } catch (err) {
        if (this.stopped.signal.aborted || ++tries === TRIES) throw err;
        await this.pause(POLL_MS);
      }
    }
  }

  // load appends what is there, as far as it is wanted.
  async load(list) {
    const { video, buffer } = this;
    const end = () => (buffer.buffered.length ? buffer.buffered.end(buffer.buffered.length - 1) : 0);
    this.next = Math.max(this.next, list.first); // it was paused for longer than a segment is kept
    while (this.next < list.first + list.segments.length && end() - video.currentTime < AHEAD_S) {
      await this.append(list.segments[this.next - list.first].uri);
      this.next++;
    }
    if (this.recorded) return;
    if (!video.paused && end() - video.currentTime > LATE_S) video.currentTime = end() - 4;
    if (buffer.buffered.length && buffer.buffered.start(0) < video.currentTime - 2 * KEEP_S) {
      buffer.remove(0, video.currentTime - KEEP_S);
      await this.event(buffer, "updateend");
    }
  }

  async list() {
    return parsePlaylist(await (await this.get(this.url)).text());
  }

  async append(uri) {
    const body = await (await this.get(new URL(uri, this.url))).arrayBuffer();
    this.buffer.appendBuffer(body);
    await this.event(this.buffer, "updateend");
  }

  async get(url) {
    const answer = await fetch(url, { cache: "no-store", signal: this.stopped.signal });
    if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
    return answer;
  }

  // event waits for one of a target, or for the end.
  event(target, name) {
    const { signal } = this.stopped;
    return new Promise((resolve, reject) => {
      const end = (e) => {
        target.removeEventListener(name, end);
        signal.removeEventListener("abort", end); // there is one for as long as the stream plays
        if (e.type === name) resolve();
        else reject(signal.reason);
      };
      target.addEventListener(name, end);
      signal.addEventListener("abort", end);
    });
  }

  pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}
