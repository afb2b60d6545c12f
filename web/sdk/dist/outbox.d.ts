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
    full: boolean;
    /** @type {Promise<IDBDatabase | null>} */
    db: Promise<IDBDatabase | null>;
    release: (_: any) => void;
    /** @param {string} scope @param {boolean} persistent */
    constructor(scope: string, persistent: boolean);
    /** @param {string} session @param {number} seq @param {string} body @returns {boolean} whether it is the first that another gave way to */
    add(session: string, seq: number, body: string): boolean;
    /** Says which session what waits belongs to. @param {string} session */
    name(session: string): void;
    /** @param {(i: Item) => boolean} which are durable, or can never be */
    remove(which: (i: Item) => boolean): void;
    /** @param {Item[]} items */
    forget(items: Item[]): void;
    /**
     * What tabs left that are gone, of the same play, session by session; "" is of
     * those that never had one. They stay stored until forget. give is called with
     * them while no other tab takes them too; 0: it took them, and gets the next.
     * @param {(items: Item[], session: string) => Promise<number>} give
     * @returns {Promise<number>} 0, or what give returned else
     */
    adopt(give: (items: Item[], session: string) => Promise<number>): Promise<number>;
    close(): Promise<void>;
}
