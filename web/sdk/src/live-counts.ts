// What is known of the elements where types are: of document.createElement("live-counts"),
// querySelector("live-trend") and so on. It is all that live-counts.js exports.

import type { LiveElement } from "./element.js";

declare global {
  interface HTMLElementTagNameMap {
    "live-counts": LiveElement;
    "live-rivals": LiveElement;
    "live-top": LiveElement;
    "live-trend": LiveElement;
  }
}

export type { LiveElement };
