// Elements without a framework: h("button", { class: "x", onclick }, "text").

import { ago, moment } from "./format.js";

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** How long ago, and in full when pointed at. */
export const when = (iso) => h("time", { datetime: iso, title: moment(iso) }, ago(iso));

/** Run an action of a button that is busy meanwhile; what it throws goes to `failed`. */
export async function busy(button, action, failed) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (fault) {
    failed(fault);
  } finally {
    button.removeAttribute("aria-busy");
  }
}
