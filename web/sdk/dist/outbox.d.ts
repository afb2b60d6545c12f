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
    /** Says which session what waits belongs to. @param {string} session */
    name(session: string): void;
    close(): Promise<void>;
}
