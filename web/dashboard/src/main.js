// The dashboard: what the operator of a live event looks at. A stream of boards
// and a poll of the members go in; everything is drawn once per frame at most.

import { get, getEvents, Problem, setToken, Stream, token } from "./api.js";
import { Chart, showSegment } from "./chart.js";
import { byId, choice, element, hide, mark, write } from "./dom.js";
import { advice, showFreshness, showHeadline } from "./headline.js";
import { PlaceMap } from "./map.js";
import { Members } from "./members.js";
import { Model } from "./model.js";
import { Movers, Segments } from "./segments.js";
import { searchOf, viewOf } from "./state.js";
import { startTheme } from "./theme.js";

const CLUSTER_MS = 2_000;
const CLUSTER_LOST_MS = 5_000;
const AGE_MS = 1_000; // between two looks at how old the numbers are
const EVENTS_MS = 20_000; // between two looks at which events there are

const model = new Model();
const chart = new Chart();
const map = new PlaceMap(pick);
const segments = new Segments(pick, (dim) => go({ dim }));
const movers = new Movers(pick);
const members = new Members();

let view = viewOf();
/** @type {Stream | undefined} */
let stream;
/** @type {import("./headline.js").Link} */
let link = { state: "connecting", retryAt: 0 };
let trouble = ""; // why there is nothing to be shown, a sentence
let drawing = 0; // a frame that is asked for
let fresh = false; // there is a board that was not drawn
let polling = 0; // a timer
let started = false; // the operator is welcome, and the events are known
let eventsAt = -Infinity; // when they were read, of performance.now()
let listed = ""; // the choices of events

const showRange = choice(byId("range"), (range) => go({ range }));
const showMap = choice(byId("map-of"), (value) => go({ map: value }));

/** Another view, and its link. @param {Partial<import("./state.js").View>} change */
function go(change) {
  const before = view;
  view = { ...view, ...change };
  history.pushState(null, "", location.pathname + searchOf(view));
  arrive(before);
}

/** A segment that is picked again is let go. @param {string} segment */
function pick(segment) {
  go({ segment: segment === view.segment ? "world" : segment });
}

/** Shows what the view says. @param {import("./state.js").View} before */
function arrive(before) {
  if (view.event !== before.event) {
    model.clear();
    movers.reset();
    stream?.stop();
    stream = undefined;
    trouble = "";
    if (started) follow();
  }
  settle();
}

function settle() {
  showRange(view.range);
  showMap(view.map);
  showSegment(byId("segment"), view.segment, () => pick("world"));
  /** @type {HTMLSelectElement} */ (byId("event")).value = view.event;
  document.title = view.event ? `${view.event} · Grandstand` : "Grandstand";
  if (view.event) chart.show(view.event, view.segment, view.range);
  map.show(view.map);
  fresh = model.at > 0;
  draw();
}

function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    const now = performance.now();
    if (fresh) {
      fresh = false;
      showHeadline(model);
      chart.take(model, now);
      map.update(model, view.segment, now);
      segments.update(model, view.dim, view.segment, now);
      movers.update(model, view.segment, now);
    }
    showFreshness(model, link, now);
    const words = trouble || advice(model, link, now);
    write(byId("notice-text"), words);
    hide(byId("notice"), !words);
    hide(byId("retry"), link.state !== "lost");
    hide(byId("board"), !started);
    mark(byId("board"), "audience", view.event && (model.at || !trouble) ? "shown" : "hidden");
  });
}

/** Follows the event of the view. */
function follow() {
  if (!view.event) return;
  link = { state: "connecting", retryAt: 0 };
  const mine = new Stream(view.event, {
    open() {
      link = { state: "open", retryAt: 0, openAt: performance.now() };
      trouble = "";
      draw();
    },
    board(m) {
      if (stream !== mine || !model.take(m, performance.now())) return;
      if (model.quality === "final") mine.stop();
      fresh = true;
      draw();
    },
    lost(problem, retryAt) {
      link = { state: problem.status >= 400 && problem.status < 500 ? "refused" : "lost", retryAt };
      if (problem.status === 401 || problem.status === 403) askForToken(problem);
      else if (problem.status === 404) trouble = `There is no event “${view.event}” here. Choose one above, or create it with PUT /v1/events/${view.event}.`;
      else if (problem.status) trouble = sentenceOf(problem);
      draw();
    },
  });
  stream = mine;
}

