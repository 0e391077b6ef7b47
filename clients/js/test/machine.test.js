// What a connection does when: every rule on a clock of the test's own.

import { describe, expect, it } from "vitest";
import { Fault } from "../src/http.js";
import { FIRST_MESSAGE_MS, Machine } from "../src/machine.js";
import { golden } from "./help.js";

const MESSAGES = golden("messages.json").to_client;
const CODES = /** @type {[string, [string, boolean]][]} */ (Object.entries(golden("close_codes.json")));
const of = (/** @type {string} */ type, data = {}) => {
  const found = MESSAGES.find((/** @type {any} */ message) => message.type === type);
  return { ...found, data: { ...found.data, ...data } };
};

/** A machine, its effects, and its timers on a clock that only the test moves. */
class World {
  now = 1_000_000;
  hasToken = true;
  /** @type {any[]} */
  effects = [];
  /** @type {Map<any, number>} */
  timers = new Map();

  /** @param {ConstructorParameters<typeof Machine>[0]} [options] */
  constructor(options) {
    this.machine = new Machine({ random: () => 0.5, ...options });
  }

  /** @param {any[]} effects */
  run(effects) {
    for (const effect of effects) {
      if (effect.do === "close") this.timers.clear();
      if (effect.do === "open" && this.hasToken) this.run(this.machine.dialling());
      if (effect.do === "timer" && effect.ms < 0) this.timers.delete(effect.name);
      else if (effect.do === "timer") this.timers.set(effect.name, this.now + effect.ms);
      if (effect.do !== "timer" && effect.do !== "state") this.effects.push(effect);
    }
    return this;
  }

  connect(cursor = /** @type {string | null} */ (null)) { return this.run(this.machine.connect(cursor, this.now)); }
  hear(/** @type {string} */ type, data = {}) { return this.run(this.machine.heard(of(type, data), this.now)); }
  end(/** @type {ConstructorParameters<typeof Fault>[1]} */ how) {
    return this.run(this.machine.ended(new Fault("gone", how), this.now));
  }

  live(data = {}) { return this.connect("6f1c9a02-40").hear("connection-established", data); }

  /** @param {number} ms */
  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = [...this.timers].filter(([, at]) => at <= end).sort(([, a], [, b]) => a - b)[0];
      if (!due) break;
      this.now = due[1];
      this.timers.delete(due[0]);
      this.run(this.machine.fired(due[0], this.now));
    }
    this.now = end;
    return this;
  }

  /** Effects of a kind since the last look. @param {string} kind */
  took(kind) {
    const found = this.effects.filter((effect) => effect.do === kind);
    this.effects = this.effects.filter((effect) => effect.do !== kind);
    return found;
  }

  get state() { return this.machine.state.state; }
  /** Ms until the next try. */
  get wait() { return (this.machine.state.retryAt ?? NaN) - this.now; }
}

describe("close codes", () => {
  it.each(CODES.filter(([, [, back]]) => back))("comes back after %s", (code) => {
    const world = new World().live().end({ code: Number(code) });
    expect(world.state).toBe("waiting");
    expect(world.pass(30_000).took("open").length).toBeGreaterThan(1);
  });

  it.each(CODES.filter(([code, [, back]]) => !back && code !== "4501"))("stays away after %s, and says why", (code, [reason]) => {
    const world = new World().live().end({ code: Number(code) });
    expect(world.machine.state).toMatchObject({ state: "stopped", reason, status: Number(code) });
    world.took("open");
    expect(world.pass(1e9).took("open")).toEqual([]);
  });

  it("tries a refused token once with a new one", () => {
    const world = new World().live();
    world.took("open");
    expect(world.end({ code: 4501 }).took("open")).toMatchObject([{ refresh: true }]);
    expect(world.end({ code: 4501 }).machine.state).toMatchObject({ state: "stopped", reason: "signed out: token refused" });
  });

  it("comes back at once with a fresh token when the old one ended", () => {
    const world = new World().live();
    world.took("open");
    expect(world.end({ code: 4001 }).pass(0).took("open")).toMatchObject([{ refresh: true, cursor: "6f1c9a02-40" }]);
  });

  it.each([{ code: 4001 }, { code: 4501 }, { status: 401 }])("does not hammer a login that fails, after %j", (how) => {
    const world = new World().live().pass(5_000).end(how);
    world.pass(0).end({}); // no token to be had
    const waits = Array.from({ length: 4 }, () => {
      const { wait } = world;
      world.pass(wait).end({});
      return wait;
    });
    expect(waits[0]).toBeGreaterThanOrEqual(500);
    expect(waits[3]).toBeGreaterThanOrEqual(4_000);
  });

  it("does not loop when each new token ends at once", () => {
    const world = new World().live().end({ code: 4001 }).pass(0);
    expect(world.hear("connection-established").end({ code: 4001 }).wait).toBe(1_000);
  });
});

