export declare const JSON_PROTOCOL = "grandstand.v1";
export declare const COMPACT_PROTOCOL = "grandstand.v1.bin";
/** Our own close code when a connection is left to come back: not a goodbye. */
export declare const MOVED = 4000;
export declare const GOODBYE = 1000;
/**
 * The wait before try number `attempt` (from 0) in ms, with full jitter, so that
 * a crowd which lost its server does not come back in waves. What the server
 * asked for comes on top.
 * @param {number} attempt @param {number} [leastMS]
 */
export declare function backoff(attempt: number, leastMS?: number): number;
/**
 * The least wait in ms that a 429 or 5xx asks for.
 * @param {Response} answer
 */
export declare function retryAfter(answer: Response): number;
/**
 * What a close code asks for.
 * @param {number} code
 * @returns {"retry" | "slowly" | "renew" | "final"}
 */
export declare function after(code: number): "retry" | "slowly" | "renew" | "final";
/** @param {unknown} v @param {number} [otherwise] */
export declare const positive: (v: unknown, otherwise?: number) => number;
/** @param {string} body @returns {any} an object, without our members for whatever is none */
export declare function parse(body: string): any;
/**
 * Why a request had no answer that this page may read: a browser does not say.
 * @param {string | URL} url
 * @returns {Promise<{code: "unavailable" | "forbidden", message: string}>}
 */
export declare function unanswered(url: string | URL): Promise<{
    code: "unavailable" | "forbidden";
    message: string;
}>;
/** What to say of an answer that is in no form of ours. @type {string} */
export declare const STRANGE: string;
export type Count = {
    /**
     * streams that play now, counted exactly
     */
    sessions: number;
    /**
     * distinct viewers, an estimate (standard error 0.8 %)
     */
    fans: number;
};
export type Counts = {
    /**
     * Unix ms of the state that was counted
     */
    at: number;
    /**
     * of it in ms when it came
     */
    age: number;
    epoch: number;
    quality: "live" | "partial" | "stale" | "final";
    /**
     * by dimension, "world" among
     * them; null for one that is too small to be shown
     */
    segments: Record<string, Count | null>;
};
/**
 * @typedef {object} Count
 * @property {number} sessions streams that play now, counted exactly
 * @property {number} fans distinct viewers, an estimate (standard error 0.8 %)
 *
 * @typedef {object} Counts
 * @property {number} at Unix ms of the state that was counted
 * @property {number} age of it in ms when it came
 * @property {number} epoch
 * @property {"live" | "partial" | "stale" | "final"} quality
 * @property {Record<string, Count | null>} segments by dimension, "world" among
 *   them; null for one that is too small to be shown
 */
/**
 * @param {any} m the message "counts"
 * @returns {Counts | null}
 */
export declare function counts(m: any): Counts | null;
/**
 * Reads the message "counts" of COMPACT_PROTOCOL.
 * @param {ArrayBuffer} buffer @param {string[]} dims those of hello
 * @returns {Counts | null}
 */
export declare function compactCounts(buffer: ArrayBuffer, dims: string[]): Counts | null;
export type Conflict = {
    device: string;
    name: string;
    event: string;
    /**
     * Unix ms
     */
    since: number;
    /**
     * for takeover
     */
    code: string;
};
export type Refusal = {
    /**
     * device_limit, taken_over, superseded, signed_out, too_many_devices, unavailable
     */
    code: string;
    /**
     * one English sentence for the viewer
     */
    message: string;
    rule: string;
    limit: number;
    current: number;
    /**
     * the name of the device that took the place
     */
    by: string;
    /**
     * oldest first
     */
    conflicts: Conflict[];
    retryMS: number;
    /**
     * it does not end by itself, but by takeover()
     */
    final: boolean;
};
/**
 * @typedef {object} Conflict a device that plays instead
 * @property {string} device @property {string} name @property {string} event
 * @property {number} since Unix ms @property {string} code for takeover
 *
 * @typedef {object} Refusal why this session may not play
 * @property {string} code device_limit, taken_over, superseded, signed_out, too_many_devices, unavailable
 * @property {string} message one English sentence for the viewer
 * @property {string} rule @property {number} limit @property {number} current
 * @property {string} by the name of the device that took the place
 * @property {Conflict[]} conflicts oldest first
 * @property {number} retryMS
 * @property {boolean} final it does not end by itself, but by takeover()
 */
/**
 * @param {any} m the message "blocked", or the body of a 409 or 410
 * @returns {Refusal} whatever was sent, its fields have their types
 */
export declare function refusal(m: any): Refusal;
