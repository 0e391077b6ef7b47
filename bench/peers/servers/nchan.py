"""nginx with nchan, one worker, from a folder of its own: writes its configuration and becomes nginx.

nginx takes over listening sockets that the variable NGINX names, as it does when it replaces its own program.
So the ports are free ones, and taken before nginx runs: whoever connects early waits in the backlog.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from pathlib import Path

from bench.peers import installed

BACKLOG = 4096

CONFIGURATION = """
load_module {module};
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{
  worker_connections {connections};
  multi_accept on;
}}
http {{
  access_log off;
  gzip off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 1d;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 64k;
  client_body_in_single_buffer on;
  nchan_shared_memory_size 256M;
  server {{
    listen 127.0.0.1:{client_port} backlog={backlog};
    location = /ws {{
      nchan_subscriber websocket;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
    }}
    location = /events {{
      nchan_subscriber eventsource;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
    }}
  }}
  server {{
    listen 127.0.0.1:{publish_port} backlog={backlog};
    location = /publish {{
      nchan_publisher http;
      nchan_channel_id bench;
      nchan_message_buffer_length {kept};
    }}
  }}
}}
"""
#: Messages kept for a client that is behind. Its documentation warns that without any, messages
#: published quickly may be missed.
KEPT = 100


def main() -> None:
    folder = Path(sys.argv[1])
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    client, publish = (socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) for _ in range(2))
    text = CONFIGURATION.format(
        module=installed.NCHAN,
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder,
        files=files,
        connections=files,
        client_port=client.getsockname()[1],
        publish_port=publish.getsockname()[1],
        backlog=BACKLOG,
        kept=KEPT,
    )
    (folder / "nginx.conf").write_text(text)
    for sock in (client, publish):
        sock.set_inheritable(True)
        sock.setblocking(False)  # nginx does not do so to what it takes over
    print(f"READY {client.getsockname()[1]} {publish.getsockname()[1]}", flush=True)
    program = installed.nginx() or "nginx"
    arguments = [
        "nginx",
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        str(folder / "error.log"),
    ]
    os.environ["NGINX"] = f"{client.fileno()};{publish.fileno()};"
    os.execv(program, arguments)


main()
