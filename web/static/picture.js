// The picture of the demo page: the live stream that the demo makes where there is
// ffmpeg, else a clip in a loop. Both can be played again, as a recording.

import { Stream, playable } from "/static/hls.js";

const STREAM = "/stream/live.m3u8";
const CLIP = "/static/clip.webm";

export class Picture {
  // served says whether the server makes a live stream. said gets a sentence on
  // what is played.
  constructor(video, { served, said }) {
    Object.assign(this, { video, served, said });
    this.stream = null;
    this.turn = null; // of what is to be played: the newest holds
    this.allowed = true;
  }

  // live plays what is live.
  async live() {
    const turn = this.leave();
    this.video.loop = false;
    const began = this.served && playable() && (await this.begin(false));
    if (turn !== this.turn) return;
    if (began) {
      this.said("A live HLS stream, made on this machine by ffmpeg.");
    } else if (this.served && !playable() && this.video.canPlayType("application/vnd.apple.mpegurl")) {
      this.video.src = STREAM;
      this.said("A live HLS stream, made on this machine by ffmpeg.");
    } else {
      this.clip();
      this.said(this.served ? "The live stream cannot be played now, so this is a clip in a loop." : "A clip in a loop: the server has no ffmpeg to make a live stream with.");
    }
    this.play();
  }

  // recording plays what was until now, from its beginning, and resolves with its
  // time: {from, to} in Unix ms; null if something else is to be played by then.
  async recording(now) {
    const turn = this.leave();
    let span = this.served && playable() ? await this.begin(true) : null;
    if (turn !== this.turn) return null;
    if (!span) {
      this.clip();
      if (!(this.video.duration > 0)) await new Promise((resolve) => this.video.addEventListener("loadedmetadata", resolve, { once: true }));
      if (turn !== this.turn) return null;
      span = { from: now - this.video.duration * 1000, to: now };
    }
    this.video.loop = true; // else it would end, and with it the play
    this.play();
    return span;
  }

  async begin(recorded) {
    const stream = (this.stream = new Stream(this.video, STREAM, recorded));
    try {
      return await stream.start(() => this.stream === stream && this.live());
    } catch {
      stream.stop();
      return null;
    }
  }

  clip() {
    this.video.src = CLIP;
    this.video.loop = true;
  }

  // leave ends what is played, and returns the turn of what is next.
  leave() {
    this.stream?.stop();
    this.stream = null;
    return (this.turn = {});
  }

  // allow says whether anything may be played here.
  allow(allowed) {
    if (allowed === this.allowed) return;
    this.allowed = allowed;
    if (allowed) this.play();
    else this.video.pause();
  }

  play() {
    if (this.allowed) this.video.play().catch(() => {}); // a browser may want to be asked by its user
  }
}
