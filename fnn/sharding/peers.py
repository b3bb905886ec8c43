"""Processes that tell each other how they end.

JAX ends a process after another one has died, but its message depends on which notices
first, and does not always name the dead process. So every process keeps a connection to
process 0, and sends one line on it when it ends. If a process can't, the system closes its
connection.

    process 2  -- how it ends, or nothing -->  process 0  -- the first cause -->  1, 3, ...
"""

import contextlib
import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from typing import TextIO

WELCOME, DONE = "welcome", "done"
LONGEST = 4096  # characters of a line
KEEP_ALIVE = 30  # seconds, so that routers do not drop a silent connection


class Peers:
    """This process and its peers, which tell each other how they end.

    Args:
        process: The number of this process.
        processes: The number of processes.
        on_failure: Called in a thread, at most once, with the first cause.
    """

    def __init__(
        self, process: int, processes: int, on_failure: Callable[[str], None]
    ) -> None:
        self.process, self.processes = process, processes
        self.on_failure = on_failure
        self._connections: list[socket.socket] = []
        self._over = threading.Lock()  # taken once, by the first failure or by `close`
        self._token = ""

    def listen(self, host: str) -> str:
        """Begin as process 0, on `host`; return the address that the others join."""
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(
            ("", 0), family=family, backlog=self.processes, dualstack_ipv6=both
        )
        self._connections.append(server)
        self._token = secrets.token_hex(16)
        _in_thread(self._accept, server)
        return f"{host} {server.getsockname()[1]} {self._token}"

    def join(self, address: str, timeout: float = 10) -> None:
        """Begin as another process.

        Raises:
            OSError: If process 0 does not answer within `timeout` seconds.
        """
        host, port, token = address.split()
        connection = socket.create_connection((host, int(port)), timeout)
        lines = _lines_of(connection)
        _send(connection, f"{token} {self.process}")
        if _next(lines) != WELCOME:
            connection.close()
            raise ConnectionError("no answer from process 0")
        connection.settimeout(None)
        self._connections.append(connection)
        _in_thread(self._follow, connection, lines, 0)

    def close(self, how: str = DONE) -> None:
        """Tell the others how this process ends, unless one of them has failed before."""
        if self._over.acquire(blocking=False):
            self._tell(how if self.process or how == DONE else self._cause(0, how))
        for connection in self._connections:
            with contextlib.suppress(OSError):  # wakes the thread that reads it
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        with server, contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                _in_thread(self._introduce, connection)

    def _introduce(self, connection: socket.socket) -> None:
        """Follow a connection whose first line has the token and a process's number."""
        lines = _lines_of(connection)
        token, _, process = _next(lines).partition(" ")
        if hmac.compare_digest(token.encode(), self._token.encode()) and process.isdigit():
            self._connections.append(connection)
            _send(connection, WELCOME)
            self._follow(connection, lines, int(process))
        lines.close()
        connection.close()

    def _follow(self, connection: socket.socket, lines: TextIO, process: int) -> None:
        """Wait for the one line that a process sends when it ends."""
        with connection, lines:
            how = _next(lines)
        if how == DONE or not self._over.acquire(blocking=False):
            return
        if self.process and how:
            cause = how  # process 0 passes the cause on
        else:
            cause = self._cause(process, how)
            self._tell(cause)
        self.on_failure(cause)

    def _tell(self, line: str) -> None:
        for connection in self._connections:
            _send(connection, line)

    def _cause(self, process: int, how: str) -> str:
        how = how or "is gone without a word, as after SIGKILL or the loss of its machine"
        return f"process {process} of {self.processes} {how}"


def _in_thread(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, name="peers", daemon=True).start()


def _lines_of(connection: socket.socket) -> TextIO:
    """Return a reader of a connection, which is kept alive while it is silent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE)
    return connection.makefile("r", errors="replace")


def _next(lines: TextIO) -> str:
    """Return the next line; an empty one if the other side is gone."""
    try:
        return lines.readline(LONGEST).strip()
    except OSError:
        return ""


def _send(connection: socket.socket, line: str) -> None:
    """Send a line; nothing happens if the other side is gone."""
    text = " ".join(line.split())[: LONGEST - 1] + "\n"
    with contextlib.suppress(OSError):
        connection.sendall(text.encode(errors="replace"))
