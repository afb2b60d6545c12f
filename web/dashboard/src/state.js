// What the operator looks at. All of it is in the URL, so that a link shows a
// colleague the same.

/** How far back the chart goes, in ms. @type {Record<string, number>} */
export const RANGES = { "15m": 900_000, "1h": 3_600_000, "6h": 21_600_000, "24h": 86_400_000 };

/**
 * @typedef {object} View
 * @property {string} event "": the first that is live
 * @property {string} segment "world" or "team:KC"
 * @property {string} range one of RANGES
 * @property {string} map "region" or "country"
 * @property {string} dim whose segments are listed; "": the first that is no place
 */

/** @returns {View} */
export function viewOf(search = location.search) {
  const q = new URLSearchParams(search);
  const range = q.get("range") ?? "";
  return {
    event: q.get("event") ?? "",
    segment: q.get("segment") || "world",
    range: Object.hasOwn(RANGES, range) ? range : "1h",
    map: q.get("map") === "country" ? "country" : "region",
    dim: q.get("dim") ?? "",
  };
}

/** @param {View} v @returns {string} without what goes without saying */
export function searchOf(v) {
  const q = new URLSearchParams();
  if (v.event) q.set("event", v.event);
  if (v.segment !== "world") q.set("segment", v.segment);
  if (v.range !== "1h") q.set("range", v.range);
  if (v.map !== "region") q.set("map", v.map);
  if (v.dim) q.set("dim", v.dim);
  return q.size ? `?${q.toString().replaceAll("%3A", ":")}` : "";
}
