export declare class SharedSession {
    id: string;
    /** @param {string[]} parts which play it is: the same in two tabs share a session */
    constructor(parts: string[]);
    /** The session to resume, "" if there is none: then other tabs that begin the same play wait until keep names it. */
    resume(): Promise<string>;
    /** Remembers the session, and that it is alive. @param {string} id */
    keep(id: string): void;
    /** Makes the next play a new one. */
    forget(): void;
}
