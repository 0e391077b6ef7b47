// The event bus of the original client, with its names.

import { Emitter } from "./emitter.js";

/** @type {Record<string, keyof import("./types.js").BusEvents>} */
const EVENT_OF = {
  "deal-notification": "notification:deal",
  "system-message": "notification:system",
  "job-completed": "notification:job",
  "notification-updated": "notification:updated",
};

/**
 * `dispatch(event, data)` gives `data` to everyone who has called `subscribe(event, handler)`.
 * @template {Record<string, any>} [Events=import("./types.js").BusEvents]
 */
export function createEventBus() {
  /** @type {Emitter<Events>} */
  const emitter = new Emitter();
  return {
    /** @template {keyof Events & string} Name @param {Name} event @param {Events[Name]} data */
    dispatch: (event, data) => emitter.emit(event, data),
    /**
     * @template {keyof Events & string} Name
     * @param {Name} event
     * @param {(data: Events[Name]) => void} handler
     * @returns {() => void} ends it
     */
    subscribe: (event, handler) => emitter.on(event, handler),
  };
}

/**
 * Puts each entry of a client onto a bus: `notification:deal`, `notification:system`, … with the message's data.
 * An application's own `x-…` comes as `notification:x-…`.
 * @param {{on: import("./types.js").Client["on"]}} client
 * @param {import("./types.js").Bus} bus
 * @returns {() => void} ends it
 */
export function bridge(client, bus) {
  return client.on("entry", (message) => {
    const event = EVENT_OF[message.type] ?? `notification:${message.type}`;
    bus.dispatch(/** @type {any} */ (event), /** @type {any} */ (message.data));
  });
}
