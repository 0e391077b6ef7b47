"""The load counts right, and finds a message that was lost or repeated."""

from __future__ import annotations

import shutil
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bench.load import Load, LoadFailed, load, percentile
from bench.peers import MARK
from bench.subjects import NOTIFYD, NOTIFYD_SSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.subjects import Subject

needs_compiler = pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("cc")), reason="no C compiler here: the load is a C program"
)
CLIENTS = 5
#: A message that has not come by then is given up, where one is known to be missing.
LOST_S = 0.5
#: A broadcast asked of the servers here.
ASK = b"x"


def test_percentiles_are_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 50) == 1.0


@needs_compiler
@pytest.mark.parametrize("subject", [NOTIFYD, NOTIFYD_SSE], ids=lambda subject: subject.name)
def test_notifyd_delivers_each_message_to_each_client_once(subject: Subject) -> None:
    with subject.start() as server, load() as crowd:
        server.connect(crowd, CLIENTS)
        server.prepare(crowd)
        one = crowd.run(0.2)
        server.prepare(crowd, 10)
        many = crowd.run(0.2, rate=20, each=10)
        crowd.settle(5)
        crowd.close()
    assert one.publishes > 0
    assert one.messages == one.publishes * CLIENTS == len(one.latencies_s) * CLIENTS
    assert many.messages == many.publishes * 10 * CLIENTS
    assert list(one.latencies_s) == sorted(one.latencies_s)


@needs_compiler
def test_frozen_clients_count_for_nothing_until_they_are_thawed() -> None:
    with NOTIFYD.start() as server, load() as crowd:
        server.connect(crowd, CLIENTS)
        server.prepare(crowd)
        crowd.freeze(2)
        ran = crowd.run(0.2)
        assert ran.messages == ran.publishes * (CLIENTS - 2)
        with pytest.raises(LoadFailed, match="2 clients lack messages, 0 have too many"):
            crowd.settle(0.1)
        crowd.thaw()
        crowd.settle(5)


@needs_compiler
def test_a_server_that_sends_each_message_once_is_right() -> None:
    with sabotaged(lambda number: 1) as crowd:
        assert crowd.run(0.1).publishes > 2


@needs_compiler
def test_a_lost_message_fails_the_run() -> None:
    with (
        sabotaged(lambda number: 0 if number == 7 else 1, LOST_S) as crowd,
        pytest.raises(LoadFailed, match="lost"),
    ):
        crowd.run(0.1)


@needs_compiler
def test_a_repeated_message_fails_the_run() -> None:
    with (
        sabotaged(lambda number: 2 if number == 7 else 1) as crowd,
        pytest.raises(LoadFailed, match=r"repeated|instead of"),
    ):
        crowd.run(0.1)


@needs_compiler
def test_one_lost_and_another_repeated_do_not_make_up_for_each_other() -> None:
    with (
        sabotaged(lambda number: {7: 0, 8: 2}.get(number, 1), LOST_S) as crowd,
        pytest.raises(LoadFailed, match="lost"),
    ):
        crowd.run(0.1)


@contextmanager
def sabotaged(times: Callable[[int], int], lost_s: float = 20.0) -> Iterator[Load]:
    """A load with clients of a server that sends its `number`-th message so often, counted from 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener, load(lost_s=lost_s) as crowd:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=_serve, args=(listener, times), daemon=True)
        thread.start()
        assert crowd.open(CLIENTS, port, []).open == CLIENTS
        crowd.publisher(port, [ASK], answered=False)
        yield crowd
    thread.join(10)


def _serve(listener: socket.socket, times: Callable[[int], int]) -> None:
    """The last that connects is the publisher; each byte from it is a broadcast. Heartbeats go on."""
    clients = [listener.accept()[0] for _ in range(CLIENTS)]
    publisher = listener.accept()[0]
    publisher.settimeout(LOST_S / 5)
    number = 0
    try:
        while True:
            try:
                if not publisher.recv(1):
                    return
            except TimeoutError:
                for client in clients:
                    client.sendall(b"heartbeat")
                continue
            for client in clients:
                number += 1
                client.sendall((b"message" + MARK) * times(number))
    except OSError:
        pass  # the load has ended
    finally:
        for sock in [publisher, *clients]:
            sock.close()
