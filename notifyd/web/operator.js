// The operator's view. The admin key lives in this tab's sessionStorage, goes into a header and nowhere else.

import { call } from "/client.js";
import { $, busy } from "./dom.js";
import { Ledger } from "./ledger.js";
import { Numbers } from "./numbers.js";
import { failed } from "./toast.js";
import { UserView } from "./user.js";

const KEY = "notifyd.operator";

/** Why a key was not taken, for a person. */
function refusal(fault) {
  if (fault.status === 401) return "This server knows no such admin key.";
  if (fault.status === 403) return "This key is for something else: an admin key is needed here, one of the server’s admin_keys.";
  if (fault.status === 404) return "Operators have an address of their own on this server (operator_listen): open this page there.";
  return `The key could not be tried: ${fault.message}.`;
}

function open(key, first) {
  $("signin").hidden = true;
  $("desk").hidden = $("who").hidden = $("status").hidden = false;
  const ask = (path, options = {}) => call(path, { ...options, token: key });
  const numbers = new Numbers(ask, (fault) => {
    numbers.stop();
    signOut();
    signIn(refusal(fault));
  });
  const ledger = new Ledger(ask);
  new UserView(ask, ledger);
  $("sign-out").onclick = () => {
    signOut();
    location.reload();
  };
  numbers.start(first);
}

const signOut = () => sessionStorage.removeItem(KEY);

/** Try a key; it is kept only when it holds. */
async function enter(key) {
  if (!/^[!-~]+$/.test(key)) return signIn("An admin key has no spaces and only plain letters, digits and signs.");
  try {
    const first = await call("/v1/stats", { token: key });
    sessionStorage.setItem(KEY, key);
    open(key, first);
  } catch (fault) {
    if (fault.status === 401 || fault.status === 403) signOut();
    signIn(refusal(fault));
  }
  return undefined;
}

function signIn(why = "") {
  $("desk").hidden = $("who").hidden = $("status").hidden = true;
  $("signin").hidden = false;
  $("key-fault").textContent = why;
  $("key").setAttribute("aria-invalid", why ? "true" : "false");
  $("key").focus();
}

$("key-form").onsubmit = (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  busy(event.submitter ?? form, async () => {
    const key = $("key").value.trim();
    $("key-form").reset();
    await enter(key);
  }, failed);
};

const kept = sessionStorage.getItem(KEY);
if (kept === null) signIn();
else enter(kept).catch(failed);