describe("waiting", () => {
  it("never gives up, ever longer up to 30 s", () => {
    const world = new World({ transport: "sse" }).connect();
    const waits = Array.from({ length: 40 }, () => {
      const { wait } = world.end({ code: 1006 });
      world.pass(wait);
      return wait;
    });
    expect(waits.slice(0, 6)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000]);
    expect(waits.at(-1)).toBe(15_000);
  });

  it("starts anew only after a connection that lasted", () => {
    const world = new World({ transport: "sse" }).connect();
    for (let nr = 0; nr < 4; nr += 1) world.hear("connection-established").end({ code: 1006 }).pass(world.wait);
    expect(world.hear("connection-established").end({ code: 1006 }).wait).toBe(8_000);
    world.pass(8_000).hear("connection-established").pass(5_000);
    expect(world.end({ code: 1006 }).wait).toBe(500);
  });

  it("honours Retry-After", () => {
    const world = new World({ transport: "sse" }).connect().end({ status: 503, afterMs: 7_000 });
    expect([world.state, world.wait]).toEqual(["waiting", 7_000]);
  });

  it("obeys up to an hour, since a browser's longest timers fire at once", () => {
    expect(new World({ transport: "sse" }).connect().end({ status: 503, afterMs: 2 ** 40 }).wait).toBe(3_600_000);
    const sent = new World().live().hear("reconnect", { after_ms: 2 ** 40 });
    expect(sent.timers.get("slot")).toBe(sent.now + 3_600_000);
    expect(sent.end({ code: 1001 }).wait).toBe(3_600_000);
  });

  it("keeps the appointment that a draining server gave", () => {
    const world = new World().live().hear("reconnect", { after_ms: 1_500 });
    world.pass(200).end({ code: 1001 });
    expect([world.wait, world.machine.state.reason]).toEqual([1_300, "server drains"]);
  });

  it("keeps it also when the server does not close", () => {
    const world = new World().live().hear("reconnect", { after_ms: 1_500 });
    world.took("open");
    expect(world.pass(1_499).took("open")).toEqual([]);
    expect(world.pass(1).took("open")).toHaveLength(1);
  });
});

describe("fallback", () => {
  it("goes over to SSE at once when the WebSocket is refused, with the same cursor, and remembers", () => {
    const world = new World().connect("6f1c9a02-40").end({ code: 1006 });
    expect(world.took("open").map(({ kind, cursor }) => [kind, cursor])).toEqual([
      ["websocket", "6f1c9a02-40"], ["sse", "6f1c9a02-40"],
    ]);
    expect(world.hear("connection-established").took("remember")).toEqual([{ do: "remember", sseUntil: world.now + 300_000 }]);
    expect(world.end({ code: 1006 }).pass(1_000).took("open")).toMatchObject([{ kind: "sse" }]);
  });

  it("does so when nothing comes through the WebSocket", () => {
    const world = new World().connect().pass(FIRST_MESSAGE_MS.websocket);
    expect(world.took("open").map(({ kind }) => kind)).toEqual(["websocket", "sse"]);
  });

  it.each([1000, 1005, 1008, 1011])("does so when a proxy accepts the WebSocket and closes it with %i", (code) => {
    const world = new World().connect().end({ code });
    expect(world.took("open").map(({ kind }) => kind)).toEqual(["websocket", "sse"]);
    expect(new World({ transport: "websocket" }).connect().end({ code }).took("open")).toHaveLength(1);
    expect(new World().live().end({ code }).took("open")).toHaveLength(1);
  });

  it("blames no WebSocket when SSE brings nothing either", () => {
    const world = new World().connect().end({ code: 1006 }).end({ code: 1006 });
    expect(world.state).toBe("waiting");
    expect(world.took("remember")).toEqual([]);
    world.took("open");
    expect(world.pass(1_000).took("open").map(({ kind }) => kind)[0]).toBe("websocket");
  });

  it("tries the WebSocket again later, and on another network at once", () => {
    const later = new World({ sseUntil: 1_300_000 }).connect();
    expect(later.took("open")).toMatchObject([{ kind: "sse" }]);
    later.hear("connection-established").pass(250_000); // silent, tried again and again over SSE
    expect(new Set(later.took("open").map(({ kind }) => kind))).toEqual(new Set(["sse"]));
    expect(later.pass(100_000).took("open").map(({ kind }) => kind)).toContain("websocket");
    const elsewhere = new World({ sseUntil: 1_300_000 }).connect().end({ code: 1006 });
    elsewhere.took("open");
    elsewhere.run(elsewhere.machine.wake("online", elsewhere.now));
    expect(elsewhere.took("open")).toMatchObject([{ kind: "websocket" }]);
  });

  it("is not for who wants WebSocket alone", () => {
    const world = new World({ transport: "websocket" }).connect().end({ code: 1006 });
    expect([world.state, world.took("open").length]).toEqual(["waiting", 1]);
  });

  it("stops where the server says no to the page", () => {
    expect(new World().connect().end({ code: 1006 }).end({ status: 403, stop: true }).machine.state)
      .toMatchObject({ state: "stopped", status: 403 });
  });
});

