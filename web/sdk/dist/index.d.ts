import { Client } from "./client.js";
import { refusal } from "./protocol.js";
export type Options = import("./client.js").Options;
export type ConnectionState = import("./client.js").ConnectionState;
export type Counts = import("./protocol.js").Counts;
export type Count = import("./protocol.js").Count;
export type Refusal = import("./protocol.js").Refusal;
export type Conflict = import("./protocol.js").Conflict;
/**
 * @typedef {import("./client.js").Options} Options
 * @typedef {import("./client.js").ConnectionState} ConnectionState
 * @typedef {import("./protocol.js").Counts} Counts
 * @typedef {import("./protocol.js").Count} Count
 * @typedef {import("./protocol.js").Refusal} Refusal
 * @typedef {import("./protocol.js").Conflict} Conflict
 */
/**
 * Begins to watch an event. It never throws for what the network does.
 * @param {Options} options
 * @returns {Client}
 */
export declare function connect(options: Options): Client;
export { Client, refusal };
