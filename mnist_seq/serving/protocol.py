"""HTTP/1.1 that waits for no one: uvicorn limits how long an idle connection is kept, not how long headers take."""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Hasty(H11Protocol):
    """Closes a connection whose request's headers are not through in time."""

    seconds: ClassVar[float]
    _timer: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, seconds: float) -> type[Hasty]:
        """One that waits so long."""
        return type("Hasty", (cls,), {"seconds": seconds})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does so for its own sockets alone; without, an answer waits 40 ms for the client to confirm its head
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect()
        else:
            self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._timer = self._timer or self.loop.call_later(self.seconds, self.transport.close)

    def _rest(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
