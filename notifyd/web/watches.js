// What the user watches: the list, and the form that adds to it.

import { $, busy, h } from "./dom.js";
import { minorUnits, money, ruleWords } from "./format.js";
import { failed, toast } from "./toast.js";

const MANY_ITEMS = 25;
const TYPED_MS = 250;

export class Watches {
  #account;
  #items = new Map();
  #offers = new Map(); // item_id → its cheapest offer now
  #typing = 0;

  constructor(account) {
    this.#account = account;
    const form = $("watch-form");
    form.onsubmit = (event) => {
      event.preventDefault();
      busy(event.submitter ?? form, () => this.#add(new FormData(form)), failed);
    };
    for (const choice of form.querySelectorAll("input[name=rule]")) choice.onchange = () => this.#ruleChosen();
    $("item").onchange = () => this.#suggest().catch(failed);
    $("item-search").oninput = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#loadItems().catch(failed), TYPED_MS);
    };
    this.#ruleChosen();
  }

  async load() {
    await this.#loadItems();
    await this.#loadWatches();
  }

  async #loadItems() {
    const words = $("item-search").value.trim();
    const { items } = await this.#account.call(`/v1/items${words ? `?search=${encodeURIComponent(words)}` : ""}`);
    for (const item of items) this.#items.set(item.item_id, item);
    $("item-search-field").hidden = !words && items.length <= MANY_ITEMS;
    $("item").replaceChildren(...items.map((item) => h("option", { value: item.item_id }, item.item_name)));
    $("watch-form").hidden = !words && items.length === 0;
    $("no-items").hidden = !$("watch-form").hidden;
    await this.#suggest();
  }

  async #loadWatches() {
    const { watches } = await this.#account.call("/v1/watches");
    const named = watches.map((watch) => ({ ...watch, name: this.#nameOf(watch) }));
    named.sort((a, b) => a.name.localeCompare(b.name));
    $("watches").replaceChildren(...named.map((watch) => this.#view(watch)));
    $("no-watches").hidden = watches.length > 0;
  }

  #nameOf(watch) {
    return watch.item_name ?? this.#items.get(watch.item_id)?.item_name ?? watch.item_id ?? watch.search;
  }

  #view(watch) {
    const { name } = watch;
    const remove = h("button", {
      type: "button", class: "icon", "aria-label": `Stop watching ${name}`, title: "Stop watching",
      onclick: () => busy(remove, () => this.#remove(watch.watch_id, name), failed),
    }, "×");
    return h("li", { "data-watch": watch.watch_id },
      h("div", {}, h("strong", {}, name), h("span", {}, ruleWords(watch.rule, this.#currencyOf(watch.item_id)))), remove);
  }

  #currencyOf(itemId) {
    return this.#offers.get(itemId)?.currency ?? "USD";
  }

  async #remove(id, name) {
    await this.#account.call(`/v1/watches/${encodeURIComponent(id)}`, { method: "DELETE" });
    await this.#loadWatches();
    toast(`No longer watching ${name}.`);
    $("watches-title").focus();
  }

  async #add(fields) {
    const rule = this.#rule(fields);
    const name = this.#nameOf({ item_id: fields.get("item") });
    const id = `w-${crypto.randomUUID()}`;
    const body = { item_id: fields.get("item"), rule };
    const watch = await this.#account.call(`/v1/watches/${id}`, { method: "PUT", body });
    await this.#loadWatches();
    toast(`Watching ${name}: ${ruleWords(rule, this.#currencyOf(body.item_id))}.${metWords(watch)}`);
  }

  #rule(fields) {
    const demo = this.#account.demo ? { cooldown_s: 15 } : {}; // in the demo a day passes in minutes
    if (fields.get("rule") === "percent_drop") {
      return { type: "percent_drop", percent: Number(fields.get("percent")), baseline: fields.get("baseline"), ...demo };
    }
    const currency = this.#currencyOf(fields.get("item"));
    const cents = Math.round(Number(fields.get("target")) * minorUnits(currency));
    return { type: "target_price", price_in_cents: cents, currency, ...demo };
  }

  #ruleChosen() {
    const chosen = new FormData($("watch-form")).get("rule");
    for (const part of document.querySelectorAll("[data-rule]")) {
      part.hidden = part.dataset.rule !== chosen;
      for (const field of part.querySelectorAll("input, select")) field.disabled = part.hidden;
    }
    $("target").required = chosen === "target_price";
  }

  /** What the chosen item costs now, as a starting point. */
  async #suggest() {
    const itemId = $("item").value;
    if (!itemId) return;
    const { prices } = await this.#account.call(`/v1/items/${encodeURIComponent(itemId)}/prices?limit=60`);
    const newest = new Map(prices.toReversed().map((price) => [`${price.store_id}/${price.currency}`, price]));
    const [offer] = [...newest.values()].sort((a, b) => a.price_in_cents - b.price_in_cents);
    if (offer) this.#offers.set(itemId, offer);
    if ($("item").value !== itemId) return;
    $("item-hint").textContent = offer
      ? `Now from ${money(offer.price_in_cents, offer.currency)} at ${offer.store_name}` : "";
    $("target-unit").textContent = this.#currencyOf(itemId);
  }
}

const metWords = ({ already_met: met, met_by: offers }) =>
  met ? ` It is met already: ${money(offers[0].price_in_cents, offers[0].currency)} at ${offers[0].store_name}.` : "";
