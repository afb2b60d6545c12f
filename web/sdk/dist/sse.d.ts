export type Link = import("./socket.js").Link;
/**
 * @typedef {import("./socket.js").Link} Link
 * @implements {Link}
 */
export declare class Sse implements Link {
    request: (path: string, init?: RequestInit) => Promise<Response>;
    parse: (body: string) => any;
    listener: import("./socket.js").Listener;
    opened: boolean;
    ended: boolean;
    blocked: boolean;
    /** @type {string[]} */
    waiting: string[];
    stop: AbortController;
    segments: string;
    /**
     * @param {(path: string, init?: RequestInit) => Promise<Response>} request with the session and the token
     * @param {import("./socket.js").Listener} listener
     * @param {(body: string) => any} parse JSON, never failing
     */
    constructor(request: (path: string, init?: RequestInit) => Promise<Response>, listener: import("./socket.js").Listener, parse: (body: string) => any);
    /** @param {string} m */
    send(m: string): boolean;
    /** @param {string[]} messages */
    post(messages: string[]): Promise<void>;
    /** @param {number} status @param {any} m @param {string[]} messages */
    answered(status: number, m: any, messages: string[]): void;
    /** Shows the counts of each tick. Without a stream those of each beat's answer are all there is. */
    follow(): Promise<void>;
    /** @param {boolean} goodbye */
    leave(goodbye: boolean): void;
    /** @param {number} code @param {string} reason */
    end(code: number, reason: string): void;
}
