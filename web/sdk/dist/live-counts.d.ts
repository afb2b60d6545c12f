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