it("does not count how long the token takes as the WebSocket's silence", () => {
  const world = new World();
  world.hasToken = false;
  world.connect().pass(60_000);
  expect(world.took("open").map(({ kind }) => kind)).toEqual(["websocket"]);
  world.run(world.machine.dialling()).pass(FIRST_MESSAGE_MS.websocket);
  expect(world.took("open").map(({ kind }) => kind)).toEqual(["sse"]);
});

describe("a live stream", () => {
  it("takes each entry once and knows what was before it", () => {
    const world = new World().live();
    world.took("tell");
    for (const message of [...MESSAGES, ...MESSAGES]) if (message.id) world.run(world.machine.heard(message, world.now));
    expect(world.took("tell").map(({ detail, prev }) => [prev, detail.id])).toEqual(
      [41, 42, 43, 44, 45, 46].map((nr) => [`6f1c9a02-${nr - 1}`, `6f1c9a02-${nr}`]));
  });

  it("acknowledges all at once within a second", () => {
    const world = new World().live().hear("deal-notification").hear("job-completed").pass(500);
    expect(world.took("ack")).toEqual([{ do: "ack", upTo: "6f1c9a02-43" }]);
    expect(world.pass(20_000).took("ack")).toEqual([]);
  });

  it("answers pings and moves with their cursor", () => {
    const world = new World().live().hear("ping");
    expect(world.took("say")).toEqual([{ do: "say", message: { type: "pong" } }]);
    expect(world.machine.cursor).toBe("6f1c9a02-47");
  });

  it("notices silence after the heartbeat", () => {
    const world = new World().live().pass(39_999);
    expect(world.state).toBe("live");
    expect(world.pass(1).machine.state).toMatchObject({ state: "waiting", reason: "connection went silent" });
  });

  it("goes on at the head when its cursor cannot be proven", () => {
    const world = new World().live({ recovered: false, reason: "trimmed", cursor: "6f1c9a02-90" });
    expect(world.machine.cursor).toBe("6f1c9a02-90");
  });

  it("asks for a new token before the old one ends", () => {
    const world = new World();
    const at = Date.parse(of("connection-established").timestamp); // the server's clock, not this one
    world.live({ token_expires_at: new Date(at + 600_000).toISOString() });
    const beats = () => { for (let at = 0; at < 530_000; at += 30_000) world.pass(30_000).hear("ping"); };
    beats();
    expect(world.took("renew")).toHaveLength(1);
  });
});

describe("waking", () => {
  it.each(/** @type {const} */ (["visible", "online", "offline"]))("asks a live WebSocket (%s), and gives it 4 s", (why) => {
    const world = new World().live();
    world.run(world.machine.wake(why, world.now));
    expect(world.took("say")).toEqual([{ do: "say", message: { type: "ping" } }]);
    expect(world.pass(3_000).hear("pong").pass(30_000).state).toBe("live");
    world.run(world.machine.wake(why, world.now));
    expect(world.pass(4_000).state).toBe("waiting");
  });

  it("tries at once instead of waiting, but not without a network", () => {
    const world = new World({ transport: "sse" }).connect().end({ status: 503, afterMs: 60_000 });
    world.took("open");
    world.run(world.machine.wake("offline", world.now));
    expect(world.took("open")).toEqual([]);
    world.run(world.machine.wake("visible", world.now));
    expect(world.took("open")).toHaveLength(1);
    world.run(world.machine.wake("online", world.now));
    expect(world.took("open")).toEqual([]); // this try has only begun
  });

  it("opens a stream anew that may have died in sleep", () => {
    const world = new World({ transport: "sse" }).live();
    world.took("open");
    world.run(world.machine.wake("visible", world.now));
    expect(world.took("open")).toEqual([]);
    world.run(world.machine.wake("visible", world.now + 31_000));
    expect(world.took("open")).toMatchObject([{ cursor: "6f1c9a02-40" }]);
  });

  it("does nothing for who does not want a connection", () => {
    const world = new World();
    world.run(world.machine.wake("online", world.now)).end({ code: 1006 });
    expect(world.took("open")).toEqual([]);
  });
});

it("goes back in the log, but not earlier than the next try is due", () => {
  const world = new World({ transport: "sse" }).live();
  world.took("open");
  world.run(world.machine.rewind("6f1c9a02-3", world.now));
  expect(world.took("open")).toMatchObject([{ cursor: "6f1c9a02-3" }]);
  world.end({ code: 1006 });
  world.run(world.machine.rewind("6f1c9a02-2", world.now));
  expect(world.took("open")).toEqual([]);
  expect(world.pass(1_000).took("open")[0]).toMatchObject({ cursor: "6f1c9a02-2" });
});
