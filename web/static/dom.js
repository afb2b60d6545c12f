// Small helpers to build a page without markup from text.

// element makes one: className and text may be "".
export function element(tag, className = "", text = "") {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text) e.textContent = text;
  return e;
}

// button makes one that calls act.
export function button(className, text, act) {
  const b = element("button", className, text);
  b.type = "button";
  b.addEventListener("click", act);
  return b;
}

// write changes a text only if it is another: a screen reader reads a live
// region whenever it is written, and a selection is lost.
export function write(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// keyed makes the children of list those of items, in order. A child whose key
// is there already stays the same element, so that it keeps the focus.
export function keyed(list, items, { key, make, update }) {
  const old = new Map(Array.from(list.children, (c) => [c.dataset.key, c]));
  let at = list.firstElementChild;
  for (const item of items) {
    let child = old.get(key(item));
    if (child) {
      old.delete(key(item));
    } else {
      child = make(item);
      child.dataset.key = key(item);
    }
    update(child, item);
    if (child === at) at = at.nextElementSibling;
    else list.insertBefore(child, at);
  }
  for (const child of old.values()) child.remove();
}

// listed joins names as a person would: "A", "A and B", "A, B and C".
export function listed(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join("");
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

// at returns a time in Unix ms as a person says it today; "" for none.
export function at(ms) {
  if (!(ms > 0) || ms > 8e15) return "";
  const time = new Date(ms);
  return (time.toDateString() === new Date().toDateString() ? clock : calendar).format(time).replace(/\s/g, "\u00a0");
}

// playing says what a device plays, and since when. event is the one that need
// not be said.
export function playing(d, event = "") {
  return `playing${d.event && d.event !== event ? ` ${d.event}` : ""}${at(d.since) ? ` since ${at(d.since)}` : ""}`;
}

// named returns what a person calls a device.
export function named(d) {
  return d.name || "a device without a name";
}

// sentence makes one of a server's message, which begins small and has no end.
export function sentence(message) {
  if (!message) return "";
  const text = message[0].toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
