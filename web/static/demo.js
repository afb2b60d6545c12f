// The demo page: choices in, four live numbers out. Text reaches the document
// through textContent only.

import { Live } from "/static/live.js";
import { Ticker, Spark, flash, format } from "/static/chart.js";
import { STATES, COUNTRIES, teams, teamName } from "/static/places.js";
import { Rivals } from "/static/rivals.js";

const $ = (id) => document.getElementById(id);
const VALUE = /^[A-Za-z0-9._-]{1,64}$/;
const CHOICES = ["event", "team", "region", "country"];
const ANNOUNCE_MS = 20000;

const params = new URLSearchParams(location.search);
const defaults = { event: document.querySelector('meta[name="grandstand-event"]').content, team: "KC", region: "US-CA", country: "US" };
const chosen = {};
for (const name of CHOICES) {
  const given = params.get(name);
  chosen[name] = given !== null && VALUE.test(given) ? given : defaults[name];
}
if (chosen.country !== "US" && !params.has("region")) chosen.region = "unknown";

const viewer = viewerID();
const state = { name: "connecting", retryAt: 0, message: "", frame: null, gotAt: 0, dims: null };
const cards = {};
for (const el of document.querySelectorAll("[data-count]")) {
  const part = (name) => el.querySelector("." + name);
  cards[el.dataset.count] = {
    el, who: part("who"), unit: part("unit"), delta: part("delta"), ticker: new Ticker(part("number")),
    fans: new Ticker(part("fans"), (n) => (n === null ? "" : `≈ ${format(n)} ${n === 1 ? "fan" : "fans"}`)), spark: new Spark(part("spark")), last: null,
  };
}
const rivals = new Rivals($("rivals"));
let config = null; // the event as GET /v1/events/{event} tells it, if it does

const live = new Live({
  url: address,
  onState: connection,
  onCounts: counts,
  onNotice: notice,
  probe,
});

// viewerID returns who this tab is: the URL's viewer, else one made up for the
// life of the tab.
function viewerID() {
  const given = params.get("viewer");
  if (given && VALUE.test(given)) return given;
  let id = null;
  try {
    id = sessionStorage.getItem("viewer");
  } catch {
    // Storage can be switched off: another fan at each load then.
  }
  if (!id) {
    id = "fan-" + randomID();
    try {
      sessionStorage.setItem("viewer", id);
    } catch {
      // As above.
    }
  }
  return id;
}

