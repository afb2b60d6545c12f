// The browser SDK of Grandstand: tells a gateway that somebody watches, and shows
// how many others do.
//
//   import { connect } from "https://live.example.com/sdk.js";
//   const live = connect({ event: "final", segments: { team: "KC" }, video, onCounts: (c) => … });

import { Client } from "./client.js";
import { refusal } from "./protocol.js";

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
export function connect(options) {
  return new Client(options, import.meta.url);
}

export { Client, refusal };
