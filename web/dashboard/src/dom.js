// Helpers to build a page of text that is data, never markup.

/** @param {string} id */
export function byId(id) {
  const e = document.getElementById(id);
  if (!e) throw new Error(`the page has no #${id}`);
  return e;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} [className] @param {string} [text] @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className = "", text = "") {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text) e.textContent = text;
  return e;
}

/** Changes a text only if it is another: that is what costs. @param {Element} e @param {string} text */
export function write(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/** @param {HTMLElement | SVGElement} e @param {string} name @param {string} value */
export function mark(e, name, value) {
  if (e.dataset[name] !== value) e.dataset[name] = value;
}

/** @param {HTMLElement} e @param {boolean} hidden */
export function hide(e, hidden) {
  if (e.hidden !== hidden) e.hidden = hidden;
}

/**
 * Buttons of which one is chosen.
 * @param {HTMLElement} group with buttons that have data-value @param {(value: string) => void} pick
 * @returns {(value: string) => void} shows which is
 */
export function choice(group, pick) {
  const buttons = [...group.querySelectorAll("button")];
  for (const b of buttons) b.addEventListener("click", () => pick(b.dataset.value ?? ""));
  return (value) => {
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.value === value));
  };
}
