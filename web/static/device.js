// The page of one device: may it play, if not why, and what to do about it. It
// asks again whenever the account's devices changed.

import { Account, Trouble } from "/static/account.js";
import { BlockedCard } from "/static/blocked.js";
import { DevicesPanel } from "/static/devices.js";
import { listed, named, playing, sentence, write } from "/static/dom.js";
import { recallJSON, remember, sessionOf } from "/static/storage.js";
import { identify, limitOf, parseLimit } from "/static/who.js";

const $ = (id) => document.getElementById(id);

// Anything a path can hold: "." and ".." never arrive at a server.
const valid = (id) => id.length > 0 && new TextEncoder().encode(id).length <= 256 && !/^\.{1,2}$|\p{Cc}/u.test(id);

const params = new URLSearchParams(location.search);
const form = $("which");
const panel = new DevicesPanel($("account"), { signOut });
const card = new BlockedCard($("blocked"), {
  takeover: (codes) => {
    play(codes);
    return true;
  },
  onceFinal: "Press “Play here again” on the device itself, or open its player again.",
});

let which = start(); // {account, device, limit}
let account = null;
let watch = null;
let key = ""; // what the list calls the device
let list = null; // the newest
let status = null; // the newest of the device
let turn = 0; // of the questions: only the newest may answer

// start returns the device that the address names, else the one of last time,
// else this browser.
function start() {
  const [account, device] = [params.get("account") || "", params.get("device") || ""];
  const limit = parseLimit(params.get("limit")) || 0;
  if (valid(account) && valid(device)) return { account, device, limit };
  const last = recallJSON("check");
  if (typeof last.account === "string" && typeof last.device === "string" && valid(last.account) && valid(last.device)) {
    return { account: valid(account) ? account : last.account, device: valid(device) ? device : last.device, limit: parseLimit(String(last.limit)) || 0 };
  }
  const me = identify(new URLSearchParams());
  return { account: me.account, device: me.device, limit: limitOf(me.account) };
}

// look begins to watch the device in which.
function look() {
  if (watch) watch.stop();
  key = "";
  list = status = null;
  turn++;
  remember("check", JSON.stringify(which));
  const url = new URL(location.href);
  url.search = new URLSearchParams({ account: which.account, device: which.device, ...(which.limit ? { limit: which.limit } : {}) });
  history.replaceState(null, "", url);
  form.elements.account.value = which.account;
  form.elements.device.value = which.device;
  card.hide();
  verdict("asking", "Looking…", "\u00a0");
  account = new Account(which.account, { limit: which.limit, device: which.device });
  watch = account.watch({
    onDevices: (l) => {
      list = l;
      panel.show(list, { limit: which.limit, mine: key || list.mine, event: "" });
      ask();
    },
    onTrouble: trouble,
  });
  if (!document.hidden) watch.start();
}

async function ask() {
  const mine = ++turn;
  try {
    const s = await account.device(which.device);
    if (mine !== turn) return;
    status = s;
    key = s.key;
    panel.show(list, { limit: which.limit, mine: key || list.mine, event: "" });
    show(s);
  } catch (err) {
    if (!(err instanceof Trouble)) throw err;
    if (mine === turn) trouble(err);
  }
}

function trouble(err) {
  panel.trouble(err);
  if (card.waiting) card.failed(err.message);
  const why = {
    away: ["Cannot tell right now", `${sentence(err.message) || "The service does not answer."} This page goes on trying.`],
    missing: ["Cannot tell", "This server does not know about accounts and devices."],
    refused: ["Not allowed", "This server asks for a token to show a device, which this page does not have."],
    wrong: ["Cannot tell", sentence(err.message) || "The account or the device was refused."],
  };
  if (err.kind === "away" && status) return; // the last answer stays; the note says that it is old
  card.hide();
  verdict("trouble", ...why[err.kind]);
}

function show(s) {
  if (s.refusal) {
    $("verdict").hidden = true;
    card.show(s.refusal);
    document.title = "Not playing – Grandstand";
    return;
  }
  card.hide();
  const use = s.limit ? `${s.current} of ${s.limit} ${s.limit === 1 ? "stream" : "streams"} of the account in use.` : "";
  if (s.status === "allowed") {
    verdict("allowed", "Yes, it is playing", `${s.name || "The device"} is ${playing(s)}. ${use}`);
    return;
  }
  const names = list ? list.devices.filter((d) => d.status === "playing").map(named) : [];
  const limit = s.limit || which.limit;
  if (!limit) verdict("idle", "Not now", "Nothing is playing on it. How many streams the account may have is not known here.");
  else if (s.current < limit) verdict("idle", "Yes, whenever it likes", `Nothing is playing on it now. ${use}`);
  else verdict("full", "Not right now", `Nothing is playing on it, and all places of the account are taken${names.length ? ` by ${listed(names)}` : ""}. Sign one out below, or choose on the device when it asks.`);
}

function verdict(state, title, text) {
  $("verdict").hidden = false;
  $("verdict").dataset.state = state;
  write($("verdict-title"), title);
  write($("verdict-text"), text);
  document.title = `${title} – Grandstand`;
}

// play asks for a place for what waits on the device. Where it is not known
// which session that is, the place is made free, and what waits takes it.
async function play(codes) {
  const { refusal, event, name } = status;
  const session = status.session || sessionOf(which.device, event);
  const mine = ++turn;
  try {
    if (session) {
      const still = await account.play(which.device, { event, session, name }, codes);
      if (mine === turn && still) {
        card.show(still);
        return;
      }
    } else {
      for (const c of refusal.conflicts) if (codes.includes(c.code)) await account.signOut(c.device);
    }
    if (mine === turn) {
      watch.again();
      ask();
    }
  } catch (err) {
    if (!(err instanceof Trouble)) throw err;
    if (mine === turn) card.failed(err.message);
  }
}

async function signOut(deviceKey) {
  await account.signOut(deviceKey);
  watch.again();
  ask();
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  const [account, device] = ["account", "device"].map((name) => form.elements[name].value.trim());
  const bad = [["account", account], ["device", device]].filter(([, id]) => !valid(id)).map(([name]) => name);
  for (const name of ["account", "device"]) form.elements[name].toggleAttribute("aria-invalid", bad.includes(name));
  $("wrong").hidden = bad.length === 0;
  write($("wrong"), bad.length ? `The id of the ${listed(bad)} is 1 to 256 letters, digits and signs. Correct it above.` : "");
  if (bad.length) return;
  which = { account, device, limit: account === which.account ? which.limit : 0 };
  look();
});
document.addEventListener("visibilitychange", () => (document.hidden ? watch.stop() : watch.start()));
window.addEventListener("online", () => watch.renew());
window.addEventListener("pagehide", () => watch.stop());
window.addEventListener("pageshow", (e) => e.persisted && watch.start());
look();
