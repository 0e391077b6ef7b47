// The original's server.ts, whose jobs go through the document's both.mjs.
import express from "express";
import { websocketService } from "./both.mjs";

const app = express();
app.get("/", (request, response) => response.send("<!doctype html><title>Shop</title>"));
app.post("/job", async (request, response) => {
  const deal = { item_name: "Milk", best_price_in_cents: 99, store_name: "Corner shop", store_id: 12 };
  const data = { user_id: "7", deals: [deal], message: "You have 1 new deal(s) on your watched items!" };
  response.json(await websocketService.broadcastDealNotification("7", data));
});

const server = app.listen(process.env.PORT, "127.0.0.1", () => console.log("shop is up"));
websocketService.initialize(server);
process.on("SIGTERM", () => {
  websocketService.shutdown();
  server.close(() => process.exit(0));
});
