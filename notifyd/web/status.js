// Live or Offline, and why; the transport in use and the way to the other; a log of the connection.

import { $, h } from "./dom.js";
import { TRANSPORTS, clockTime } from "./format.js";

const LOG_LINES = 80;
const TRANSPORT_KEY = "notifyd.transport";

/** What the status says, and the part of it that counts down. */
export function describe({ state, reason, transport, retryAt }, now = Date.now()) {
  switch (state) {
    case "live": return { mood: "live", title: "Live", detail: `over ${TRANSPORTS[transport]}`, next: "" };
    case "connecting": return { mood: "wait", title: "Connecting", detail: transport ? `over ${TRANSPORTS[transport]}` : "", next: "" };
    case "waiting": {
      const seconds = Math.max(0, Math.ceil((retryAt - now) / 1000));
      return { mood: "off", title: "Offline", detail: reason, next: seconds ? `next try in ${seconds} s` : "trying again" };
    }
    default: return { mood: "off", title: "Offline", detail: reason, next: "" };
  }
}

export function logLine(text) {
  const list = $("log");
  list.prepend(h("li", {}, h("time", {}, clockTime()), h("span", {}, text)));
  while (list.children.length > LOG_LINES) list.lastElementChild.remove();
}

const logged = ({ state, reason, transport }) => {
  if (state === "live") return `live over ${TRANSPORTS[transport]}`;
  if (state === "connecting") return transport ? `connecting over ${TRANSPORTS[transport]}` : "connecting";
  return `offline: ${reason}`;
};

/** Whether a stream began without what came before it. */
export const isGap = ({ recovered, reason }) => !recovered && reason !== "no-cursor";

export const storedTransport = () => sessionStorage.getItem(TRANSPORT_KEY) ?? "auto";

export function showStatus(client) {
  let offline = null; // shown while connecting again, so that the reason does not flicker away
  const draw = () => {
    const now = client.state;
    const shown = now.state === "connecting" && offline ? { ...offline, retryAt: 0 } : now;
    const { mood, title, detail, next } = describe(shown);
    $("status").dataset.mood = mood;
    $("status-title").textContent = title;
    $("status-detail").textContent = detail;
    $("status-next").textContent = next && `, ${next}`;
    $("retry").hidden = now.state !== "waiting";
  };
  client.on("state", (detail) => {
    if (detail.state === "waiting" || detail.state === "stopped") offline = detail;
    if (detail.state === "live") offline = null;
    logLine(logged(detail));
    draw();
  });
  client.on("error", ({ code, message }) => logLine(`the server says ${code}: ${message}`));
  client.on("recovered", (start) => {
    if (isGap(start)) logLine(`could not resume (${start.reason}): reading the list anew`);
    else if (start.recovered) logLine("nothing is missing");
  });
  client.on("reconnect", ({ after_ms, reason }) => logLine(`asked to come back in ${after_ms} ms: ${reason}`));
  setInterval(draw, 500);
  draw();
  $("retry").addEventListener("click", () => client.retryNow());
  for (const choice of document.querySelectorAll("input[name=transport]")) {
    choice.checked = choice.value === client.transport;
    choice.addEventListener("change", () => {
      sessionStorage.setItem(TRANSPORT_KEY, choice.value);
      client.setTransport(choice.value);
    });
  }
}
