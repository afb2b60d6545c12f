// What the browser remembers for this page. Storage can be switched off, or full:
// then nothing is remembered, and the page works all the same.

/** @typedef {"local" | "session"} Where for all tabs, or until this one is closed */

/** @param {Where} where */
const storage = (where) => (where === "local" ? localStorage : sessionStorage); // to name one may throw

/** @param {Where} where @param {string} key @returns {string} "" for nothing */
export function recall(where, key) {
  try {
    return storage(where).getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** @param {Where} where @param {string} key @param {string} value "": forget it */
export function remember(where, key, value) {
  try {
    if (value) storage(where).setItem(key, value);
    else storage(where).removeItem(key);
  } catch {
    // As above.
  }
}
