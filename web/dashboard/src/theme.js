// Light or dark: as the system says, until the operator says otherwise.

import { byId, choice } from "./dom.js";
import { recall, remember } from "./storage.js";

const THEME = "grandstand.theme"; // of localStorage: it is the same for all tabs

/** @param {() => void} changed */
export function startTheme(changed) {
  const show = choice(byId("theme"), (value) => {
    remember("local", THEME, value === "auto" ? "" : value);
    apply(value);
  });
  /** @param {string} value */
  function apply(value) {
    document.documentElement.dataset.theme = value;
    show(value);
    changed();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  apply(recall("local", THEME) || "auto");
}
