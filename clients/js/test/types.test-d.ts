// A wrong payload is an error of the compiler: tsc fails where one of the expected errors does not come.

import { createClient, createEventBus } from "@notifyd/client";
import { useEventBus, useWebSocket } from "@notifyd/client/react";

const client = createClient({ url: "http://localhost:8000", getToken: async () => "t" });
const bus = createEventBus();

client.on("deal-notification", ({ data }) => data.deals[0]?.best_price_in_cents.toFixed(2));
client.on("x-parcel", ({ data }) => data.notification_id.length);
client.on("entry", (message) => message.type === "job-completed" && message.data.job_name.length);
bus.subscribe("notification:deal", ({ deals }) => deals.length);
bus.dispatch("notification:system", { notification_id: "n", message: "hello", severity: "info", critical: false });
bus.subscribe("notification:x-parcel", ({ notification_id }) => notification_id.length);
const own = createEventBus<{ "cart:changed": { items: number } }>();
own.subscribe("cart:changed", ({ items }) => items.toFixed());

// @ts-expect-error a price is `best_price_in_cents`
client.on("deal-notification", ({ data }) => data.deals[0]?.best_price);
// @ts-expect-error there is no such event
client.on("deal", () => {});
// @ts-expect-error a job has no deals
client.on("job-completed", ({ data }) => data.deals);
// @ts-expect-error `severity` is one of three
bus.dispatch("notification:system", { notification_id: "n", message: "hello", severity: "loud", critical: false });
// @ts-expect-error deals are missing
bus.dispatch("notification:deal", { notification_id: "n", user_id: "7", message: "hello" });
// @ts-expect-error there is no such event
bus.subscribe("notification:deals", () => {});
// @ts-expect-error what a publisher put is not known
bus.subscribe("notification:x-parcel", ({ where }) => where.length);
// @ts-expect-error items is a number
own.dispatch("cart:changed", { items: "3" });
// @ts-expect-error an acknowledgement says up to where
client.send({ type: "ack", data: {} });
// @ts-expect-error notifications are marked by ids or up to a cursor
client.mark("read", { ids: ["n"], upTo: "ab-1" });
// @ts-expect-error only these three
createClient({ transport: "polling" });
// @ts-expect-error a number is no token
createClient({ getToken: () => 7 });

export function Component() {
  const { isConnected, error, send } = useWebSocket({ autoConnect: true });
  useEventBus("notification:deal", ({ deals }) => deals.map(({ store_name }) => store_name));
  // @ts-expect-error the data of an announcement has no deals
  useEventBus("notification:system", ({ deals }) => deals);
  // @ts-expect-error it is a word
  useWebSocket({ autoConnect: "yes" });
  send({ type: "ping" });
  return isConnected ? "Live" : error;
}
