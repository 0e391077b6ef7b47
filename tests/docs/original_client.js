// What the original's useWebSocket does, without React: connect by ?token=, dispatch by type, answer pings,
// and come back with exponential backoff until maxReconnectAttempts. It knows nothing of notifyd.
(token) => {
  const EVENTS = {
    "deal-notification": "notification:deal",
    "system-message": "notification:system",
    "error": "notification:error",
  };
  const reconnectDelay = 200;
  const maxReconnectAttempts = 10;
  let attempts = 0;
  let socket = null;
  const seen = { connected: false, opens: 0, closes: [], delays: [], events: [], messages: [] };

  const send = (message) => socket.send(JSON.stringify(message));
  const heartbeat = (type) => send({ type, data: {}, timestamp: new Date().toISOString() });

  const connect = () => {
    socket = new WebSocket(`ws://${location.host}/ws?token=${encodeURIComponent(token)}`);
    socket.onopen = () => {
      seen.connected = true;
      seen.opens += 1;
      attempts = 0;
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      seen.messages.push(message);
      if (message.type in EVENTS) seen.events.push([EVENTS[message.type], message.data]);
      if (message.type === "ping") heartbeat("pong");
    };
    socket.onclose = (event) => {
      seen.connected = false;
      seen.closes.push(event.code);
      if (attempts < maxReconnectAttempts) {
        const delay = reconnectDelay * Math.pow(2, attempts);
        seen.delays.push(delay);
        setTimeout(connect, delay);
        attempts++;
      }
    };
  };
  connect();
  window.original = { seen, send, heartbeat };
}
