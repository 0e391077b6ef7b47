import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** @param {string} relative */
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const notifyd = process.env.NOTIFYD_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  root: path("."),
  // Here the package is its own folder. Elsewhere install what `npm pack` makes (../README.md), without this.
  resolve: {
    alias: [
      { find: /^@notifyd\/client\/react$/, replacement: path("../src/react.js") },
      { find: /^@notifyd\/client$/, replacement: path("../src/index.js") },
    ],
  },
  build: { target: "es2022", outDir: path("./dist") },
  server: { proxy: { "/v1": notifyd, "/events": notifyd, "/ws": { target: notifyd, ws: true }, "/demo": notifyd } },
});
