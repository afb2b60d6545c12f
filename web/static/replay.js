// A recording shows the audience of its time: the event's timeline is a metadata
// track of the video, and each of its cues is the numbers of some seconds.

import { button, element } from "/static/dom.js";

const STEP_MS = 10_000;
const digits = new Intl.NumberFormat(document.documentElement.lang);
const percent = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", signDisplay: "exceptZero" });

// words says what was remarkable.
function words(m, c) {
  return m.kind === "peak" ? `The peak: ${digits.format(m.sessions)}` : `${percent.format(m.change)} in a minute`;
}

export class Replay {
  // feed gets counts as elements take them; moment is where a remark is shown,
  // list where all of them are.
  constructor(video, { feed, moment, list }) {
    Object.assign(this, { video, feed, moment, list });
    this.tracks = [];
    this.on = false;
  }

  // start lays the timelines of segments under the recording from–to of the event
  // whose address path makes. The first segment's moments are told.
  start({ from, to }, path, segments) {
    this.stop();
    this.on = true;
    this.from = from;
    this.now = {}; // counts by segment
    this.trouble = ""; // said as long as the replay lasts
    this.tracks = segments.map((segment, i) => this.track(segment, path("/timeline.vtt?" + new URLSearchParams({ segment, from: Math.round(from), to: Math.round(to), step: STEP_MS })), i === 0));
  }

  stop() {
    this.on = false;
    for (const t of this.tracks) t.remove();
    this.tracks = [];
    this.moment.hidden = this.list.hidden = true;
    this.list.replaceChildren();
  }

  track(segment, src, first) {
    const e = document.createElement("track");
    Object.assign(e, { kind: "metadata", src });
    this.video.append(e);
    e.track.mode = "hidden"; // read, and not painted
    e.addEventListener("load", () => first && this.tell(e.track));
    e.addEventListener("error", () => {
      if (!this.on || (this.trouble && !first)) return; // without the first there is nothing
      this.trouble = `The audience ${first ? "" : `of ${segment.split(":").pop()} `}at that time could not be loaded. Go back to live, then try again.`;
      this.remark("");
    });
    e.track.addEventListener("cuechange", () => this.on && this.show(segment, e.track, first));
    return e;
  }

  show(segment, track, first) {
    const cue = track.activeCues[0];
    const c = cue ? read(cue) : null;
    const before = [...track.cues].filter((q) => q.startTime <= (cue ? cue.startTime : 0)).map(read);
    const peak = Math.max(0, ...before.flatMap((q) => [q.sessions, ...q.moments.map((m) => m.sessions)]));
    this.now[segment] = c ? { sessions: c.sessions, fans: c.fans, peak } : undefined; // null would say: too few to be shown
    const at = cue ? cue.startTime : this.video.currentTime; // in a gap nothing is known, and that is shown
    this.feed({ at: this.from + at * 1000, age: 0, quality: "final", segments: { ...this.now } });
    if (!first) return;
    this.remark(c ? c.moments.map((m) => words(m, c)).join(" · ") : "");
  }

  remark(text) {
    this.moment.textContent = [text, this.trouble].filter(Boolean).join(" · ");
    this.moment.hidden = this.moment.textContent === "";
  }

  // tell lists the moments, to go to.
  tell(track) {
    const rows = [...track.cues].flatMap((cue) => {
      const c = read(cue);
      return c.moments.map((m) => {
        const s = Math.floor(cue.startTime), li = element("li");
        li.append(button("quiet", `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")} ${words(m, c)}`, () => (this.video.currentTime = cue.startTime + 0.1)));
        return li;
      });
    });
    this.list.replaceChildren(...rows.slice(0, 6));
    this.list.hidden = rows.length === 0;
    if (track.cues.length === 0) this.remark("Nobody counted then");
  }
}

// read returns what a cue says, whatever was sent.
function read(cue) {
  let m;
  try {
    m = JSON.parse(cue.text);
  } catch {
    // As below.
  }
  const count = (v) => (Number.isFinite(v) && v > 0 ? v : 0);
  const sessions = count(m?.sessions);
  const moments = (Array.isArray(m?.moments) ? m.moments : [])
    .filter((x) => x && (x.kind === "peak" || Number.isFinite(x.change)))
    .map(({ kind, change, sessions: most }) => ({ kind, change, sessions: kind === "peak" ? count(most) || sessions : 0 }));
  return { sessions, fans: count(m?.fans), moments };
}
