// The demo page: choices and an account in, four live numbers out. It joins the
// parts; text reaches the document through textContent only.

import { Live } from "/static/live.js";
import { BlockedCard } from "/static/blocked.js";
import { Cards } from "/static/cards.js";
import { Choices } from "/static/choices.js";
import { Household } from "/static/household.js";
import { Rivals } from "/static/rivals.js";
import { SharedSession } from "/static/session.js";
import { StatusLine } from "/static/status.js";
import { identify } from "/static/who.js";
import { randomID } from "/static/storage.js";
import { write } from "/static/dom.js";

const $ = (id) => document.getElementById(id);
const ANNOUNCE_MS = 20000;
const JOIN_MS = 5000; // for an answer

const params = new URLSearchParams(location.search);
const who = identify(params);
const choices = new Choices($("choices"), {
  params,
  defaults: { event: document.querySelector('meta[name="grandstand-event"]').content, team: "KC", region: "US-CA", country: "US" },
  onChoice: chosen,
  onWrong: () => say("An event’s name is made of letters, digits, dots, dashes and underscores. Correct it above."),
});
const cards = new Cards(document.querySelector("main"));
const rivals = new Rivals($("rivals"));
const live = new Live({ url: address, onState: connection, onCounts: counts, onBlocked: blocked, onUnblocked: unblocked, onNotice: notice, probe });
const line = new StatusLine($("status"), live);
const card = new BlockedCard($("blocked"), { takeover: (codes) => live.takeover(codes), event: () => choices.event });
const household = new Household($("account"), { who, choices, onLimit: reconnect });
let shared = null; // the session of this play, with this device's other tabs
let joining = null; // the timer of a join that is not answered yet

function address(session) {
  const url = new URL(choices.path("/live"), location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("viewer", who.viewer);
  url.searchParams.set("device", who.device);
  url.searchParams.set("name", who.name);
  if (household.limit) {
    url.searchParams.set("account", who.account);
    url.searchParams.set("limit", household.limit);
  }
  for (const [name, value] of choices.segments()) url.searchParams.set(name, value);
  if (document.hidden) url.searchParams.set("interval_ms", "60000");
  if (session) url.searchParams.set("session", session);
  return url.href;
}

// probe asks the same address in plain HTTP why it refused the upgrade.
async function probe(session) {
  const url = new URL(address(session));
  url.protocol = location.protocol;
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  } catch {
    return null; // nobody is there: trying again is all there is
  }
  switch (answer.status) {
    case 400:
    case 403:
      if (session) return { fresh: true }; // of a server that has a new secret since
      return answer.status === 403 ? { code: 4503 } : null;
    case 401:
      return { code: "unauthorized" };
    case 404:
      return { code: "not_found" };
    case 429:
    case 503:
      return { retryMS: 1000 * (parseInt(answer.headers.get("Retry-After"), 10) || 5) };
    default:
      return null;
  }
}

// begin plays with what is chosen now: on with the session that this device
// has, or a new one.
async function begin() {
  shared = new SharedSession(choices.event, who.viewer, who.device, household.limit ? who.account : "");
  const mine = shared;
  const session = await mine.resume();
  if (mine !== shared) return; // something else was chosen meanwhile
  live.session = session;
  live.start();
}

// restart begins another play.
function restart() {
  if (live.running) live.stop();
  live.reset();
  card.hide();
  say("");
  line.connecting();
  if (shared) shared.forget();
  begin();
}

// reconnect goes on under another limit: with the same play, unless it is of an
// account now and was not, or the other way round.
function reconnect(before) {
  if (!before || !household.limit) restart();
  else if (live.running) live.connect();
}

function connection(s) {
  line.connection(s);
  switch (s.state) {
    case "open":
      say("");
      shared.keep(live.session);
      household.again();
      break;
    case "closed":
      card.hide();
      say(sentence(s.code, s.message));
      if (s.code === 4504) lastNumbers();
      else rivals.hide();
      break;
  }
  paint();
}

// What to do about each way in which a connection ends for good.
function sentence(code, message) {
  switch (code) {
    case "not_found":
      return `There is no event “${choices.event}”. Check its name above, or have it created first.`;
    case "unauthorized":
    case 4501:
      return "This server asks for a token, which this page does not have. Start the server with --auth none to try the page.";
    case 4503:
      return `You may not watch “${choices.event}”. Pick another event above.`;
    case 4504:
      return `“${choices.event}” is over. These are its last numbers; pick another event above to go on.`;
    default:
      return message ? `The server ended this: ${message}. Reload the page to try again.` : "The server ended this connection. Reload the page to try again.";
  }
}

