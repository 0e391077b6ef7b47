// The page: sign in, then the list of notifications joined with the live stream at its cursor.

import { createClient } from "/client.js";
import { Account, demoUsers } from "./account.js";
import { $, busy, h } from "./dom.js";
import { Inbox } from "./inbox.js";
import { Mail, showLinked } from "./mail.js";
import { NotificationList } from "./notifications.js";
import { isGap, showStatus, storedTransport } from "./status.js";
import { failed, toast } from "./toast.js";
import { Watches } from "./watches.js";

const PAGE = 30;

async function readList(account, inbox) {
  const list = await account.call(`/v1/notifications?limit=${PAGE}`);
  inbox.load(list, PAGE);
  return list.cursor;
}

async function readUnread(account, inbox) {
  const list = await account.call("/v1/notifications?limit=1");
  inbox.unread = list.unread;
  inbox.mark("read", []);
}

function wire(account, client, inbox) {
  const list = new NotificationList(inbox, {
    mark: (state, what) => client.mark(state, what),
    markAll: () => client.mark("read", { upTo: client.cursor }),
    older: async () => {
      const before = encodeURIComponent(inbox.oldest().id);
      inbox.append(await account.call(`/v1/notifications?limit=${PAGE}&before=${before}`), PAGE);
    },
  });
  client.on("entry", (message) => {
    if (!inbox.entry(message)) readUnread(account, inbox).catch(failed);
  });
  client.on("recovered", (start) => { if (isGap(start)) readList(account, inbox).catch(failed); });
  client.on("error", ({ message }) => toast(message, "error"));
  return list;
}

async function open(account) {
  $("signin").hidden = true;
  $("board").hidden = $("who").hidden = $("status").hidden = false;
  $("who-name").textContent = account.name;
  const client = createClient({ getToken: (how) => account.freshToken(how), transport: storedTransport() });
  const inbox = new Inbox();
  wire(account, client, inbox);
  showStatus(client);
  const watches = new Watches(account);
  $("announce").hidden = !account.demo;
  $("announce-form").onsubmit = (event) => announce(event, account);
  $("sign-out").onclick = () => {
    client.disconnect("signed out");
    account.signOut();
    location.reload();
  };
  await start(account, client, inbox, watches);
}

/** The list first, then live from its cursor: what is committed in between is not missed. */
async function start(account, client, inbox, watches) {
  try {
    client.connect(await readList(account, inbox));
    showLinked($("notifications"));
    await watches.load();
    await new Mail(account).load();
  } catch (fault) {
    if (fault.status === 401) return signIn(`Please sign in again: ${fault.message}`);
    failed(fault);
    setTimeout(() => start(account, client, inbox, watches), 3_000);
  }
  return undefined;
}

function announce(event, account) {
  event.preventDefault();
  const form = event.currentTarget;
  const fields = new FormData(form);
  const body = { message: fields.get("message"), severity: fields.get("severity") };
  return busy(event.submitter ?? form, async () => {
    await account.call("/demo/announce", { method: "POST", body });
    form.reset();
  }, failed);
}

// --- signing in --------------------------------------------------------------------------------------

function chooser(users) {
  return users.map((user) => {
    const button = h("button", {
      type: "button", class: "person",
      onclick: () => busy(button, async () => open(await Account.demo(user)), failed),
    }, h("span", { class: "avatar", "aria-hidden": "true" }, user.name[0]),
    h("span", {}, h("strong", {}, user.name), h("small", {}, user.about)));
    return h("li", {}, button);
  });
}

async function signIn(why) {
  $("board").hidden = $("who").hidden = $("status").hidden = true;
  $("signin").hidden = false;
  if (why) toast(why, "error");
  const users = await demoUsers();
  $("people").hidden = !users;
  $("token-form").hidden = Boolean(users);
  $("signin-hint").textContent = users ? "Choose one of the demo’s users. Open a second tab for another." : "Paste a token to see its user’s notifications.";
  if (users) $("people").replaceChildren(...chooser(users));
  $("token-form").onsubmit = (event) => {
    event.preventDefault();
    busy(event.submitter ?? event.currentTarget, async () => {
      const account = await Account.pasted($("token").value);
      $("token").value = "";
      await open(account);
    }, failed);
  };
}

const account = Account.restore();
(account ? open(account) : signIn()).catch(failed);
