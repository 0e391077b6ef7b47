// What became of one notification, and why a watch did or did not fire.

import { $, busy, h } from "./dom.js";
import { moment } from "./format.js";
import { failed } from "./toast.js";

/** Milliseconds after which a test is looked at again: the ledger is written once a second, answers take as long. */
const AGAIN_MS = 2_500;

const at = (iso) => h("time", { datetime: iso }, moment(iso));
const line = (iso, name, text, kind = null) => h("li", { class: kind }, iso ? at(iso) : h("time", {}, ""), h("strong", {}, name), h("span", {}, text));

function connectionLine(each) {
  const end = each.closed_at
    ? `; closed ${moment(each.closed_at)} with ${each.close_code}${each.close_reason ? ` (${each.close_reason})` : ""}`
    : "; still open";
  return line(each.connected_at, each.transport, `${each.connection_id}: ${each.text}${end}`);
}

function traceView(told) {
  const mail = told.mail.mailed_at ? line(told.mail.mailed_at, "mailed", told.mail.text) : null;
  return [
    h("h2", { class: "title" }, told.type, h("span", { class: "tag" }, told.state)),
    h("p", { class: "mono" }, `${told.notification_id} at ${told.id} for ${told.user_id}${told.everyone ? ", as for everyone" : ""}`),
    h("ol", { class: "steps" },
      told.steps.map((step) => line(step.at, step.step, step.connection_id ? `${step.text} (${step.connection_id})` : step.text)),
      mail,
      told.why_not.map((reason) => h("li", { class: "no" }, h("span", { class: "no" }, `Not confirmed: ${reason}.`)))),
    told.connections.length ? h("h3", {}, "Connections since") : null,
    told.connections.length ? h("ol", { class: "steps" }, told.connections.map(connectionLine)) : null,
  ];
}

function explainView({ watch_id: id, stores, explanation, next }) {
  return [
    h("h2", { class: "title" }, `Watch ${id}`),
    explanation ? h("p", {}, explanation) : null,
    h("ol", { class: "steps" }, stores.map((store) =>
      line(store.observed_at, store.reason.replaceAll("_", " "), `${store.item_name} at ${store.store_name}: ${store.explanation}`))),
    next ? h("p", { class: "hint" }, "Only the first items are explained here.") : null,
  ];
}

export class Ledger {
  #ask;
  #wanted = null; // what is to be shown; an answer that comes later is for nobody

  constructor(ask) {
    this.#ask = ask;
    $("trace-form").onsubmit = (event) => {
      event.preventDefault();
      const id = $("trace-id").value.trim();
      busy(event.submitter ?? event.currentTarget, () => this.trace($("trace-user").value.trim(), id), failed);
    };
  }

  async trace(userId, id) {
    const told = await this.#read(`/v1/notifications/${encodeURIComponent(id)}/trace`, userId);
    if (!told) return;
    $("trace-user").value = userId;
    $("trace-id").value = id;
    this.#show("trace", traceView(told));
  }

  /** A notification that was sent just now: at once, and again when it should have arrived. */
  async follow(userId, id) {
    await this.trace(userId, id);
    const wanted = this.#wanted;
    setTimeout(() => {
      if (wanted === this.#wanted) this.trace(userId, id).catch(failed);
    }, AGAIN_MS);
  }

  async explain(userId, watchId) {
    const told = await this.#read(`/v1/inspect/watches/${encodeURIComponent(watchId)}`, userId);
    if (told) this.#show("explained", explainView(told));
  }

  async #read(path, userId) {
    const wanted = (this.#wanted = {});
    const told = await this.#ask(`${path}?${new URLSearchParams({ user_id: userId })}`);
    return wanted === this.#wanted ? told : null;
  }

  #show(id, view) {
    for (const each of ["trace", "explained"]) $(each).hidden = each !== id;
    $("no-trace").hidden = true;
    $(id).replaceChildren(...view.filter(Boolean));
    $("ledger").scrollIntoView({ block: "nearest" });
  }
}
