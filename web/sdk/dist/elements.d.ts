export type Board = import("./source.js").Board;
