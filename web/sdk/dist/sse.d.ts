export type Link = import("./socket.js").Link;
/**
 * @typedef {import("./socket.js").Link} Link
 * @implements {Link}
 */
export declare class Sse implements Link {
    request: (path: string, init?: RequestInit) => Promise<Response>;
    parse: typeof import("./protocol.js").parse;
    retryAfter: typeof import("./protocol.js").retryAfter;
    listener: import("./socket.js").Listener;
    opened: boolean;
    ended: boolean;
    blocked: boolean;
    posting: boolean;
    /** @type {string[]} */
    waiting: string[];
    beatMS: number;
    stop: AbortController;
    segments: string;
    /** @type {{seq: number, seg: Record<string, string>}[]} that are to be asked for */
    joins: {
        seq: number;
        seg: Record<string, string>;
    }[];
    /**
     * @param {(path: string, init?: RequestInit) => Promise<Response>} request with the session and the token
     * @param {import("./socket.js").Listener} listener
     * @param {Pick<typeof import("./protocol.js"), "parse" | "retryAfter">} protocol which sdk.js has
     * @param {import("./session.js").SharedSession} shared the session that requests name
     */
    constructor(request: (path: string, init?: RequestInit) => Promise<Response>, listener: import("./socket.js").Listener, { parse, retryAfter }: Pick<typeof import("./protocol.js"), "parse" | "retryAfter">, shared: import("./session.js").SharedSession);
    /** @param {string} text */
    send(text: string): boolean;
    /** Sends what waits, one request after the other: an ack speaks for all that was said before it. */
    work(): Promise<void>;
    /** @param {string[]} messages @param {Sse["joins"][0]} [join] */
    post(messages: string[], join?: Sse["joins"][0]): Promise<void>;
    /** Says that a message cannot be used, as a WebSocket would. @param {string} message @param {string} [code] @param {number} [seq] of that message */
    refuse(message: string, code?: string, seq?: number): void;
    /** @param {number} status @param {any} m @param {string[]} messages @param {Sse["joins"][0]} [join] */
    answered(status: number, m: any, messages: string[], join?: Sse["joins"][0]): void;
    /** Shows the counts of each tick. Without a stream those of each beat's answer are all there is. @param {AbortController} stop of this stream: another has its own */
    follow(stop: AbortController): Promise<void>;
    /** @param {boolean} goodbye */
    leave(goodbye: boolean): void;
    /** @param {number} code @param {string} reason */
    end(code: number, reason: string): void;
}
