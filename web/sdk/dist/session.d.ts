export declare class SharedSession {
    key: string;
    id: string;
    touched: number;
    begun: (_: any) => void;
    /** @param {string[]} parts which play it is: the same in two tabs share a session */
    constructor(parts: string[]);
    stored(): string;
    /** The session to resume, "" if there is none: then other tabs that begin the same play wait until keep names it. */
    resume(): Promise<string>;
    /** Waits until no other tab begins the play, and then has others wait. @returns {Promise<void>} */
    turn(): Promise<void>;
    /** Remembers the session, and that it is alive. @param {string} id */
    keep(id: string): void;
    /** Makes the next play a new one. */
    forget(): void;
}