function randomID() {
  return Array.from(crypto.getRandomValues(new Uint8Array(6)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function eventPath(suffix = "") {
  return `/v1/events/${encodeURIComponent(chosen.event)}${suffix}`;
}

function address(session) {
  const url = new URL(eventPath("/live"), location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("viewer", viewer);
  url.searchParams.set("device", "tab-" + viewer);
  for (const name of ["country", "region", "team"]) if (chosen[name] !== "unknown") url.searchParams.set(name, chosen[name]);
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

// What to do about each way in which a connection ends for good.
function sentence(code, message) {
  switch (code) {
    case "not_found":
      return `There is no event “${chosen.event}”. Check its name above, or have it created first.`;
    case "unauthorized":
    case 4501:
      return "This server asks for a token, which this page does not have. Start the server with --auth none to try the page.";
    case 4503:
      return `You may not watch “${chosen.event}”. Pick another event above.`;
    case 4504:
      return `“${chosen.event}” is over. These are its last numbers; pick another event above to go on.`;
    default:
      return message ? `The server ended this: ${message}. Reload the page to try again.` : "The server ended this connection. Reload the page to try again.";
  }
}

function connection(s) {
  state.retryAt = s.retryAt || 0;
  switch (s.state) {
    case "connecting":
      state.name = state.frame ? "reconnecting" : "connecting";
      break;
    case "open":
      state.name = "live";
      state.openAt = performance.now();
      say("");
      break;
    case "waiting":
      state.name = "reconnecting";
      break;
    case "closed":
      state.name = s.code === 4504 ? "ended" : "error";
      say(sentence(s.code, s.message));
      if (s.code === 4504) lastNumbers();
      else rivals.clear();
      break;
  }
  paintStatus();
}

// lastNumbers fetches what an event that is over ended with.
async function lastNumbers() {
  const event = chosen.event;
  try {
    const answer = await fetch(eventPath("/counts"), { signal: AbortSignal.timeout(5000) });
    const board = await answer.json();
    if (!answer.ok || event !== chosen.event || state.name !== "ended") return;
    rivals.take(board.dims.team);
    for (const dim of Object.keys(cards)) {
      const c = dim === "world" ? board.dims.world : (board.dims[dim] || {})[chosen[dim]];
      if (c) paintCount(dim, [c.sessions, c.fans]);
    }
  } catch {
    // The numbers that are on the screen stay.
  }
}

function counts(m) {
  state.frame = m;
  state.gotAt = performance.now() - Math.max(0, Number(m.age) || 0);
  for (const dim of Object.keys(cards)) paintCount(dim, m.n[dim]);
  rivals.ask(eventPath("/counts"), chosen.team);
  paintStatus();
}

function notice(m) {
  switch (m.t) {
    case "blocked":
      say(`${m.message || "This account plays on too many devices."} Close one of the others; this page goes on by itself.`);
      break;
    case "unblocked":
      say("");
      break;
    case "ok":
      if (m.re === "join") pendingJoin = false;
      break;
    case "error":
      if (pendingJoin) {
        pendingJoin = false;
        restart(); // a dimension that cannot be changed in place
      } else {
        say(`The server could not use a message: ${m.message || m.code}. If the numbers stop, reload the page.`);
      }
      break;
  }
}

function say(text) {
  // Said once: a screen reader reads the notice whenever it is written.
  if ($("notice-text").textContent !== text) $("notice-text").textContent = text;
  $("retry").hidden = state.name !== "reconnecting";
  $("notice").hidden = text === "";
}

function seconds(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return s.toFixed(1) + "\u00a0s"; // not to be torn apart
  return s < 120 ? Math.round(s) + "\u00a0s" : Math.round(s / 60) + "\u00a0min";
}

// paintStatus says in plain words how far the numbers can be trusted.
function paintStatus() {
  const now = performance.now();
  const { frame } = state;
  const age = frame ? now - state.gotAt : 0;
  let name = state.name;
  let text;
  switch (name) {
    case "connecting":
      text = "connecting…";
      break;
    case "live":
      if (!frame) {
        text = now - state.openAt > 5000 ? "connected, waiting for the first numbers" : "connected…";
        name = "connecting";
      } else if (frame.q === "stale") {
        name = "stale";
        text = `last good number, ${seconds(age)} old`;
      } else if (frame.q === "final") {
        name = "ended";
        text = "the event is over";
      } else if (age > 3 * live.tickMS + 1000) {
        text = `live, no change for ${seconds(age)}`;
      } else {
        text = `live, ${seconds(age)} old` + (frame.q === "partial" ? ", some of it late" : "");
      }
      break;
    case "reconnecting":
      text = "reconnecting…" + (frame ? ` last good number, ${seconds(age)} old` : "");
      break;
    case "ended":
      text = "the event is over";
      break;
    default:
      text = "not connected";
  }
  const el = $("status");
  el.dataset.state = name;
  el.dataset.quality = frame ? frame.q || "live" : "";
  document.body.dataset.state = name;
  if ($("status-text").textContent !== text) $("status-text").textContent = text;
  if (name === "reconnecting" && live.attempt > 1) {
    say("The connection to the server is lost" + (frame ? "; the numbers are the last good ones." : ".") + " This page goes on trying by itself.");
    const left = Math.ceil((state.retryAt - now) / 1000);
    $("retry").textContent = left > 1 ? `Try now (${left} s)` : "Try now";
  }
}

// paintCount shows [sessions, fans]; null is a segment too small to be shown,
// and undefined one that the event does not count.
function paintCount(dim, count) {
  const card = cards[dim];
  if (!Array.isArray(count)) {
    delete card.el.dataset.sessions;
    delete card.el.dataset.fans;
    card.last = null;
    card.ticker.set(null);
    card.unit.textContent = count === null ? "too few to show without pointing at somebody" : "not counted in this event";
    card.fans.set(null);
    return;
  }
  const [sessions, fans] = count;
  card.el.dataset.sessions = sessions;
  card.el.dataset.fans = fans;
  card.ticker.set(sessions);
  card.unit.textContent = sessions === 1 ? "stream watching" : "streams watching";
  card.fans.set(fans);
  if (card.last !== null) flash(card.delta, sessions - card.last);
  card.last = sessions;
  card.spark.add(sessions);
}

function forget(dim) {
  const card = cards[dim];
  card.spark.clear();
  card.last = null;
  card.ticker.set(null);
  card.fans.set(null);
  card.unit.textContent = "streams watching";
  delete card.el.dataset.sessions;
  delete card.el.dataset.fans;
}

function names() {
  const label = (list, value, none) => (value === "unknown" ? none : (list.find(([v]) => v === value) || [value, value])[1]);
  cards.region.who.textContent = label(STATES, chosen.region, "not given");
  cards.team.who.textContent = chosen.team === "unknown" ? "none" : teamName(chosen.team);
  cards.country.who.textContent = label(COUNTRIES, chosen.country, "not given");
}

function fill(select, list, value, none) {
  const options = [...list];
  if (value !== "unknown" && !options.some(([v]) => v === value)) options.unshift([value, value]);
  options.push(["unknown", none]);
  select.replaceChildren(
    ...options.map(([v, name]) => {
      const o = document.createElement("option");
      o.value = v;
      o.textContent = name;
      o.selected = v === value;
      return o;
    }),
  );
}

// values returns what the event admits in a dimension; [] if that is open.
function values(dim) {
  const d = config && Array.isArray(config.dims) && config.dims.find((d) => d.name === dim);
  return d && Array.isArray(d.values) ? d.values.filter((v) => typeof v === "string" && VALUE.test(v)) : [];
}

function fillChoices() {
  $("event").value = chosen.event;
  fill($("team"), teams(values("team")), chosen.team, "no team");
  const only = values("region");
  fill($("region"), only.length ? STATES.filter(([v]) => only.includes(v)).concat(only.filter((v) => !STATES.some(([s]) => s === v)).map((v) => [v, v])) : STATES, chosen.region, "no state");
  fill($("country"), COUNTRIES, chosen.country, "no country");
  names();
}

// learn fetches what the event is made of; the page works without it.
async function learn() {
  const event = chosen.event;
  try {
    const answer = await fetch(eventPath(), { signal: AbortSignal.timeout(5000) });
    const body = answer.ok ? await answer.json() : null;
    if (event !== chosen.event) return;
    config = body;
    const own = values("team");
    if (own.length && !params.has("team") && !own.includes(chosen.team)) choose("team", own[0]);
    fillChoices();
  } catch {
    // An event that its first viewer creates is not there yet.
  }
}

async function listEvents() {
  try {
    const answer = await fetch("/v1/events", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) return;
    const list = await answer.json();
    $("events").replaceChildren(
      ...list.filter((e) => e && VALUE.test(e.event)).slice(0, 200).map((e) => {
        const o = document.createElement("option");
        o.value = e.event;
        return o;
      }),
    );
  } catch {
    // The name can be typed.
  }
}

// restart begins another play with what is chosen now.
function restart() {
  if (live.running) live.stop();
  live.reset();
  say("");
  state.name = "connecting";
  live.start();
}

let pendingJoin = false;

function choose(name, value) {
  if (chosen[name] === value) return;
  const seg = { [name]: value };
  if (name === "country" && (value === "US") !== chosen.region.startsWith("US-")) seg.region = value === "US" ? defaults.region : "unknown";
  Object.assign(chosen, seg);
  remember();
  if (name === "event") {
    state.frame = null;
    config = null;
    for (const dim of Object.keys(cards)) forget(dim);
    rivals.clear();
    learn();
    names();
    restart();
    return;
  }
  for (const dim of Object.keys(seg)) forget(dim);
  if (name === "team") rivals.pick(value);
  fillChoices();
  if (Object.keys(seg).every(choosable) && live.join(seg)) {
    pendingJoin = true;
    setTimeout(() => (pendingJoin = false), 5000);
  } else {
    restart();
  }
}

// choosable says whether the event lets its viewers change a dimension in
// place. Of an event that was not there yet it is known by default.
function choosable(dim) {
  const d = config && Array.isArray(config.dims) && config.dims.find((d) => d.name === dim);
  return config ? Boolean(d && d.choose) : dim === "team";
}

// remember keeps the choices in the URL, so that a reload or a link has them.
function remember() {
  const url = new URL(location.href);
  for (const name of CHOICES) url.searchParams.set(name, chosen[name]);
  history.replaceState(null, "", url);
}

let announced = -ANNOUNCE_MS;
function announce() {
  const now = performance.now();
  if (document.hidden || !state.frame || now - announced < ANNOUNCE_MS) return;
  announced = now;
  const said = ["region", "team", "country", "world"]
    .filter((dim) => cards[dim].last !== null)
    .map((dim) => `${dim === "world" ? "the world" : cards[dim].who.textContent}: ${format(cards[dim].last)}`);
  $("announce").textContent = `${$("status-text").textContent}. Streams watching: ${said.join(", ")}.`;
}

$("choices").addEventListener("submit", (e) => e.preventDefault());
$("choices").addEventListener("change", (e) => {
  const { name, value } = e.target;
  if (!VALUE.test(value)) {
    e.target.setAttribute("aria-invalid", "true");
    say("An event’s name is made of letters, digits, dots, dashes and underscores. Correct it above.");
    return;
  }
  e.target.removeAttribute("aria-invalid");
  choose(name, value);
});
$("retry").addEventListener("click", () => live.retryNow());
$("second").addEventListener("click", () => {
  const url = new URL(location.href);
  for (const name of CHOICES) url.searchParams.set(name, chosen[name]);
  url.searchParams.set("viewer", "fan-" + randomID());
  window.open(url, "_blank", "noopener,width=480,height=900");
});
document.addEventListener("visibilitychange", () => live.setHidden(document.hidden));
window.addEventListener("online", () => live.retryNow());
window.addEventListener("offline", () => live.socket && live.lost(1006, "offline"));
window.addEventListener("pagehide", () => live.running && live.stop());
window.addEventListener("pageshow", (e) => e.persisted && restart());

$("me").textContent = viewer;
fillChoices();
live.hidden = document.hidden;
live.start();
learn();
listEvents();
setInterval(() => {
  paintStatus();
  announce();
}, 500);
