"""A TCP proxy on the loopback interface that holds answers back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Forwards to a port of this machine."""

    target: int
    delay: float
    """Seconds that every answer takes longer."""
    marks: tuple[bytes, ...]
    """The first answer to a request that holds one of these never comes: the client has given up by then, and asks again."""
    lost: list[bytes] = field(default_factory=list)
    """The marks whose answers were lost."""
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Take connections until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, client: socket.socket) -> None:
        mute = threading.Event()
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            threading.Thread(target=self._answer, args=(server, client, mute), daemon=True).start()
            with suppress(OSError):
                while asked := client.recv(1 << 16):
                    if mark := next((mark for mark in self.marks if mark in asked and mark not in self.lost), None):
                        self.lost.append(mark)
                        mute.set()
                    server.sendall(asked)
                    if mute.is_set():
                        client.settimeout(2)  # for the rest of the request; then the connection ends without an answer

    def _answer(self, server: socket.socket, client: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while told := server.recv(1 << 16):
                time.sleep(self.delay)
                if not mute.is_set():
                    client.sendall(told)


@contextmanager
def slow(port: int, delay: float, *marks: bytes) -> Iterator[Proxy]:
    """A proxy before this port."""
    proxy = Proxy(port, delay, marks)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
