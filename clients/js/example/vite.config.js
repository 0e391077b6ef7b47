import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** @param {string} relative */
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const notifyd = process.env.NOTIFYD_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  root: path("."),
  // `@notifyd/client` is the folder above by its own name, through its `exports`, as it would be from node_modules.
  // Elsewhere install what `npm pack` makes: ../README.md.
  build: { target: "es2022", outDir: path("./dist") },
  server: { proxy: { "/v1": notifyd, "/events": notifyd, "/ws": { target: notifyd, ws: true }, "/demo": notifyd } },
});
