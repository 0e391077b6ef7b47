// What the server is doing now: /v1/stats every two seconds while somebody looks, as charts.

import { Chart } from "./charts.js";
import { $, h } from "./dom.js";
import { clockTime } from "./format.js";

const EVERY_MS = 2_000;
/** Milliseconds of stall from which it is shown as trouble. */
const LONG_STALL_MS = 100;

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const say = (value) => (value >= 100 || Number.isInteger(value) ? whole : short).format(value);

/** Deliveries a second between two answers; null when one is missing or the server began anew in between. */
export function rate(before, after) {
  if (!before) return null;
  const seconds = (after.at - before.at) / 1000;
  const count = after.delivered - before.delivered;
  return seconds > 0 && seconds < 30 && count >= 0 ? count / seconds : null;
}

export class Numbers {
  #call;
  #before = null;
  #timer = null;
  #stopped = false;
  #asking = false;
  #charts = {
    connections: new Chart("Connections", { series: ["WebSocket", "SSE"], least: 5, say }),
    deliveries: new Chart("Deliveries", { unit: "per second", least: 5, say }),
    behind: new Chart("Catching up", { unit: "connections", least: 5, say }),
    stall: new Chart("Loop stall", { unit: "ms at most", least: 10, say }),
    jobs: new Chart("Jobs at work", { least: 5, say }),
  };

  #refused;

  /** `call(path)` asks the API. `refused(fault)` is told when the key does not hold any more. */
  constructor(call, refused) {
    this.#call = call;
    this.#refused = refused;
    $("charts").replaceChildren(...Object.values(this.#charts).map((chart) => chart.element));
    document.addEventListener("visibilitychange", this.#look);
  }

  start(first) {
    this.#show(first);
    this.#plan();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#look);
  }

  #look = () => {
    clearTimeout(this.#timer);
    if (document.visibilityState === "visible") this.#ask();
    else status("wait", "Paused", "while this tab is hidden");
  };

  #plan() {
    clearTimeout(this.#timer);
    if (!this.#stopped && document.visibilityState === "visible") this.#timer = setTimeout(() => this.#ask(), EVERY_MS);
  }

  async #ask() {
    if (this.#asking || this.#stopped) return;
    this.#asking = true;
    try {
      this.#show(await this.#call("/v1/stats"));
    } catch (fault) {
      if (this.#stopped) return;
      if (fault.status === 401 || fault.status === 403) {
        this.#refused(fault);
        return;
      }
      status("off", "No answer", `${fault.message}; the numbers are old`);
      this.#before = null;
    } finally {
      this.#asking = false;
    }
    this.#plan();
  }

  #show({ connections, broker, loop, jobs }) {
    const at = Date.now();
    const now = { at, delivered: broker.delivered + broker.replayed };
    const all = Object.values(jobs);
    const down = all.filter(isDown).length;
    const { websocket, sse, total, users, catching_up: behind } = connections;
    const charts = this.#charts;
    charts.connections.add(at, [websocket, sse], { total });
    charts.deliveries.add(at, [rate(this.#before, now)]);
    charts.behind.add(at, [behind]);
    charts.stall.add(at, [loop.now_max_ms], { mood: loop.now_max_ms > LONG_STALL_MS ? "bad" : "" });
    charts.jobs.add(at, [all.length - down], { mood: down ? "bad" : "" });
    this.#before = now;
    showJobs(all, down);
    $("since").textContent = users === 1 ? "1 user is connected" : `${whole.format(users)} users are connected`;
    status("live", "Live", `at ${clockTime()}`);
  }
}

const isDown = (job) => job.seconds_down > 0;

function showJobs(jobs, down) {
  $("jobs-count").textContent = down ? `${down} of ${jobs.length} down` : `all ${jobs.length} at work`;
  $("jobs-count").classList.toggle("down", down > 0);
  $("jobs-rows").replaceChildren(...jobs.map((job) => h("tr", {},
    h("th", { scope: "row" }, job.name),
    h("td", { class: isDown(job) ? "down" : null },
      isDown(job) ? `down for ${say(job.seconds_down)} s` : "at work"),
    h("td", { class: "number" }, whole.format(job.restarts)))));
}

function status(mood, title, detail) {
  $("status").dataset.mood = mood;
  if ($("status-title").textContent !== title) $("status-title").textContent = title; // it is read out
  $("status-detail").textContent = detail;
}
