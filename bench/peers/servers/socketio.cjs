// io.emit: the adapter encodes the packet and its frame once for all sockets.
"use strict";
const http = require("node:http");
const { Server } = require("socket.io");
const { serve } = require("./triggers.cjs");

const DAY_MS = 86_400_000;
const payload = process.argv[2];
const server = http.createServer();
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  pingInterval: DAY_MS,
});

// "Performance tuning" of its documentation: the first HTTP request need not stay in memory.
io.engine.on("connection", (socket) => {
  socket.request = null;
});

serve(server, () => io.emit("m", payload));
