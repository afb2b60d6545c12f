export type Item = {
    /**
     * whose it is
     */
    tab: string;
    /**
     * which play it is of
     */
    scope: string;
    /**
     * that it belongs to; "" before the first hello
     */
    session: string;
    seq: number;
    /**
     * the message, complete
     */
    body: string;
};
export declare class Outbox {
    scope: string;
    tab: string;
    /** @type {Item[]} by seq */
    items: Item[];
    /** @param {string} scope @param {boolean} persistent */
    constructor(scope: string, persistent: boolean);
    /** @param {string} session @param {number} seq @param {string} body @returns {boolean} whether it is the first that another gave way to */
    add(session: string, seq: number, body: string): boolean;
    /** Says which session what waits belongs to. @param {string} session */
    name(session: string): void;
    close(): Promise<void>;
}
