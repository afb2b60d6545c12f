// The demo page: a picture, choices and an account in, live numbers out. It joins the
// parts; text reaches the document through textContent only. What talks to the
// gateway is the SDK, what shows numbers are the elements that any page may use.

import "/live-counts.js";
import { connect } from "/sdk.js";
import { BlockedCard } from "/static/blocked.js";
import { Cards, Overlay } from "/static/cards.js";
import { Choices } from "/static/choices.js";
import { Household } from "/static/household.js";
import { Messages } from "/static/messages.js";
import { Picture } from "/static/picture.js";
import { Replay } from "/static/replay.js";
import { StatusLine } from "/static/status.js";
import { Teams } from "/static/teams.js";
import { identify } from "/static/who.js";
import { randomID } from "/static/storage.js";
import { sentence, write } from "/static/dom.js";

const $ = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name="grandstand-${name}"]`).content;
const ANNOUNCE_MS = 20000;
const JOIN_MS = 5000; // for an answer
const LOST_MS = 1500; // without a connection, to be told of
const CLOCK_MS = 10 * 60_000; // that a clock may be wrong by

const params = new URLSearchParams(location.search);
const who = identify(params);
const choices = new Choices($("choices"), {
  params,
  defaults: { event: meta("event"), team: "KC", region: "US-CA", country: "US" },
  onChoice: chosen,
  onWrong: () => say("An event’s name is made of letters, digits, dots, dashes and underscores. Correct it above."),
});
const cards = new Cards(document.querySelector("main"));
const overlay = new Overlay($("player"));
const teams = new Teams();
const messages = new Messages($("messages"));
const line = new StatusLine($("status"));
const card = new BlockedCard($("blocked"), { takeover: (codes) => live.takeover(codes), event: () => choices.event });
const household = new Household($("account"), { who, choices, onLimit: relimit });
const picture = new Picture($("video"), { served: meta("pictures") === "live", said: (text) => write($("what-video"), text) });
const replay = new Replay($("video"), { feed: (counts) => overlay.feed(counts), moment: $("moment"), list: $("moments") });
let live = null; // the play, a client of the SDK
let newest = null; // counts as the elements take them
let joining = null; // the timer of a join that is not answered yet

// begin plays with what is chosen now: on with the session that this device has,
// or a new one.
function begin() {
  live = connect({
    event: choices.event, video: $("video"), segments: Object.fromEntries(choices.segments()), ...identity(),
    onState: connection, onCounts: counts, onBlocked: blocked, onUnblocked: unblocked, onError: refused, onMessage: message,
  });
}

// identity says who plays: with an account only if that has a limit.
function identity() {
  const { viewer, device, name, account } = who;
  return { viewer, device, name, ...(household.limit ? { account, limit: household.limit } : {}) };
}

// restart begins another play.
function restart() {
  live.close();
  unblocked("");
  say("");
  line.connecting();
  begin();
}

// relimit goes on under another limit: with the same play, unless it is of an
// account now and was not, or the other way round.
function relimit(before) {
  if (!before || !household.limit) return restart();
  Object.assign(live.options, identity());
  if (live.running) live.connect();
}

function connection(s) {
  line.connection(s);
  if (s.state === "open") {
    say("");
    household.again();
  }
  if (s.state === "closed") {
    unblocked("");
    say(reason(s.code, s.message));
    if (s.code === "ended") lastNumbers();
  }
  paint();
}

// What to do about each way in which a connection ends for good.
function reason(code, message) {
  switch (code) {
    case "not_found":
      return `There is no event “${choices.event}”. Check its name above, or have it created first.`;
    case "unauthorized":
      return "This server asks for a token, which this page does not have. Start the server with --auth none to try the page.";
    case "forbidden":
      return `You may not watch “${choices.event}”. ${sentence(message)} Pick another event above.`.replace("  ", " ");
    case "ended":
      return `“${choices.event}” is over. These are its last numbers; pick another event above to go on.`;
    default:
      return message ? `The server ended this: ${sentence(message)} Reload the page to try again.` : "The server ended this connection. Reload the page to try again.";
  }
}

// lastNumbers fetches what an event that is over ended with.
async function lastNumbers() {
  const { event } = choices;
  try {
    const answer = await fetch(choices.path("/counts"), { signal: AbortSignal.timeout(5000) });
    const board = await answer.json();
    if (!answer.ok || event !== choices.event || line.name !== "ended") return;
    teams.take(board);
    const segments = Object.fromEntries(cards.dims.map((dim) => [dim, dim === "world" ? board.dims.world : (board.dims[dim] || {})[choices[dim]]]));
    show({ at: board.at, age: 0, quality: "final", segments });
  } catch {
    // The numbers that are on the screen stay.
  }
}

function counts(c) {
  line.counts(c);
  show(c);
  teams.ask(choices.path("/counts"), sides);
  checkClock(c);
  paint();
}

// show feeds the elements: they ask for segments by their full names.
function show(c) {
  const own = Object.fromEntries(cards.dims.map((dim) => [segmentOf(dim), c.segments[dim]]));
  newest = { at: c.at, age: c.age, arrived: performance.now(), quality: c.quality, least: teams.least, segments: own };
  cards.paint(newest);
  feedOverlay();
}

const segmentOf = (dim) => (dim === "world" ? dim : `${dim}:${choices[dim]}`);

// feedOverlay adds what only the boards know: the other teams, the peak, and how few are too few.
function feedOverlay() {
  if (!newest || replay.on) return;
  const known = teams.segments(), mine = segmentOf("team");
  const now = newest.segments[mine];
  const own = now ? { [mine]: { ...now, peak: Math.max(known[mine]?.peak || 0, now.sessions) } } : {};
  overlay.feed({ ...newest, least: teams.least, segments: { ...known, ...newest.segments, ...own } });
}

// sides says whose side the overlay is on.
function sides() {
  overlay.of(choices.event, choices.team, teams.rival(choices.team));
  feedOverlay();
}

// checkClock tells of a clock that is wrong: no count depends on it, but a person may.
function checkClock(c) {
  const off = Date.now() - (c.at + c.age);
  const wrong = Math.abs(off) > CLOCK_MS;
  const by = Math.abs(off) > 36e5 ? `${Math.round(Math.abs(off) / 36e5)} hours` : `${Math.round(Math.abs(off) / 6e4)} minutes`;
  $("clock").hidden = !wrong;
  if (wrong) write($("clock"), `The clock of this device is ${by} ${off > 0 ? "fast" : "slow"}. The counts do not depend on it, but times on this page do: set the clock right.`);
}

function blocked(refusal) {
  card.show(refusal);
  line.blocked = true;
  picture.allow(false);
  household.again();
  paint();
}

function unblocked(said = "Playing here.") {
  card.hide(said);
  line.blocked = false;
  picture.allow(true);
  household.again();
  paint();
}

// message sees all that travels.
function message(text, from) {
  messages.add(text, from);
  if (from !== "server" || text.startsWith('{"t":"counts"')) return;
  const m = JSON.parse(text);
  if (m.tick_ms > 0) line.tickMS = m.tick_ms;
  if (m.t === "ok" && m.re === "join") joined();
}

function refused({ code, message: why }) {
  if (code === "unavailable" && line.name !== "live") return; // the line says so
  if (joined()) restart(); // a dimension that cannot be changed in place
  else if (card.waiting) card.failed(why);
  else say(`The server could not use a message: ${why || code}. If the numbers stop, reload the page.`);
}

// joined ends the wait for the answer to a join; false if there was none.
function joined() {
  const waited = joining !== null;
  clearTimeout(joining);
  joining = null;
  return waited;
}

function chosen(changed) {
  for (const dim of cards.dims) if ("event" in changed || dim in changed) cards.forget(dim);
  if ("event" in changed) {
    line.forget();
    teams.clear();
    newest = null;
  }
  name();
  household.show();
  backToLive();
  if (!("event" in changed) && Object.keys(changed).every((dim) => choices.choosable(dim)) && live.join(changed)) {
    joined();
    joining = setTimeout(joined, JOIN_MS);
  } else {
    restart();
  }
}

// name says of whom each number is.
function name() {
  for (const dim of cards.dims) cards.name(dim, choices.who(dim), choices.event, segmentOf(dim));
  sides();
}

function say(text) {
  write($("notice-text"), text); // once: a screen reader reads the notice whenever it is written
  $("retry").hidden = line.name !== "reconnecting";
  $("notice").hidden = text === "";
}

function paint() {
  line.paint();
  if (line.name !== "reconnecting" || line.lostFor() < LOST_MS) return;
  say("The connection to the server is lost" + (line.frame ? "; the numbers are the last good ones." : ".") + " This page goes on trying by itself.");
  const left = line.retryIn();
  write($("retry"), left > 1 ? `Try now (${left} s)` : "Try now");
}

let announced = -ANNOUNCE_MS;
function announce() {
  const now = performance.now();
  if (document.hidden || line.blocked || !line.frame || now - announced < ANNOUNCE_MS) return;
  announced = now;
  $("announce").textContent = `${line.text}. Streams watching: ${cards.said()}.`;
}

// playAgain replays the recording with the audience of its time.
async function playAgain() {
  if (replay.on) return backToLive();
  replay.on = true;
  write($("replay"), "Back to live");
  write($("mode"), "Replay");
  document.body.classList.add("is-replay");
  overlay.forget();
  const now = newest ? newest.at + newest.age : Date.now();
  const span = await picture.recording(now);
  if (!span) return;
  const mine = choices.team === "unknown" ? "world" : segmentOf("team"), rival = teams.rival(choices.team);
  replay.start(span, (suffix) => choices.path(suffix), [mine, ...(rival ? ["team:" + rival] : [])]);
  write($("what-video"), `The last ${Math.round((span.to - span.from) / 1000)} seconds, with the audience of that time on the picture. The numbers below are of now.`);
}

function backToLive() {
  if (!replay.on) return;
  replay.stop();
  write($("replay"), "Replay");
  write($("mode"), "Live");
  document.body.classList.remove("is-replay");
  overlay.forget();
  picture.live();
  feedOverlay();
}

$("retry").addEventListener("click", () => live.retry());
$("replay").addEventListener("click", playAgain);
$("second").addEventListener("click", () => {
  const url = choices.address();
  for (const name of ["account", "device", "name", "limit"]) url.searchParams.delete(name);
  url.searchParams.set("viewer", "fan-" + randomID());
  window.open(url, "_blank", "noopener,width=480,height=900");
});
document.addEventListener("visibilitychange", () => household.setHidden(document.hidden));
window.addEventListener("online", () => household.watch.renew());
window.addEventListener("pagehide", () => household.stop());
window.addEventListener("pageshow", (e) => e.persisted && household.start());

$("me").textContent = who.viewer;
$("account-id").textContent = who.account;
choices.fill();
name();
begin();
picture.live();
household.start();
choices.learn();
choices.listEvents($("events"));
setInterval(() => {
  paint();
  announce();
}, 500);
