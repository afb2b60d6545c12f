export declare class SharedSession {
    id: string;
    /** @param {string[]} parts which play it is: the same in two tabs share a session */
    constructor(parts: string[]);
}
