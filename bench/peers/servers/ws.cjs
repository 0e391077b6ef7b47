// The broadcast loop of ws's README. The payload is a Buffer, so that no send encodes a string.
"use strict";
const http = require("node:http");
const { WebSocket, WebSocketServer } = require("ws");
const { serve } = require("./triggers.cjs");

const payload = Buffer.from(process.argv[2]);
const server = http.createServer();
const wss = new WebSocketServer({ server, perMessageDeflate: false });

wss.on("connection", (client) => client.on("error", () => {}));

serve(server, () => {
  for (const client of wss.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(payload, { binary: false });
  }
});
