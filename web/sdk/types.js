// Leaves out of dist/*.d.ts what begins with "_": it is the SDK's own, and has
// another name in the files that esbuild made. (Not "#": a Proxy around a client,
// as Vue's reactive() makes, could not reach it.)

import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const dist = new URL("dist/", import.meta.url);
for (const name of readdirSync(dist).filter((n) => n.endsWith(".d.ts"))) {
  const file = new URL(name, dist), text = readFileSync(file, "utf8");
  writeFileSync(file, text.replace(/( {4}\/\*\*(?:(?!\*\/)[^])*\*\/\n)? {4}_[^]*?;\n(?= {4}[^\s}]|\})/g, ""));
}