/** Reads the events; follows the one of the view, else the first that is live. */
async function readEvents() {
  const events = await getEvents();
  if (!started) trouble = "";
  started = true;
  const order = ["live", "scheduled", "ended"];
  events.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  if (!view.event && events.length) {
    view = { ...view, event: events[0].event };
    history.replaceState(null, "", location.pathname + searchOf(view));
  }
  if (view.event && !events.some((e) => e.event === view.event)) events.unshift({ event: view.event, state: "live" });
  const list = JSON.stringify(events.map((e) => [e.event, e.state]));
  if (list !== listed) {
    listed = list;
    byId("event").replaceChildren(...events.map((e) => new Option(e.state === "live" ? e.event : `${e.event} (${e.state})`, e.event)));
  }
  hide(byId("no-events"), Boolean(view.event));
  if (!stream) follow();
  settle();
}

/** Reads the members again and again, while somebody looks. */
async function poll() {
  clearTimeout(polling);
  polling = 0;
  if (document.hidden) return; // the page comes back to it when it is shown
  let wait = CLUSTER_MS;
  try {
    const c = await get("/v1/cluster");
    gate(false);
    hide(byId("forget"), !token());
    members.show(c);
    welcome();
  } catch (e) {
    wait = CLUSTER_LOST_MS;
    if (refused(e)) return;
    const status = e instanceof Problem ? e.status : 0;
    members.fail(status === 404 ? "This server does not tell of its members: it is older than this page, or no gateway." : "The members are not known just now; this is tried again by itself.");
    if (status === 404) welcome();
  }
  if (!polling) polling = window.setTimeout(poll, wait);
}

/** Reads the events if it is time to. */
function welcome() {
  const now = performance.now();
  if (view.event && now - eventsAt < EVENTS_MS) return;
  eventsAt = now;
  readEvents().catch((e) => {
    eventsAt = -Infinity;
    refused(e);
  });
}

/** @param {unknown} e @returns {boolean} whether a token is asked for now */
function refused(e) {
  const p = e instanceof Problem ? e : new Problem(0, String(e));
  if (p.status === 401 || p.status === 403) {
    askForToken(p);
    return true;
  }
  if (!started) {
    const said = p.status > 0 && p.status < 500;
    link = { state: said ? "refused" : "lost", retryAt: performance.now() + CLUSTER_LOST_MS };
    trouble = said ? sentenceOf(p) : "";
  }
  draw();
  return false;
}

/** @param {Problem} p of somebody who answered */
const sentenceOf = (p) => (p.status === 200 ? p.message : `The server says: ${p.message}.`);

/** @param {boolean} closed a token is asked for */
function gate(closed) {
  hide(byId("gate"), !closed);
  mark(document.body, "gate", closed ? "closed" : "open");
}

/** @param {Problem} p */
function askForToken(p) {
  stream?.stop();
  stream = undefined;
  started = false;
  eventsAt = -Infinity;
  clearTimeout(polling);
  polling = 0;
  link = { state: "refused", retryAt: 0 };
  const words = p.status === 403 ? "That token is good, but not an operator's: it needs the scope “admin”." : token() ? `That token was refused: ${p.message}.` : "";
  write(byId("gate-wrong"), words);
  hide(byId("gate-wrong"), !words);
  gate(true);
  hide(byId("forget"), true);
  trouble = "";
  model.clear();
  byId("token").focus();
  draw();
}

byId("gate-form").addEventListener("submit", (e) => {
  e.preventDefault();
  const input = /** @type {HTMLInputElement} */ (byId("token"));
  setToken(input.value.trim().replace(/^Bearer\s+/i, ""));
  input.value = "";
  poll();
});
byId("forget").addEventListener("click", () => {
  setToken("");
  location.reload();
});
byId("retry").addEventListener("click", () => {
  stream?.retry();
  poll();
});
byId("event").addEventListener("change", (e) => go({ event: /** @type {HTMLSelectElement} */ (e.target).value, segment: "world", dim: "" }));
addEventListener("popstate", () => {
  const before = view;
  view = viewOf();
  arrive(before);
});
addEventListener("online", () => stream?.retry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !polling && byId("gate").hidden) poll();
});
setInterval(draw, AGE_MS);

const swatches = byId("map-legend");
for (let i = 0; i < 7; i++) {
  const s = element("span", "swatch");
  s.dataset.step = String(i);
  swatches.append(s);
}
startTheme(() => chart.repaint());
settle();
poll();
