// What the viewer chose: the event, and where they count in it. A choice is in
// the page's address, so that a reload or a link has it.

import { STATES, COUNTRIES, teams, teamName } from "/static/places.js";
import { VALUE } from "/static/who.js";

const NAMES = ["event", "team", "region", "country"];
const TIMEOUT_MS = 5000;

export class Choices {
  // defaults has a value for each name. onChoice gets the choices that changed
  // together, onWrong a name that cannot be one.
  constructor(form, { params, defaults, onChoice, onWrong }) {
    Object.assign(this, { form, params, defaults, onChoice });
    this.config = null; // the event as GET /v1/events/{event} tells it, if it does
    for (const name of NAMES) {
      const given = params.get(name);
      this[name] = given !== null && VALUE.test(given) ? given : defaults[name];
    }
    if (this.country !== "US" && !params.has("region")) this.region = "unknown";
    form.addEventListener("submit", (e) => e.preventDefault());
    form.addEventListener("change", (e) => {
      const { name, value } = e.target;
      if (!VALUE.test(value)) {
        e.target.setAttribute("aria-invalid", "true");
        onWrong();
        return;
      }
      e.target.removeAttribute("aria-invalid");
      this.choose(name, value);
    });
  }

  path(suffix = "") {
    return `/v1/events/${encodeURIComponent(this.event)}${suffix}`;
  }

  // segments returns [dimension, value] for each that was given.
  segments() {
    return ["country", "region", "team"].map((name) => [name, this[name]]).filter(([, value]) => value !== "unknown");
  }

  choose(name, value) {
    if (this[name] === value) return;
    const changed = { [name]: value };
    if (name === "country" && (value === "US") !== this.region.startsWith("US-")) changed.region = value === "US" ? this.defaults.region : "unknown";
    Object.assign(this, changed);
    history.replaceState(null, "", this.address());
    if (name === "event") {
      this.config = null;
      this.learn();
    }
    this.fill();
    this.onChoice(changed);
  }

  // address returns that of the page with the choices in it.
  address() {
    const url = new URL(location.href);
    for (const name of NAMES) url.searchParams.set(name, this[name]);
    return url;
  }

  // who returns by what name a person knows the value of a dimension.
  who(dim) {
    const label = (list, value, none) => (value === "unknown" ? none : (list.find(([v]) => v === value) || [value, value])[1]);
    if (dim === "team") return this.team === "unknown" ? "none" : teamName(this.team);
    if (dim === "region") return label(STATES, this.region, "not given");
    return dim === "country" ? label(COUNTRIES, this.country, "not given") : "everybody";
  }

  // choosable says whether the event lets its viewers change a dimension in
  // place. Of an event that was not there yet it is known by default.
  choosable(dim) {
    const d = this.dim(dim);
    return this.config ? Boolean(d && d.choose) : dim === "team";
  }

  dim(name) {
    return this.config && Array.isArray(this.config.dims) ? this.config.dims.find((d) => d.name === name) : null;
  }

  // values returns what the event admits in a dimension; [] if that is open.
  values(name) {
    const d = this.dim(name);
    return d && Array.isArray(d.values) ? d.values.filter((v) => typeof v === "string" && VALUE.test(v)) : [];
  }

  fill() {
    const field = (name) => this.form.elements.namedItem(name);
    field("event").value = this.event;
    fill(field("team"), teams(this.values("team")), this.team, "no team");
    const only = this.values("region");
    const states = STATES.filter(([v]) => only.includes(v)).concat(only.filter((v) => !STATES.some(([s]) => s === v)).map((v) => [v, v]));
    fill(field("region"), only.length ? states : STATES, this.region, "no state");
    fill(field("country"), COUNTRIES, this.country, "no country");
  }

  // learn fetches what the event is made of; the page works without it.
  async learn() {
    const { event } = this;
    try {
      const answer = await fetch(this.path(), { signal: AbortSignal.timeout(TIMEOUT_MS) });
      const body = answer.ok ? await answer.json() : null;
      if (event !== this.event) return;
      this.config = body;
      const own = this.values("team");
      if (own.length && !this.params.has("team") && !own.includes(this.team)) this.choose("team", own[0]);
      this.fill();
    } catch {
      // An event that its first viewer creates is not there yet.
    }
  }

  // listEvents fetches the names that are offered; any can be typed.
  async listEvents(datalist) {
    try {
      const answer = await fetch("/v1/events", { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) return;
      const list = (await answer.json()).filter((e) => e && VALUE.test(e.event)).slice(0, 200);
      datalist.replaceChildren(...list.map((e) => option(e.event, "")));
    } catch {
      // As above.
    }
  }
}

function option(value, text) {
  const o = document.createElement("option");
  o.value = value;
  o.textContent = text;
  return o;
}

// fill puts [value, text] into a select, and what is chosen if it is not there.
export function fill(select, list, value, none = "") {
  const options = [...list];
  if (value !== "unknown" && !options.some(([v]) => v === value)) options.unshift([value, value]);
  if (none) options.push(["unknown", none]);
  select.replaceChildren(...options.map(([v, name]) => option(v, name)));
  select.value = value;
}
