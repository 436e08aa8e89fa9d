"""A way to a server that cuts, keeps silent and dawdles as tests tell it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class BadNetwork:
    """A proxy between a client and a server on loopback.

    Attributes:
        cuts: for each of the next connections, after how many bytes of the answer it is reset; None for never.
        silent: connections are accepted and nothing passes.
        rate: bytes a second that go to the server; 0 for all at once.
        connections: how many were made.
    """

    def __init__(self, url: str) -> None:
        self._scheme, _, place = url.partition("://")
        host, port = place.split(":")
        self._server = (host, int(port))
        self.cuts: list[int | None] = []
        self.silent = False
        self.rate = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        for each in (self._listener, *self._open):
            _end(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            if self.silent:
                continue
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            server = socket.create_connection(self._server)
            self._open.append(server)
            cut = self.cuts.pop(0) if self.cuts else None
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client, cut), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(1 << 13):
                if self.rate:
                    time.sleep(len(data) / self.rate)
                server.sendall(data)
        except OSError:
            pass
        _end(server)

    def _down(self, server: socket.socket, client: socket.socket, cut: int | None) -> None:
        passed = 0
        try:
            while data := server.recv(1 << 13):
                if cut is not None and passed + len(data) > cut:
                    client.sendall(data[: cut - passed])
                    break
                client.sendall(data)
                passed += len(data)
        except OSError:
            pass
        _end(client)


def _end(connection: socket.socket) -> None:
    """Close it, also where another thread waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
