import { Outbox } from "./outbox.js";
import { SharedSession } from "./session.js";
import { VideoWatch } from "./video.js";
export type Counts = import("./protocol.js").Counts;
export type Refusal = import("./protocol.js").Refusal;
export type Options = {
    event: string;
    /**
     * of the gateway, http(s); default: where this script came from
     */
    url?: string;
    /**
     * a JWT; a function
     * is asked again whenever a new one is needed
     */
    token?: string | (() => string | Promise<string>);
    /**
     * who watches, where there are no tokens; so are
     * device, account, limit and name. With tokens: something that differs for each
     * viewer of one browser, if there are several
     */
    viewer?: string;
    device?: string;
    account?: string;
    limit?: number;
    name?: string;
    /**
     * such as {team: "KC"}
     */
    segments?: Record<string, string>;
    /**
     * whose state is told; default: it plays
     */
    video?: HTMLMediaElement;
    /**
     * kbit/s, if the player knows better than the element
     */
    bitrate?: () => number;
    /**
     * false: keep nothing in the browser
     */
    storage?: boolean;
    onCounts?: (counts: Counts) => void;
    /**
     * this session may not play, and why; again when the reasons change
     */
    onBlocked?: (refusal: Refusal) => void;
    onUnblocked?: () => void;
    onState?: (state: ConnectionState) => void;
    /**
     * something could not be used, is
     * lost, or nobody answers; the client goes on by itself, a developer may want to know. What
     * has a message and no callback is a warning on the console
     */
    onError?: (error: {
        code: string;
        message: string;
    }) => void;
    /**
     * every message, for a look inside
     */
    onMessage?: (text: string, from: "server" | "player") => void;
};
export type ConnectionState = {
    /**
     * closed: for good
     */
    state: "connecting" | "open" | "waiting" | "closed";
    /**
     * waiting: until the next try
     */
    retryMS?: number;
    /**
     * closed: unauthorized, forbidden, not_found, invalid, ended, or the close code
     */
    code?: string;
    /**
     * closed: a sentence
     */
    message?: string;
    /**
     * open
     */
    via?: "websocket" | "sse";
};
/**
 * @typedef {import("./protocol.js").Counts} Counts
 * @typedef {import("./protocol.js").Refusal} Refusal
 *
 * @typedef {object} Options
 * @property {string} event
 * @property {string} [url] of the gateway, http(s); default: where this script came from
 * @property {string | (() => string | Promise<string>)} [token] a JWT; a function
 *   is asked again whenever a new one is needed
 * @property {string} [viewer] who watches, where there are no tokens; so are
 *   device, account, limit and name. With tokens: something that differs for each
 *   viewer of one browser, if there are several
 * @property {string} [device] @property {string} [account] @property {number} [limit] @property {string} [name]
 * @property {Record<string, string>} [segments] such as {team: "KC"}
 * @property {HTMLMediaElement} [video] whose state is told; default: it plays
 * @property {() => number} [bitrate] kbit/s, if the player knows better than the element
 * @property {boolean} [storage] false: keep nothing in the browser
 * @property {(counts: Counts) => void} [onCounts]
 * @property {(refusal: Refusal) => void} [onBlocked] this session may not play, and why; again when the reasons change
 * @property {() => void} [onUnblocked]
 * @property {(state: ConnectionState) => void} [onState]
 * @property {(error: {code: string, message: string}) => void} [onError] something could not be used, is
 *   lost, or nobody answers; the client goes on by itself, a developer may want to know. What
 *   has a message and no callback is a warning on the console
 * @property {(text: string, from: "server" | "player") => void} [onMessage] every message, for a look inside
 *
 * @typedef {object} ConnectionState
 * @property {"connecting" | "open" | "waiting" | "closed"} state closed: for good
 * @property {number} [retryMS] waiting: until the next try
 * @property {string} [code] closed: unauthorized, forbidden, not_found, invalid, ended, or the close code
 * @property {string} [message] closed: a sentence
 * @property {"websocket" | "sse"} [via] open
 */
/** One play of one event. */
export declare class Client {
    options: Options;
    outbox: Outbox;
    running: boolean;
    /** The newest counts. @type {Counts | null} */
    counts: Counts | null;
    /** Why this session may not play; null: it may. @type {Refusal | null} */
    blocked: Refusal | null;
    /** @param {Options} options @param {string} origin of this script */
    constructor(options: Options, origin: string);
    /** The id of the session, "" before the first hello. */
    get session(): string;
    /**
     * Tells of something that happened. It arrives once, also after a crash.
     * @param {string} name 1 to 64 characters of A-Z a-z 0-9 . _ - @param {object} [data] JSON, with the name at most 4 KB
     * @returns {boolean} false: it cannot be used, as onError says
     */
    track(name: string, data?: object): boolean;
    /** Changes dimensions that viewers may choose. @param {Record<string, string>} seg */
    join(seg: Record<string, string>): boolean;
    /**
     * Asks to play here. codes end the sessions that they name (Refusal.conflicts),
     * no more than it takes. It is answered by onUnblocked or onBlocked; where there
     * is no WebSocket, by onError.
     * @param {string[]} [codes]
     */
    takeover(codes?: string[]): boolean;
    /** Cuts a wait short. */
    retry(): void;
    /** Says goodbye: this play is not counted from the next tick on, and the next is another. */
    close(): void;
    /** Connects anew, with the options as they are now. The play goes on. */
    connect(): Promise<void>;
    /** Beats now, and from then on in its interval. */
    beat(): void;
}
