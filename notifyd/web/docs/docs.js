// The API's description as a page: reads /openapi.json and /schema/messages.json, and nothing else.

import { h, prose, slug } from "./dom.js";
import { curlOf } from "./curl.js";
import { SchemaView } from "./schema.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const main = document.getElementById("main");

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function callsOf(openapi) {
  return Object.entries(openapi.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ method, path, ...item[method] })),
  );
}

const resolve = (openapi, value) =>
  value.$ref ? value.$ref.slice(2).split("/").reduce((at, key) => at[key], openapi) : value;

// --- one call -----------------------------------------------------------------------------------

function whoOf(call, schemes) {
  const names = call.security.flatMap((one) => Object.keys(one));
  if (!names.length) return h("p", { class: "who" }, "Anyone may call it.");
  const list = names.map((name) => h("li", {}, h("strong", {}, name), ": ", ...prose(schemes[name].description)));
  return h("details", { class: "who" }, h("summary", {}, `${names.length > 1 ? "Needs one of" : "Needs"}: ${names.join(", ")}`), h("ul", {}, ...list));
}

function parametersOf(call, view) {
  if (!call.parameters.length) return null;
  const rows = call.parameters.map((each) =>
    h("li", {},
      h("p", { class: "member" },
        h("code", { class: "name" }, each.name),
        h("span", { class: "kind" }, ` ${each.in}, ${view.kind(each.schema)}`),
        each.required ? h("span", { class: "must" }, "required") : null,
      ),
      h("p", { class: "about" }, ...prose(each.description ?? "")),
      view.limits(each.schema),
    ),
  );
  return h("section", {}, h("h4", {}, "Parameters"), h("ul", { class: "members" }, ...rows));
}

function bodyOf(call, view) {
  const content = call.requestBody?.content["application/json"];
  if (!content) return null;
  return h("section", {},
    h("h4", {}, "Body", call.requestBody.required ? null : h("span", { class: "kind" }, " may be left out")),
    view.render(content.schema),
    ...examplesOf(content),
  );
}

function examplesOf(content) {
  const named = Object.values(content.examples ?? {});
  const all = "example" in content ? [{ summary: "Example", value: content.example }, ...named] : named;
  return all.map(({ summary, value }) =>
    h("details", { class: "example" }, h("summary", {}, summary === "Example" ? summary : `Example: ${summary}`), code(value)),
  );
}

function code(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return h("pre", { tabindex: "0" }, h("code", {}, text));
}

function answersOf(call, openapi, view) {
  const rows = Object.entries(call.responses).map(([status, reference]) => {
    const answer = resolve(openapi, reference);
    const contents = Object.entries(answer.content ?? {});
    const good = Number(status) < 400;
    const headers = Object.entries(answer.headers ?? {});
    return h("details", { class: good ? "answer good" : "answer" },
      h("summary", {}, h("code", {}, status), " ", ...prose(answer.description)),
      headers.length ? h("ul", { class: "members" }, ...headers.map(([name, each]) =>
        h("li", {}, h("p", {}, h("code", { class: "name" }, name), " ", ...prose(each.description))))) : null,
      contents.length ? null : h("p", { class: "kind" }, "No body"),
      ...contents.flatMap(([type, content]) =>
        [h("p", { class: "kind" }, type), view.render(content.schema), ...examplesOf(content)]),
    );
  });
  return h("section", {}, h("h4", {}, "Answers"), ...rows);
}

