export type Listener = {
    /**
     * a message of the protocol, counts too
     */
    message: (m: any) => void;
    /**
     * once, unless it was left
     *
     * A way to a gateway.
     */
    lost: (code: number, reason: string, opened: boolean) => void;
};
export type Link = {
    /**
     * false: it cannot just now
     */
    send: (m: string) => boolean;
    leave: (goodbye: boolean) => void;
};
/**
 * What a way to a gateway tells its client.
 * @typedef {object} Listener
 * @property {(m: any) => void} message a message of the protocol, counts too
 * @property {(code: number, reason: string, opened: boolean) => void} lost once, unless it was left
 *
 * A way to a gateway.
 * @typedef {object} Link
 * @property {(m: string) => boolean} send false: it cannot just now
 * @property {(goodbye: boolean) => void} leave
 */
/** @implements {Link} */
export declare class Socket implements Link {
    /**
     * @param {string} url @param {string} token @param {Listener} listener
     */
    constructor(url: string, token: string, listener: Listener);
    /** @param {string} m */
    send(m: string): boolean;
    /** @param {boolean} goodbye */
    leave(goodbye: boolean): void;
}
