// Named events for whoever listens; a handler that throws disturbs neither the others nor the emitter.

/** @template {Record<string, any>} Events */
export class Emitter {
  /** @type {Map<string, Set<(detail: any, more?: any) => void>>} */
  #handlers = new Map();

  /**
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(detail: Events[Name], more: import("./types.js").Arrival) => void} handler
   * @returns {() => void} ends it
   */
  on(name, handler) {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => { handlers.delete(handler); };
  }

  /**
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {Events[Name]} detail
   * @param {import("./types.js").Arrival} [more]
   */
  emit(name, detail, more) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(detail, more);
      } catch (error) {
        reportLater(error);
      }
    }
  }
}

/** As an uncaught error of its own, where tools look for it. @param {unknown} error */
function reportLater(error) {
  if (typeof reportError === "function") reportError(error);
  else queueMicrotask(() => { throw error; });
}
