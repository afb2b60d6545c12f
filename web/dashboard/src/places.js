// Names of segments, and which shape of the maps a place has: us-atlas knows
// states by FIPS code, world-atlas countries by the number of ISO 3166-1.

import { split } from "./model.js";

const STATES =
  "AL01Alabama|AK02Alaska|AZ04Arizona|AR05Arkansas|CA06California|CO08Colorado|CT09Connecticut|DE10Delaware|" +
  "DC11District of Columbia|FL12Florida|GA13Georgia|HI15Hawaii|ID16Idaho|IL17Illinois|IN18Indiana|IA19Iowa|KS20Kansas|" +
  "KY21Kentucky|LA22Louisiana|ME23Maine|MD24Maryland|MA25Massachusetts|MI26Michigan|MN27Minnesota|MS28Mississippi|" +
  "MO29Missouri|MT30Montana|NE31Nebraska|NV32Nevada|NH33New Hampshire|NJ34New Jersey|NM35New Mexico|NY36New York|" +
  "NC37North Carolina|ND38North Dakota|OH39Ohio|OK40Oklahoma|OR41Oregon|PA42Pennsylvania|RI44Rhode Island|" +
  "SC45South Carolina|SD46South Dakota|TN47Tennessee|TX48Texas|UT49Utah|VT50Vermont|VA51Virginia|WA53Washington|" +
  "WV54West Virginia|WI55Wisconsin|WY56Wyoming";

// Those that the small map of the world has a shape for, but Kosovo, which has no
// number.
const COUNTRIES =
  "AF004AL008DZ012AO024AQ010AR032AM051AU036AT040AZ031BS044BD050BY112BE056BZ084BJ204BT064BO068BA070BW072BR076BN096BG100" +
  "BF854BI108KH116CM120CA124CF140TD148CL152CN156CO170CG178CD180CR188CI384HR191CU192CY196CZ203DK208DJ262DO214EC218EG818" +
  "SV222GQ226ER232EE233SZ748ET231FK238FJ242FI246FR250TF260GA266GM270GE268DE276GH288GR300GL304GT320GN324GW624GY328HT332" +
  "HN340HU348IS352IN356ID360IR364IQ368IE372IL376IT380JM388JP392JO400KZ398KE404KP408KR410KW414KG417LA418LV428LB422LS426" +
  "LR430LY434LT440LU442MG450MW454MY458ML466MR478MX484MD498MN496ME499MA504MZ508MM104NA516NP524NL528NC540NZ554NI558NE562" +
  "NG566MK807NO578OM512PK586PS275PA591PG598PY600PE604PH608PL616PT620PR630QA634RO642RU643RW646SA682SN686RS688SL694SK703" +
  "SI705SB090SO706ZA710SS728ES724LK144SD729SR740SE752CH756SY760TW158TJ762TZ834TH764TL626TG768TT780TN788TR792TM795UG800" +
  "UA804AE784GB826US840UY858UZ860VU548VE862VN704EH732YE887ZM894ZW716";

/** @type {Map<string, string>} */
const stateNames = new Map();
/** @type {Map<string, string>} */
const shapes = new Map([["country:XK", "Kosovo"]]);
for (const s of STATES.split("|")) {
  stateNames.set(`US-${s.slice(0, 2)}`, s.slice(4));
  shapes.set(`region:US-${s.slice(0, 2)}`, s.slice(2, 4));
}
for (const [, code, number] of COUNTRIES.matchAll(/(\D\D)(\d{3})/g)) shapes.set(`country:${code}`, number);

/** @param {string} dim @param {string} value @returns {string} the id of a shape, "" if there is none */
export function shapeOf(dim, value) {
  return shapes.get(`${dim}:${value}`) ?? "";
}

/** All values of a dimension that have a shape, by its id. @param {string} dim @returns {Map<string, string>} */
export function valuesByShape(dim) {
  const all = new Map();
  for (const [segment, shape] of shapes) if (segment.startsWith(`${dim}:`)) all.set(shape, segment.slice(dim.length + 1));
  return all;
}

const countryNames = new Intl.DisplayNames(["en"], { type: "region" });

/** @param {string} dim @param {string} value @returns {string} */
export function nameOf(dim, value) {
  if (value === "unknown") return "Unknown";
  if (value === "other") return "Other";
  if (dim === "country" && /^[A-Z]{2}$/.test(value)) return countryNames.of(value) ?? value;
  if (dim === "region") return stateNames.get(value) ?? value;
  const dims = dim.split("+");
  const values = value.split("+");
  if (dims.length > 1 && dims.length === values.length) return dims.map((d, i) => nameOf(d, values[i])).join(" · ");
  return value;
}

/** @param {string} segment "world" or "team:KC" */
export function segmentName(segment) {
  return segment === "world" ? "Everybody" : nameOf(...split(segment));
}

const DIMS = new Map([["country", "Countries"], ["region", "Regions"], ["team", "Teams"]]);

/** @param {string} dim @returns {string} */
export function dimName(dim) {
  const known = DIMS.get(dim);
  if (known) return known;
  if (dim.includes("+")) return dim.split("+").map(dimName).join(" × ");
  return dim.charAt(0).toUpperCase() + dim.slice(1);
}
