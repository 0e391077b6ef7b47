// Who is signed in, and the client for them. In the demo a user is chosen by name and the server gives tokens; in an
// application `getToken` asks its own back end.

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { NotifydProvider } from "@notifyd/client/react";
import { App } from "./App.jsx";

const user = new URLSearchParams(location.search).get("user") ?? "ada";

async function getToken() {
  const answer = await fetch("/demo/login", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ user_id: user }),
  });
  if (!answer.ok) throw new Error(`no login: ${answer.status}`);
  return (await answer.json()).token;
}

createRoot(/** @type {HTMLElement} */ (document.getElementById("root"))).render(
  <StrictMode>
    <NotifydProvider getToken={getToken}>
      <App />
    </NotifydProvider>
  </StrictMode>,
);
