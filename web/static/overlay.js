// The overlay page: one element of /live-counts.js, as the address says.
//
//   /overlay/final?segment=team:KC&label=KC+fans      a number (value=sessions, fans, peak, reach;
//                                                     peak=peak: with the highest yet under it)
//   /overlay/final?mine=team:KC&theirs=team:SF        a bar of two
//   /overlay/final?dim=team&most=5                    the largest of a dimension
//   /overlay/final?trend&segment=world&minutes=30     a line
//
// theme: outline (default), card, light, plain; size: of the number, in px; key to
// read with; lang and dir.

import "/live-counts.js";

const params = new URLSearchParams(location.search);
const name = params.has("trend") ? "live-trend" : params.has("dim") ? "live-top" : params.has("mine") ? "live-rivals" : "live-counts";
const element = document.createElement(name);
element.setAttribute("event", decoded(location.pathname.split("/").pop()));
for (const attribute of ["segment", "label", "value", "peak", "mine", "theirs", "dim", "most", "minutes", "key"]) {
  if (params.get(attribute)) element.setAttribute(attribute, params.get(attribute));
}
if (isLanguage(params.get("lang"))) document.documentElement.lang = params.get("lang");
if (params.get("dir") === "rtl") document.documentElement.dir = "rtl";
const size = Number(params.get("size"));
if (size >= 8 && size <= 400) document.body.style.setProperty("--live-size", size + "px");
const theme = params.get("theme");
document.body.dataset.theme = ["card", "light", "plain"].includes(theme) ? theme : "outline";
document.body.append(element);

// isLanguage tells a language from what is written like none, such as en-.
function isLanguage(tag) {
  try {
    return Boolean(tag && Intl.getCanonicalLocales(tag));
  } catch {
    return false;
  }
}

// decoded returns the text of a part of a path. One that is none, such as %ff, is
// taken as it stands: no event has such a name, and the element says so.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
