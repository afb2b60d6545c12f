// Numbers and times as people read them.

const digits = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const shares = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en", { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** @param {number} n */
export const number = (n) => digits.format(n);

/** 1,234 stays, 1,234,567 is 1.23M. @param {number} n */
export const compact = (n) => (n < 100_000 ? digits.format(n) : short.format(n));

/** As short as an axis wants it. @param {number} n */
export const axisNumber = (n) => (Math.abs(n) < 10_000 ? digits.format(n) : short.format(n));

/** @param {number} part @param {number} whole */
export const share = (part, whole) => (whole > 0 ? shares.format(part / whole) : "–");

/** With a sign; a true minus. @param {number} n */
export const signed = (n) => (n > 0 ? "+" : n < 0 ? "−" : "±") + compact(Math.abs(n));

/** @param {number} ms */
export function duration(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 9.95) return `${s.toFixed(1)}\u00a0s`;
  if (s < 120) return `${Math.round(s)}\u00a0s`;
  if (s < 7200) return `${Math.round(s / 60)}\u00a0min`;
  return `${Math.round(s / 3600)}\u00a0h`;
}

/** @param {number} n */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)}\u00a0${units[i]}`;
}

/** @param {number} ms Unix @param {boolean} [withDay] */
export const time = (ms, withDay) => (withDay ? day : clock).format(ms);

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${number(n)}\u00a0${n === 1 ? one : many}`;
