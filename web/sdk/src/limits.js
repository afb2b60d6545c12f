// Times and bounds of a client. They have a file of their own, that imports nothing:
// so esbuild writes them where they are used, without a name.

export const STEADY_MS = 10_000; // a connection that lasted so long was a good one
export const SLOW_MS = 10_000; // the least wait after too much was sent
export const HIDDEN_MS = 60_000; // the beat of a hidden tab, whose timers run once a minute
export const RULING_MS = 2_000; // after a hello; who is not told to be blocked by then is not
export const ANSWER_MS = 10_000; // to the answer of a request
export const AGAIN_MS = 5_000; // after which what the server could not keep is sent again
export const AGAIN_ATTEMPT = 2; // of a backoff, on top of it
export const SOON_MS = 250; // changes of the video within it make one beat
export const RETURN_MS = 1000; // over which pages come back that a network brings back at once
export const BURST = 20; // messages that may follow each other at once
export const BATCH = 50; // messages of one request, at most
export const MESSAGE_BYTES = 4096;
export const BLOCKED_TRIES = 2; // upgrades that fail where plain HTTP works, before the fallback
export const OPEN_MS = 10_000; // to the hello
export const QUIET_MS = 20_000; // unchanged numbers come every 15 s; a connection that says less is dead
export const KEPT_MS = 7 * 86_400_000; // for which events that nobody comes back to send are kept
export const SEQ_PER_MS = 100; // numbers of messages begin where the clock is, so that none comes twice in a session, whichever tab sends it
