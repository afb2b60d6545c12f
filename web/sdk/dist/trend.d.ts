import { LiveElement } from "./element.js";
export type Board = import("./source.js").Board;
/** The last minutes of a segment as a line, its highest point marked. minutes="30" */
export declare class LiveTrend extends LiveElement {
    canvas: HTMLCanvasElement;
    /** @type {[number, number][]} at, sessions */
    points: [number, number][];
    begun: boolean;
    constructor();
    follow(): void;
    forget(): void;
    get span(): number;
    /** @param {number} to */
    earlier(to: number): Promise<void>;
    /** @param {Board} b */
    show(b: Board): void;
    draw(): void;
}
