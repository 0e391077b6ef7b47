// Prices, times and reasons in words. Prices are integers in minor units of their currency.

const moneyFormats = new Map();

function moneyFormat(currency) {
  if (!moneyFormats.has(currency)) {
    moneyFormats.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
  }
  return moneyFormats.get(currency);
}

/** Minor units in one major unit: 100 for USD, 1 for JPY. */
export const minorUnits = (currency) => 10 ** moneyFormat(currency).resolvedOptions().maximumFractionDigits;

export const money = (cents, currency = "USD") => moneyFormat(currency).format(cents / minorUnits(currency));

const percentFormat = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
export const percent = (value) => `${percentFormat.format(value)}\u202f%`;

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const STEPS = [[60, "second", 1], [3_600, "minute", 60], [86_400, "hour", 3_600], [Infinity, "day", 86_400]];

export function ago(iso, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 10) return "just now";
  const [, unit, size] = STEPS.find(([limit]) => seconds < limit);
  return relative.format(-Math.floor(seconds / size), unit);
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const moment = (iso) => full.format(new Date(iso));

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
export const clockTime = (date = new Date()) => clock.format(date);

export const BASELINES = {
  median_30d: "its 30-day median",
  previous: "its previous price",
  lowest: "its lowest price so far",
};

export const dropPercent = (price, from) => (from > 0 && price < from ? Math.round((1 - price / from) * 100) : 0);

/** What the item cost before, where that was more: the last price or else the baseline; null when unknown. */
export function priceBefore({ best_price_in_cents: price, old_price_in_cents: old, baseline, baseline_price_in_cents: base }) {
  if (old > price) return old;
  return baseline in BASELINES && base > price ? base : null;
}

/** Why a deal was told: "15 % below its 30-day median $3.49". */
export function reason(deal) {
  const { best_price_in_cents: price, baseline, baseline_price_in_cents: base, currency } = deal;
  const parts = [];
  if (base !== null && base !== undefined) {
    if (baseline in BASELINES) parts.push(`${percent(dropPercent(price, base))} below ${BASELINES[baseline]} ${money(base, currency)}`);
    else if (price === base) parts.push(`exactly your target of ${money(base, currency)}`);
    else parts.push(`${money(base - price, currency)} under your target of ${money(base, currency)}`);
  } else if (deal.old_price_in_cents > price) {
    parts.push(`${percent(dropPercent(price, deal.old_price_in_cents))} below its previous price ${money(deal.old_price_in_cents, currency)}`);
  }
  if (deal.rank_in_history === 1 && baseline !== "lowest") parts.push("lowest price seen here");
  return parts.join(" · ");
}

/** A watch's rule in words: "15 % below its 30-day median". */
export function ruleWords(rule, currency) {
  switch (rule.type) {
    case "target_price": return `at or below ${money(rule.price_in_cents, rule.currency ?? currency)}`;
    case "percent_drop": return `${percent(rule.percent)} below ${BASELINES[rule.baseline] ?? rule.baseline}`;
    case "new_best": return "a new best price among its stores";
    default: return rule.type;
  }
}

/** Transports as people call them. */
export const TRANSPORTS = { websocket: "WebSocket", sse: "SSE" };