function callView(call, openapi, view) {
  const curl = curlOf(call, location.origin);
  const copy = h("button", { type: "button", class: "copy" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(curl);
    copy.textContent = "Copied";
  });
  const words = `${call.method} ${call.path} ${call.summary} ${call.operationId}`.toLowerCase();
  return h("article", { id: call.operationId, "data-words": words },
    h("h3", {},
      h("a", { href: `#${call.operationId}` },
        h("span", { class: `method ${call.method}` }, call.method.toUpperCase()), " ", h("code", { class: "path" }, call.path)),
    ),
    h("p", { class: "summary" }, ...prose(call.summary)),
    ...(call.description ?? "").split("\n\n").filter(Boolean).map((part) => h("p", {}, ...prose(part))),
    whoOf(call, openapi.components.securitySchemes),
    parametersOf(call, view),
    bodyOf(call, view),
    call.path === "/ws" ? null : h("div", { class: "curl" }, code(curl), navigator.clipboard ? copy : null),
    answersOf(call, openapi, view),
  );
}

// --- the messages ---------------------------------------------------------------------------------

function messageView(name, schema, view) {
  const type = schema.properties.type;
  const title = type.const ?? "x-…";
  return h("article", { id: `message-${name}`, "data-words": `${title} ${name} message`.toLowerCase() },
    h("h3", {}, h("a", { href: `#message-${name}` }, h("code", { class: "path" }, title))),
    h("p", {}, ...prose(schema.description ?? view.resolve(schema.properties.data ?? {}).description ?? "")),
    schema.properties.data ? view.render(schema.properties.data) : h("p", { class: "kind" }, "No data"),
  );
}

function messageSections(messages) {
  const view = new SchemaView(messages);
  const side = (name, title) => ({
    id: slug(title),
    title,
    about: messages.$defs[name].description,
    entries: messages.$defs[name].anyOf.map(({ $ref }) => {
      const key = $ref.split("/").pop();
      return { label: messages.$defs[key].properties.type.const ?? "x-…", node: messageView(key, messages.$defs[key], view) };
    }),
  });
  return [side("ServerMessage", "Messages to the client"), side("ClientMessage", "Messages to the server")];
}

// --- the page -------------------------------------------------------------------------------------

function callSections(openapi) {
  const view = new SchemaView(openapi);
  const calls = callsOf(openapi);
  return openapi.tags.map(({ name, description }) => ({
    id: slug(name),
    title: name,
    about: description,
    entries: calls.filter((call) => call.tags.includes(name)).map((call) => ({
      label: call.path,
      method: call.method,
      node: callView(call, openapi, view),
    })),
  }));
}

function contentsOf(sections) {
  return sections.map(({ id, title, entries }) =>
    h("section", {},
      h("h2", {}, h("a", { href: `#${id}` }, title)),
      h("ul", {}, ...entries.map(({ label, method, node }) =>
        h("li", { "data-words": node.dataset.words },
          h("a", { href: `#${node.id}` }, method ? h("span", { class: `method ${method}` }, method.toUpperCase()) : null, " ", label)))),
    ),
  );
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const each of document.querySelectorAll("[data-words]")) {
    each.hidden = !words.every((word) => each.dataset.words.includes(word));
  }
  for (const section of document.querySelectorAll("main > section, nav > section")) {
    section.hidden = !section.querySelector("[data-words]:not([hidden])");
  }
}

function show(openapi, messages) {
  const sections = [...callSections(openapi), ...messageSections(messages)];
  document.getElementById("version").textContent = openapi.info.version;
  document.getElementById("contents").replaceChildren(...contentsOf(sections));
  main.replaceChildren(
    h("div", { class: "intro" },
      h("h1", {}, "HTTP API and messages"),
      ...openapi.info.description.split("\n\n").map((part) => h("p", {}, ...prose(part)))),
    ...sections.map(({ id, title, about, entries }) =>
      h("section", { id }, h("h2", {}, title), h("p", { class: "about" }, ...prose(about)), ...entries.map(({ node }) => node))),
  );
  const find = document.getElementById("find");
  find.addEventListener("input", () => filter(find.value));
  if (matchMedia("(max-width: 860px)").matches) document.getElementById("contents-box").open = false;
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

try {
  show(...(await Promise.all([read("/openapi.json"), read("/schema/messages.json")])));
} catch (error) {
  document.getElementById("state").textContent = `The description could not be read. ${error.message}`;
}
