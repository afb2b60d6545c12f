// The card that says why nothing plays here, and what to do about it.
//
//   const card = new BlockedCard(section, { takeover, event, onceFinal });
//   card.show(refusal); … card.hide();
//
// takeover(codes) asks to play here in place of those; it returns false if it
// cannot ask just now. The answer comes as another show, or as hide. event()
// names the one that need not be said. Where it is not here that a play which
// was ended can be asked for again, onceFinal says where it is.

import { element, button, write, keyed, listed, named, playing, sentence } from "/static/dom.js";

const ANSWER_MS = 6000;

// needed returns how many of the conflicts have to end for this session to
// play. more is by how many that proved too few before.
export function needed(r, more = 0) {
  const least = r.code === "device_limit" ? 1 : 0;
  const over = r.limit > 0 ? r.current - r.limit + 1 : least;
  return Math.max(0, Math.min(r.conflicts.length, Math.max(least, over) + more));
}

// chosen returns the n conflicts that started last.
export function chosen(r, n) {
  return n > 0 ? r.conflicts.slice(-n).reverse() : [];
}

function title(r) {
  switch (r.code) {
    case "device_limit":
      if (r.rule.startsWith("event:")) return r.limit === 1 ? "This event is playing on another device" : `This event is playing on ${r.limit} other devices`;
      return r.limit === 1 ? "Your stream is playing on another device" : `All ${r.limit > 0 ? `${r.limit} ` : ""}streams are in use`;
    case "too_many_devices":
      return "Too many devices";
    case "unavailable":
      return "One moment";
    case "taken_over":
      return r.by ? `${r.by} is playing instead` : "Another device is playing instead";
    case "superseded":
      return "Playing in another window";
    case "signed_out":
      return "Signed out";
  }
  return "Not playing here";
}

function hint(r) {
  if (r.final) return "Nothing plays here until you ask for it.";
  if (r.code === "unavailable") return "Playing goes on by itself.";
  return "Playing starts by itself as soon as there is a place.";
}

// consequence says who stops when the main button is pressed. Who was ended is
// not told what changed since: there may be a place by now.
function consequence(enders, r) {
  if (enders.length === 0) return "";
  const [stop, was] = enders.length === 1 ? ["stops", "it was"] : ["stop", "they were"];
  const why = r.final ? " if there is no other place" : enders.length === r.conflicts.length ? "" : `, since ${was} the last to start`;
  return `${listed(enders.map(named))} ${stop}${why}.`;
}

export class BlockedCard {
  constructor(section, { takeover, event = () => "", onceFinal = "" }) {
    Object.assign(this, { section, takeover, event, onceFinal });
    this.refusal = null;
    this.more = 0; // by how many more a takeover has to end, since fewer did not do
    this.asked = null; // the codes of a takeover that is not answered yet
    this.title = element("h2");
    this.title.id = section.id + "-title";
    this.title.tabIndex = -1;
    section.setAttribute("aria-labelledby", this.title.id);
    this.message = element("p", "message");
    this.main = button("main", "", () => this.ask(chosen(this.refusal, needed(this.refusal, this.more))));
    this.note = element("p", "small");
    this.list = element("ul", "rows");
    this.hint = element("p", "hint");
    // What a screen reader is told; a live region has to be there before.
    this.said = element("p", "unseen");
    this.said.setAttribute("aria-live", "polite");
    section.after(this.said);
    const plain = element("div", "blocked-words");
    plain.append(this.title, this.message, this.hint, this.main, this.note);
    this.choice = element("div", "blocked-choice");
    this.choice.append(element("p", "small"), this.list);
    section.replaceChildren(plain, this.choice);
  }

  show(refusal) {
    const before = this.refusal;
    const inVain = Boolean(this.asked && before && before.code === refusal.code && this.asked.every((code) => refusal.conflicts.some((c) => c.code === code)));
    if (inVain) this.more++;
    else if (!before || before.code !== refusal.code) this.more = 0;
    this.settle();
    this.refusal = refusal;
    this.section.hidden = false;
    this.section.dataset.code = refusal.code;
    write(this.title, title(refusal));
    write(this.message, refusal.message || "This device may not play right now.");
    write(this.hint, (inVain ? "No place became free. " : "") + (refusal.final && this.onceFinal ? this.onceFinal : hint(refusal)));
    this.paint();
    write(this.said, `${this.title.textContent}. ${this.message.textContent}`);
  }

  // hide takes the card away, and has said what is so now. Whoever was in it goes
  // on where the page begins.
  hide(said = "") {
    if (!this.refusal) return;
    const inside = this.section.contains(document.activeElement);
    this.settle();
    this.refusal = null;
    this.more = 0;
    this.section.hidden = true;
    write(this.said, said);
    if (inside) document.querySelector("h1").focus();
  }

  // paint shows what can be done: one button that is enough, and one for each
  // rival where it is the viewer's to choose.
  paint() {
    const r = this.refusal;
    const enders = chosen(r, needed(r, this.more));
    const only = enders.length === 1 && r.conflicts.length === 1;
    if (r.final) write(this.main, "Play here again");
    else write(this.main, only ? `Play here instead of ${named(enders[0])}` : "Play here");
    this.main.hidden = r.code === "unavailable" || r.code === "too_many_devices" || (r.final && this.onceFinal !== "");
    write(this.note, this.main.hidden || (only && !r.final) ? "" : consequence(enders, r));
    this.note.hidden = this.note.textContent === "";
    const rivals = enders.length === 0 || this.main.hidden || r.conflicts.length < 2 ? [] : r.conflicts;
    this.choice.hidden = rivals.length === 0;
    write(this.choice.firstChild, enders.length > 1 ? "Playing now:" : "Or choose which one stops:");
    const choosable = enders.length === 1;
    keyed(this.list, rivals, {
      key: (c) => `${choosable} ${c.code}`,
      make: () => this.row(choosable),
      update: (li, c) => this.fill(li, c, choosable),
    });
  }

  row(choosable) {
    const li = element("li");
    const words = choosable ? button("quiet choice", "", () => this.ask([li.conflict])) : element("div", "choice");
    words.append(element("b"), element("span", "small"));
    li.append(words);
    return li;
  }

  fill(li, conflict, choosable) {
    li.conflict = conflict;
    const [name, since] = li.firstChild.children;
    write(name, choosable ? `Play here instead of ${named(conflict)}` : named(conflict));
    write(since, playing(conflict, this.event()));
  }

  ask(conflicts) {
    if (this.asked) return;
    const codes = conflicts.map((c) => c.code).filter(Boolean);
    if (!this.takeover(codes)) {
      this.tell("There is no connection just now. Try again in a moment.");
      return;
    }
    this.asked = codes;
    this.section.setAttribute("aria-busy", "true");
    this.late = setTimeout(() => {
      this.settle();
      this.tell("There was no answer. Try again.");
    }, ANSWER_MS);
  }

  // tell says how a takeover went.
  tell(text) {
    write(this.hint, text);
    write(this.said, text);
  }

  // waiting says whether a takeover is not answered yet.
  get waiting() {
    return this.asked !== null;
  }

  // failed says that a takeover could not be carried out.
  failed(message) {
    this.settle();
    this.tell(`That did not work. ${sentence(message)} Try again in a moment.`.replace("  ", " "));
  }

  settle() {
    clearTimeout(this.late);
    this.asked = null;
    this.section.removeAttribute("aria-busy");
  }
}
