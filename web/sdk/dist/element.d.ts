export type Board = import("./source.js").Board;
/** @param {string} name @param {Record<string, string>} [attributes] @param {(Node | string)[]} children */
export declare function make(name: string, attributes?: Record<string, string>, ...children: (Node | string)[]): HTMLElement;
/** Changes a text only if it is another, and in its place: each change costs a layout. @param {Element} e @param {string} text */
export declare function write(e: Element, text: string): void;
/** Follows the segments of its attributes. A subclass says which, and shows them. */
export declare class LiveElement extends HTMLElement {
    root: ShadowRoot;
    note: HTMLElement;
    heard: HTMLElement;
    announced: number;
    silent: boolean;
    stop: () => void;
    /** @type {Board | undefined} */
    board: Board | undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    aging: ReturnType<typeof setTimeout> | undefined;
    due: number;
    numbers: Intl.NumberFormat | undefined;
    shares: Intl.NumberFormat | undefined;
    ages: Intl.RelativeTimeFormat | undefined;
    static observedAttributes: string[];
    constructor();
    /** @param {string} text */
    addStyle(text: string): void;
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** @param {string} name @param {string | null} before @param {string | null} now */
    attributeChangedCallback(name: string, before: string | null, now: string | null): void;
    /** @param {string} name @param {string} [otherwise] */
    of(name: string, otherwise?: string): string;
    /** Reads the attributes that each tick needs. A field of an attribute's name would be set instead of it by React, Vue and Preact. */
    read(): void;
    /** @returns {string[]} */
    segments(): string[];
    /** @param {Board} _b */
    show(_b: Board): void;
    /** A number as it is to be read: estimates, and what lacks a part, are about so much. @param {number} v @param {boolean} [estimate] */
    about(v: number, estimate?: boolean): string;
    /** What stands where a number would. @param {object | null | undefined} c null: too small to be shown */
    blank(c: object | null | undefined): string;
    /** Drops what is shown: other numbers will come. */
    forget(): void;
    /** The address of the event; "": src is none of a server. */
    get base(): string;
    follow(): void;
    /** @param {Board} b */
    take(b: Board): void;
    /**
     * Shows counts of the page's own, if it has the attribute fed.
     * @param {{at: number, age: number, quality: Board["quality"], least?: number, arrived?: number, segments: Record<string, import("./source.js").Shown | null | undefined>}} counts least: as min_cohort of GET counts; arrived: as in Board, if they are not new
     */
    feed({ at, age, quality, least, arrived, segments }: {
        at: number;
        age: number;
        quality: Board["quality"];
        least?: number;
        arrived?: number;
        segments: Record<string, import("./source.js").Shown | null | undefined>;
    }): void;
    age(): void;
    /** The page may have given its styles another look. */
    moved(): void;
    /** Has age() look again in so many ms, or earlier. @param {number} now @param {number} ms */
    look(now: number, ms: number): void;
    rest(): void;
    /** Whether there is a number to be read out. */
    known(): boolean;
    /** What a screen reader is told now and then, if something is known. */
    words(): string;
    announce(): void;
}
