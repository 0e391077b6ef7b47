// Short messages at the edge of the page. Errors are read out at once, the rest when there is time.

import { $, h } from "./dom.js";

const SHOWN_MS = 7_000;

export function toast(text, kind = "info") {
  const place = $(kind === "error" ? "alerts" : "notes");
  const close = h("button", { type: "button", class: "icon", "aria-label": "Dismiss", onclick: () => box.remove() }, "×");
  const box = h("div", { class: `toast ${kind}` }, h("p", {}, text), close);
  place.append(box);
  while (place.children.length > 3) place.firstElementChild.remove();
  setTimeout(() => box.remove(), SHOWN_MS);
}

export const failed = (fault) => {
  const text = fault.message || "something went wrong";
  toast(text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : "."), "error");
};
