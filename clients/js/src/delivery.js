// Gives each entry to this tab's application once and in order, whatever the wire or another tab repeats.

import { notAfter } from "./cursor.js";

export class Delivery {
  /** The last place in the log that the application knows. @type {import("./types.js").Cursor | null} */
  cursor = null;
  #emitter;

  /** @param {import("./emitter.js").Emitter<import("./types.js").ClientEvents>} emitter */
  constructor(emitter) {
    this.#emitter = emitter;
  }

  /**
   * False when something between this tab's place and the entry is missing.
   * @param {import("./types.js").Entry} message
   * @param {string | null} prev where the stream was before it
   * @param {boolean} alert
   */
  entry(message, prev, alert) {
    if (notAfter(message.id, this.cursor)) return true;
    if (!notAfter(prev, this.cursor)) return false;
    this.cursor = message.id;
    this.#emitter.emit(/** @type {"entry"} */ (message.type), message, { alert });
    this.#emitter.emit("entry", message, { alert });
    return true;
  }

  /** The same for a stream that moved on without an entry. @param {string} cursor @param {string | null} prev */
  position(cursor, prev) {
    if (notAfter(cursor, this.cursor)) return true;
    if (!notAfter(prev, this.cursor)) return false;
    this.cursor = cursor;
    return true;
  }

  /** A stream has begun. @param {import("./types.js").Recovery} recovery */
  recovered(recovery) {
    if (this.cursor === null || (!recovery.recovered && recovery.reason !== "no-cursor")) this.cursor = recovery.cursor;
    this.#emitter.emit("recovered", recovery);
  }
}
