// Who a tab is: a viewer of an account, on a device. All tabs of a browser are
// one device, unless their address names another: so a second tab is the same
// play, and a window that is opened as another device is another one.

import { recall, recallJSON, remember, randomID } from "/static/storage.js";

export const VALUE = /^[A-Za-z0-9._-]{1,64}$/;

export const DEFAULT_LIMIT = 2;
const MAX_LIMIT = 64;
const NAME_CHARS = 64;

// identify reads who the tab is from its address, and makes up what that does
// not say. An address that names only a viewer is somebody else's: with an
// account and a device of their own.
export function identify(params) {
  const given = (name) => {
    const value = params.get(name);
    return value !== null && VALUE.test(value) ? value : "";
  };
  const viewer = given("viewer") || own();
  const who = {
    viewer,
    account: given("account") || "acct-" + viewer,
    device: given("device") || "dev-" + viewer,
    name: cleanName(params.get("name")) || deviceName(navigator.userAgent),
  };
  const limit = parseLimit(params.get("limit"));
  if (limit !== null) keepLimit(who.account, limit);
  return who;
}

// own returns the id of whoever uses this browser.
function own() {
  let id = recall("viewer");
  if (!VALUE.test(id)) {
    id = "fan-" + randomID();
    remember("viewer", id);
  }
  return id;
}

// limitOf returns how many streams an account of the demo may play at a time;
// 0: as many as it likes.
export function limitOf(account) {
  const limit = parseLimit(recallJSON("limits")[account]);
  return limit === null ? DEFAULT_LIMIT : limit;
}

export function keepLimit(account, limit) {
  const limits = { ...recallJSON("limits"), [account]: limit === 0 ? "none" : String(limit) };
  const last = Object.entries(limits).slice(-50);
  remember("limits", JSON.stringify(Object.fromEntries(last)));
}

// parseLimit returns null for what is no limit.
export function parseLimit(text) {
  if (text === "none") return 0;
  const n = /^\d{1,2}$/.test(text || "") ? Number(text) : 0;
  return n >= 1 && n <= MAX_LIMIT ? n : null;
}

export function cleanName(name) {
  return Array.from((name || "").replace(/[\p{C}\s]+/gu, " ").trim()).slice(0, NAME_CHARS).join("");
}

const BROWSERS = [["Edg", "Edge"], ["OPR/", "Opera"], ["SamsungBrowser/", "Samsung Internet"], ["Firefox/", "Firefox"], ["FxiOS/", "Firefox"], ["CriOS/", "Chrome"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]];
const PLATFORMS = [["iPhone", "iPhone"], ["iPad", "iPad"], ["Android", "Android"], ["Windows", "Windows"], ["CrOS", "ChromeOS"], ["Macintosh", "Mac"], ["Linux", "Linux"]];

// deviceName returns by what name a person knows the device: "Firefox on Windows".
export function deviceName(userAgent) {
  const find = (signs) => (signs.find(([sign]) => userAgent.includes(sign)) || ["", ""])[1];
  const [browser, platform] = [find(BROWSERS), find(PLATFORMS)];
  return browser && platform ? `${browser} on ${platform}` : browser || platform || "This browser";
}
