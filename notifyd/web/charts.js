// A line chart of the last minutes: SVG without a library, and the same in words for who cannot see it.

import { h } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 60;
/** Milliseconds that a chart shows. */
export const SPAN_MS = 180_000;
/** A pause longer than this (the page was hidden, the server away) is a gap in the line. */
const GAP_MS = 8_000;

/** Where each known point lies: [x, y, begins a new piece]. `points` are [ms, value or null], the oldest first. */
export function place(points, now, top) {
  const placed = [];
  let before = -Infinity;
  for (const [at, value] of points) {
    if (value === null || at < now - SPAN_MS) continue;
    const x = WIDTH * (1 - (now - at) / SPAN_MS);
    placed.push([x, HEIGHT * (1 - value / top), at - before > GAP_MS]);
    before = at;
  }
  return placed;
}

export const pathOf = (placed) =>
  placed.map(([x, y, begins]) => `${begins ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** A round number at or above all values, so that the scale does not jump with each of them. */
export function topOf(values, least) {
  const largest = Math.max(least, ...values);
  const size = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 5, 10].map((step) => step * size).find((top) => top >= largest);
}

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export class Chart {
  #points = [];
  #paths;
  #svg;
  #say;
  #title;
  #parts;
  #least;
  #unit;

  /** `series`: names of one or two lines; `say`: a value in words; `least`: the lowest top of the scale. */
  constructor(title, { series = [title], unit = "", least = 1, say = String }) {
    this.#title = title;
    this.#least = least;
    this.#unit = unit;
    this.#say = say;
    this.#parts = series;
    this.#paths = series.map((_, index) => svg("path", { class: index ? "second" : "first" }));
    this.#svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.#svg.append(svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }), ...this.#paths);
    this.value = h("p", { class: "value" }, "–");
    this.names = h("p", { class: "parts" });
    this.top = h("span", {});
    this.element = h("figure", { class: "chart" },
      h("figcaption", {}, title), this.value, this.names, this.#svg,
      h("p", { class: "scale", "aria-hidden": "true" }, h("span", {}, `${SPAN_MS / 60_000} min`), this.top));
    this.draw(Date.now());
  }

  /** `values`: one for each line, null where it is not known; `mood` "bad" shows it as trouble. */
  add(at, values, { total = values[0], mood = "" } = {}) {
    this.#points.push([at, values]);
    while (this.#points[0][0] < at - SPAN_MS) this.#points.shift();
    this.element.dataset.mood = mood;
    const known = total !== null;
    this.value.replaceChildren(known ? this.#say(total) : "–", this.#unit && h("small", {}, ` ${this.#unit}`));
    if (this.#parts.length > 1) {
      this.names.replaceChildren(...this.#parts.map((name, index) => h("span", {}, `${name} ${this.#say(values[index])}`)));
    }
    this.draw(at);
  }

  draw(now) {
    const all = this.#points.flatMap(([, values]) => values).filter((value) => value !== null);
    const top = topOf(all, this.#least);
    this.#paths.forEach((path, index) => {
      path.setAttribute("d", pathOf(place(this.#points.map(([at, values]) => [at, values[index]]), now, top)));
    });
    this.top.textContent = `to ${this.#say(top)}`;
    this.#svg.setAttribute("aria-label", this.#words(all));
  }

  #words(all) {
    if (all.length === 0) return `${this.#title}: nothing known yet`;
    const last = this.#points.at(-1)[1];
    const now = this.#parts
      .map((name, index) => `${this.#parts.length > 1 ? `${name} ` : ""}${last[index] === null ? "unknown" : this.#say(last[index])}`)
      .join(", ");
    const [low, high] = [Math.min(...all), Math.max(...all)].map(this.#say);
    return `${this.#title}: now ${now}${this.#unit && ` ${this.#unit}`}; in the last minutes between ${low} and ${high}`;
  }
}
