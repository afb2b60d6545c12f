// What others install.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

const cwd = new URL("..", import.meta.url).pathname;
const run = (file, ...args) => execFileSync(file, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

test("the package has all that it names, and its license", () => {
  const files = JSON.parse(run("npm", "pack", "--dry-run", "--json"))[0].files.map((f) => f.path);
  const { exports, main, types } = JSON.parse(readFileSync(join(cwd, "package.json"), "utf8"));
  const named = [main, types, ...Object.values(exports).flatMap((e) => Object.values(e))].map(normalize);
  for (const file of files.filter((f) => /^dist\//.test(f))) {
    for (const [, path] of readFileSync(join(cwd, file), "utf8").matchAll(/(?:from|import) ?\(?["'](\.[^"']+)["']/g)) {
      const at = join(dirname(file), path);
      named.push(file.endsWith(".d.ts") ? at.replace(/\.js$/, ".d.ts") : at);
    }
  }
  for (const file of files.filter((f) => f.endsWith(".d.ts"))) assert.doesNotMatch(readFileSync(join(cwd, file), "utf8"), /^ *(\w+ )?[_#]/m, file + ": what is the SDK's own");
  assert.ok(named.includes("dist/sdk-sse.js"), "what is loaded later counts: " + named);
  for (const name of [...named, "README.md", "LICENSE", "package.json"]) assert.ok(files.includes(name), name);
  assert.ok(!files.some((f) => /test|node_modules/.test(f)));
  assert.ok(!existsSync(join(cwd, "LICENSE")), "the one copy is that of the project");
});

test("its types fit a page's own code", () => {
  try {
    run("node_modules/.bin/tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--ignoreConfig", "--types", "", "test/types.ts");
  } catch (err) {
    assert.fail(err.stdout);
  }
});
