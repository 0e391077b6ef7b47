// Makes what a notifyd server serves at /client.js and /react.js: one readable file each, without dependencies.
//
//   node tools/build.js            writes ../../notifyd/web/client.js and react.js, and copies the types' sources
//   node tools/build.js --check    writes nothing; exits with 1 when one of them is stale
//   node tools/build.js --size     the core's size, minified and gzipped; exits with 1 above the limit

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

export const LIMIT = 8 * 1024;
const path = (/** @type {string} */ relative) => fileURLToPath(new URL(relative, import.meta.url));
const WEB = path("../../../notifyd/web");
/** Served under these names. @type {Record<string, string>} */
const PARTS = { "client.js": "index.js", "react.js": "react.js" };

/** How react.js and what goes with it import the core. */
const CORE = ["./index.js"];

/** Of the sources, so that a test without Node can see whether a built file is stale. */
export function sourceHash() {
  const hash = createHash("sha256");
  for (const name of readdirSync(path("../src")).filter((each) => each.endsWith(".js")).sort()) {
    hash.update(`${name}\n`).update(readFileSync(path(`../src/${name}`)));
  }
  return hash.digest("hex");
}

/** @param {string} entry @param {boolean} minify */
export async function bundle(entry, minify) {
  const output = await build({
    root: path(".."), configFile: false, logLevel: "error",
    build: {
      write: false, minify: minify ? "oxc" : false, target: "es2022",
      lib: { entry: path(`../src/${entry}`), formats: ["es"], fileName: "out" },
      rolldownOptions: {
        external: ["react", ...CORE],
        makeAbsoluteExternalsRelative: false,
        output: { paths: Object.fromEntries(CORE.map((id) => [id, "/client.js"])), comments: false },
      },
    },
  });
  const [{ output: [chunk] }] = /** @type {any} */ (output);
  return /** @type {string} */ (chunk.code);
}

/** @returns {Promise<Record<string, string>>} what each served file should contain */
async function served() {
  const head = `// Built from clients/js/src by \`make client\`; sources ${sourceHash()}\n`;
  const parts = Object.entries(PARTS).map(async ([name, entry]) => [name, head + await bundle(entry, false)]);
  return Object.fromEntries(await Promise.all(parts));
}

export async function size() {
  return gzipSync(await bundle("index.js", true), { level: 9 }).length;
}

async function main(/** @type {string | undefined} */ how) {
  if (how === "--size") {
    const bytes = await size();
    console.log(`core, minified and gzipped: ${bytes} bytes (at most ${LIMIT})`);
    return bytes > LIMIT;
  }
  const files = Object.entries(await served());
  const stale = files.filter(([name, text]) => {
    try {
      return readFileSync(`${WEB}/${name}`, "utf8") !== text;
    } catch {
      return true;
    }
  });
  for (const [name, text] of stale) {
    console.log(`${how === "--check" ? "stale" : "written"}: notifyd/web/${name}`);
    if (how !== "--check") writeFileSync(`${WEB}/${name}`, text);
  }
  if (how === "--check") return stale.length > 0;
  mkdirSync(path("../types"), { recursive: true });
  for (const name of ["types.d.ts", "messages.d.ts"]) copyFileSync(path(`../src/${name}`), path(`../types/${name}`));
  return false;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = Number(await main(process.argv[2]));
