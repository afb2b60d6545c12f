export type PlayState = "starting" | "playing" | "paused" | "buffering" | "ended";
/** @param {HTMLMediaElement} v @returns {PlayState} */
export declare function stateOf(v: HTMLMediaElement): PlayState;
/**
 * Watches a media element. changed is called when its state does, track with what
 * is worth an event of its own: startup, rebuffer, seek, error.
 */
export declare class VideoWatch {
    state: PlayState;
    /**
     * @param {HTMLMediaElement} video
     * @param {() => void} changed
     * @param {(name: string, data: object) => void} track
     * @param {AbortSignal} signal ends it
     */
    constructor(video: HTMLMediaElement, changed: () => void, track: (name: string, data: object) => void, signal: AbortSignal);
    /** The bitrate since the last call in kbit/s, 0 if the browser does not tell. */
    bitrate(): number;
}
/** @param {HTMLMediaElement} v @returns {number | undefined} seconds; undefined if there is no such thing, or it is a time of day, which servers refuse */
export declare const position: (v: HTMLMediaElement) => number | undefined;