// lastNumbers fetches what an event that is over ended with.
async function lastNumbers() {
  const { event } = choices;
  try {
    const answer = await fetch(choices.path("/counts"), { signal: AbortSignal.timeout(5000) });
    const board = await answer.json();
    if (!answer.ok || event !== choices.event || line.name !== "ended") return;
    rivals.take(board.dims.team);
    for (const dim of cards.dims) {
      const c = dim === "world" ? board.dims.world : (board.dims[dim] || {})[choices[dim]];
      if (c) cards.paint(dim, [c.sessions, c.fans]);
    }
  } catch {
    // The numbers that are on the screen stay.
  }
}

function counts(m) {
  line.counts(m);
  for (const dim of cards.dims) cards.paint(dim, m.n[dim]);
  rivals.ask(choices.path("/counts"), choices.team);
  paint();
}

function blocked(refusal) {
  card.show(refusal);
  household.again();
  paint();
}

function unblocked() {
  card.hide("Playing here.");
  household.again();
  paint();
}

function notice(m) {
  if (m.t === "ok" && m.re === "join") joined();
  if (m.t !== "error") return;
  if (joined()) restart(); // a dimension that cannot be changed in place
  else if (card.waiting) card.failed(m.message);
  else say(`The server could not use a message: ${m.message || m.code}. If the numbers stop, reload the page.`);
}

// joined ends the wait for the answer to a join; false if there was none.
function joined() {
  const waited = joining !== null;
  clearTimeout(joining);
  joining = null;
  return waited;
}

function chosen(changed) {
  for (const dim of cards.dims) {
    if ("event" in changed || dim in changed) cards.forget(dim);
    cards.name(dim, choices.who(dim));
  }
  household.show();
  if ("event" in changed) {
    line.forget();
    rivals.clear();
    restart();
    return;
  }
  if (changed.team) rivals.pick(changed.team);
  if (Object.keys(changed).every((dim) => choices.choosable(dim)) && live.join(changed)) {
    joined();
    joining = setTimeout(joined, JOIN_MS);
  } else {
    restart();
  }
}

function say(text) {
  write($("notice-text"), text); // once: a screen reader reads the notice whenever it is written
  $("retry").hidden = line.name !== "reconnecting";
  $("notice").hidden = text === "";
}

function paint() {
  line.paint();
  if (line.name !== "reconnecting" || live.attempt <= 1) return;
  say("The connection to the server is lost" + (line.frame ? "; the numbers are the last good ones." : ".") + " This page goes on trying by itself.");
  const left = line.retryIn();
  write($("retry"), left > 1 ? `Try now (${left} s)` : "Try now");
}

let announced = -ANNOUNCE_MS;
function announce() {
  const now = performance.now();
  if (document.hidden || live.blocked || !line.frame || now - announced < ANNOUNCE_MS) return;
  announced = now;
  $("announce").textContent = `${line.text}. Streams watching: ${cards.said()}.`;
}

$("retry").addEventListener("click", () => live.retryNow());
$("second").addEventListener("click", () => {
  const url = choices.address();
  for (const name of ["account", "device", "name", "limit"]) url.searchParams.delete(name);
  url.searchParams.set("viewer", "fan-" + randomID());
  window.open(url, "_blank", "noopener,width=480,height=900");
});
document.addEventListener("visibilitychange", () => {
  live.setHidden(document.hidden);
  household.setHidden(document.hidden);
});
window.addEventListener("online", () => {
  live.retryNow();
  household.watch.renew();
});
window.addEventListener("offline", () => live.socket && live.lost(1006, "offline"));
window.addEventListener("pagehide", () => {
  if (live.ready) shared.keep(live.session);
  if (live.running) live.stop();
  household.stop();
});
window.addEventListener("pageshow", (e) => {
  if (!e.persisted) return;
  line.connecting();
  begin();
  household.start();
});

$("me").textContent = who.viewer;
$("account-id").textContent = who.account;
choices.fill();
for (const dim of cards.dims) cards.name(dim, choices.who(dim));
live.hidden = document.hidden;
begin();
household.start();
choices.learn();
choices.listEvents($("events"));
setInterval(() => {
  if (live.ready) shared.keep(live.session);
  paint();
  announce();
}, 500);
