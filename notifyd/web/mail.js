// What the user wants by mail, and links from mails: `#notification=ID` shows one, `#mail` this section.

import { $, busy } from "./dom.js";
import { failed, toast } from "./toast.js";

export class Mail {
  #account;
  #kept = {};

  constructor(account) {
    this.#account = account;
    $("mail-form").onsubmit = (event) => {
      event.preventDefault();
      busy(event.submitter ?? event.currentTarget, () => this.#save(new FormData($("mail-form"))), failed);
    };
    $("mail-quiet").onchange = () => this.#drawQuiet();
  }

  async load() {
    this.#draw(await this.#account.call("/v1/preferences"));
  }

  #draw(wanted) {
    const { policy, types, quiet_hours: quiet, daily_at: dailyAt } = wanted;
    this.#kept = { types };
    $("mailing").hidden = !wanted.mail;
    $("mail-to").textContent = wanted.email === null
      ? "No address is known for you, so you get no mail."
      : wanted.bounced ? `Mail to ${wanted.email} is refused; nothing is sent there.`
        : `To ${wanted.email}, in the time zone ${wanted.time_zone ?? "UTC"}.`;
    $("mail-policy").value = policy;
    $("mail-deals").value = types["deal-notification"] ?? "";
    $("mail-daily-at").value = dailyAt;
    $("mail-quiet").checked = quiet !== null;
    if (quiet) [$("mail-start").value, $("mail-end").value] = [quiet.start, quiet.end];
    this.#drawQuiet();
    if (location.hash === "#mail" && wanted.mail) $("mailing").scrollIntoView();
  }

  #drawQuiet() {
    $("mail-hours").hidden = !$("mail-quiet").checked;
  }

  async #save(fields) {
    const { "deal-notification": _, ...types } = this.#kept.types;
    if (fields.get("deals")) types["deal-notification"] = fields.get("deals");
    const quiet = $("mail-quiet").checked ? { start: $("mail-start").value, end: $("mail-end").value } : null;
    const body = { policy: fields.get("policy"), types, quiet_hours: quiet, daily_at: $("mail-daily-at").value };
    this.#draw(await this.#account.call("/v1/preferences", { method: "PUT", body }));
    toast("Saved how you are written to.");
  }
}

/** Show the notification that a link in a mail names, once it is in the list. */
export function showLinked(list) {
  const linked = /^#notification=([0-9A-Za-z-]{1,128})$/.exec(location.hash);
  const view = linked && list.querySelector(`[data-id="${linked[1]}"]`);
  if (!view) return;
  view.tabIndex = -1;
  view.scrollIntoView({ block: "center" });
  view.focus();
}
