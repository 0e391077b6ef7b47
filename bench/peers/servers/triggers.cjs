// The publish port: one broadcast for each byte that comes in.
"use strict";
const net = require("node:net");

exports.BACKLOG = 4096;

/** Print the ports once both listen. `server` is the HTTP server that takes the clients. */
exports.serve = (server, broadcast) => {
  const triggers = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      for (let left = data.length; left > 0; left--) broadcast();
    });
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: exports.BACKLOG }, () => {
    triggers.listen({ port: 0, host: "127.0.0.1" }, () => {
      console.log(`READY ${server.address().port} ${triggers.address().port}`);
    });
  });
};
