"""HTTP/1.1 with time limits: uvicorn has one for idle connections alone."""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class Hasty(H11Protocol):
    """Closes a connection whose client is too slow: to send a request's headers, or what nobody reads any more, or to
    take an answer."""

    seconds: ClassVar[float]
    _timer: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

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
        if self.cycle and not self.cycle.response_complete:
            self._rest()
        else:
            self._expect()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stuck:
            self._stuck.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._timer = self._timer or self.loop.call_later(self.seconds, self.transport.close)

    def _rest(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
