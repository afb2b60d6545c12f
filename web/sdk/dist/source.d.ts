export type Shown = {
    sessions: number;
    fans: number;
    /**
     * sessions at most, since the event began
     */
    peak?: number;
    /**
     * distinct viewers since the event began, an estimate
     */
    reach?: number;
};
export type Board = {
    /**
     * Unix ms of the state that was counted
     */
    at: number;
    /**
     * ms when it came
     */
    age: number;
    /**
     * when that was, of performance.now(): it may be shown again later, and is no younger then
     */
    arrived: number;
    /**
     * "": there is none yet
     */
    quality: "live" | "partial" | "stale" | "final" | "";
    /**
     * by "team:KC" or "world"; null for one too small to be shown
     */
    segments: Map<string, Shown | null | undefined>;
    /**
     * what null is less than
     */
    least?: number;
    /**
     * a sentence: why there are no numbers
     */
    trouble?: string;
};
/**
 * @param {string} base .../v1/events/{event} @param {string} key for reading, "" if none
 * @param {string} dim of which all segments are wanted, "" if certain ones are
 * @returns {Source}
 */
export declare function sourceOf(base: string, key: string, dim: string): Source;
declare class Source {
    base: string;
    key: string;
    dim: string;
    /** @type {Map<(b: Board) => void, string[]>} */
    readers: Map<(b: Board) => void, string[]>;
    attempt: number;
    open: string;
    /** @type {string[]} segments that are too many */
    cut: string[];
    board: Board;
    timer: number | undefined;
    stream: EventSource | undefined;
    /** @param {string} base @param {string} key @param {string} dim */
    constructor(base: string, key: string, dim: string);
    /** @param {string[]} segments @param {(b: Board) => void} show @returns {() => void} stops */
    follow(segments: string[], show: (b: Board) => void): () => void;
    /** @param {number} ms */
    soon(ms: number): void;
    connect(): void;
    /** Asks why there is no stream: a browser does not say. @param {URL} url @param {boolean} again try the stream later */
    ask(url: URL, again: boolean): Promise<void>;
    /** @param {any} m GET counts */
    take(m: any): void;
    /** @param {Board} b */
    show(b: Board): void;
    /** @param {(b: Board) => void} show @param {string[]} segments */
    tell(show: (b: Board) => void, segments: string[]): void;
}
export {};
