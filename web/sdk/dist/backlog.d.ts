/**
 * Client._post.
 * @param {import("./client.js").Client} client @param {import("./outbox.js").Item[]} items @param {string} session
 * @param {Pick<typeof import("./protocol.js"), "STRANGE" | "parse" | "retryAfter">} protocol which sdk.js has
 * @returns {Promise<number>}
 */
export declare function post(client: import("./client.js").Client, items: import("./outbox.js").Item[], session: string, protocol: Pick<typeof import("./protocol.js"), "STRANGE" | "parse" | "retryAfter">): Promise<number>;
/**
 * Outbox._adopt.
 * @param {import("./outbox.js").Outbox} outbox @param {import("./outbox.js").Item[]} all that other tabs stored
 * @param {string} lock before the name of a tab: what it holds while it lives
 * @param {(items: import("./outbox.js").Item[], session: string) => Promise<number>} give
 * @returns {Promise<number>}
 */
export declare function adopt(outbox: import("./outbox.js").Outbox, all: import("./outbox.js").Item[], lock: string, give: (items: import("./outbox.js").Item[], session: string) => Promise<number>): Promise<number>;
