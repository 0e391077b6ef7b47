// A JSON Schema as nested lists of members.

import { h, prose } from "./dom.js";

const LIMITS = [
  ["minLength", "at least", " characters"],
  ["maxLength", "at most", " characters"],
  ["minItems", "at least", " items"],
  ["maxItems", "at most", " items"],
  ["minimum", "at least", ""],
  ["maximum", "at most", ""],
  ["exclusiveMinimum", "more than", ""],
  ["exclusiveMaximum", "less than", ""],
  ["pattern", "matches", ""],
  ["default", "default", ""],
];

export class SchemaView {
  constructor(root) {
    this.root = root;
  }

  resolve(schema) {
    if (!schema.$ref) return schema;
    const { $ref, ...rest } = schema;
    const path = $ref.slice(2).split("/");
    return { title: path.at(-1), ...path.reduce((at, key) => at[key], this.root), ...rest };
  }

  choices(schema) {
    return (schema.anyOf ?? []).map((each) => this.resolve(each));
  }

  // A few words: "integer or string or null".
  kind(given) {
    const schema = this.resolve(given);
    if ("const" in schema) return JSON.stringify(schema.const);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
    if (schema.anyOf) return [...new Set(schema.anyOf.map((each) => this.kind(each)))].join(" or ");
    if (schema.type === "array") return `list of ${this.kind(schema.items ?? {})}`;
    if (schema.format) return `${schema.type} (${schema.format})`;
    return schema.type ?? "anything";
  }

  limits(given) {
    const schema = this.resolve(given);
    const all = [schema, ...this.choices(schema)];
    const found = LIMITS.flatMap(([key, before, after]) =>
      all.filter((each) => each[key] != null).map((each) => `${before} ${key === "pattern" ? each[key] : JSON.stringify(each[key])}${after}`));
    return found.length ? h("p", { class: "limits" }, [...new Set(found)].join(" · ")) : null;
  }

  // The objects that a value may be, looking into lists and choices.
  objects(given) {
    const schema = this.resolve(given);
    if (schema.anyOf) return schema.anyOf.flatMap((each) => this.objects(each));
    if (schema.type === "array" && schema.items) return this.objects(schema.items);
    return schema.properties ? [schema] : [];
  }

  nameOf(schema) {
    const type = this.resolve(schema.properties.type ?? {});
    const value = type.const ?? (type.enum?.length === 1 ? type.enum[0] : undefined);
    return value === undefined ? (schema.title ?? "an object") : `\`${value}\``;
  }

  render(given, depth = 0) {
    const objects = this.objects(given);
    if (!objects.length) return depth ? null : h("p", { class: "kind" }, this.kind(given));
    if (objects.length === 1) return this.members(objects[0], depth);
    return h("div", { class: "choices" }, h("p", { class: "kind" }, "One of these:"), ...objects.map((each) =>
      h("details", {}, h("summary", {}, ...prose(this.nameOf(each)), " ", h("span", { class: "kind" }, each.description ?? "")),
        this.members(each, depth))));
  }

  members(schema, depth) {
    const required = schema.required ?? [];
    const rows = Object.entries(schema.properties).filter(([, each]) => each !== false).map(([name, each]) => {
      const inner = depth < 5 ? this.render(each, depth + 1) : null;
      const text = this.resolve(each).description ?? this.choices(this.resolve(each)).find((one) => one.description && !one.properties)?.description;
      return h("li", {},
        h("p", { class: "member" },
          h("code", { class: "name" }, name),
          h("span", { class: "kind" }, ` ${this.kind(each)}`),
          required.includes(name) ? h("span", { class: "must" }, "required") : null),
        text ? h("p", { class: "about" }, ...prose(text)) : null,
        this.limits(each),
        inner && inner.tagName === "UL" ? h("details", {}, h("summary", {}, "members"), inner) : inner,
      );
    });
    return h("ul", { class: "members" }, ...rows);
  }
}
