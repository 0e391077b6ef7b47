// The text of an event stream, cut anywhere, to the data of its events (WHATWG HTML, section 9.2.6).

/** @param {(data: string) => void} heard called for each event that has data */
export function createParser(heard) {
  let rest = "";
  /** @type {string[]} */
  let data = [];

  /** @param {string} line */
  function take(line) {
    if (line === "") {
      if (data.length > 0) heard(data.join("\n"));
      data = [];
    } else if (line.startsWith("data:")) {
      data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }

  return {
    /** @param {string} text */
    push(text) {
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) take(line);
    },
  };
}
