"""An HTTP load generator for `POST /read`: it sends prepared bytes, which leaves the CPU to the service."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from dataclasses import dataclass, field
from itertools import count

from PIL import Image


@dataclass
class LoadTestResult:
    """The outcome of one round."""

    latencies: list[float] = field(default_factory=list)
    """Seconds until each response with status 200."""
    errors: int = 0
    """Responses with another status, and lost connections."""
    mismatches: int = 0
    """Responses with other digits than expected."""


def encode_request(image: Image.Image) -> bytes:
    """Encode a whole HTTP request that uploads an image as PNG."""
    file = io.BytesIO()
    image.save(file, "png")
    part_head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
    body = part_head + file.getvalue() + b"\r\n--b--\r\n"
    head = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def generate_load(
    port: int, requests: list[bytes], expected: list[list[int]], num_clients: int, seconds: float
) -> LoadTestResult:
    """Send requests in turn from concurrent clients, each of which waits for its response before the next request.

    Args:
        port: of a service on this machine.
        requests: as encode_request makes them.
        expected: digits of each request's image.
        num_clients: concurrent connections.
        seconds: length of the round.
    """
    result, request_indices, deadline = LoadTestResult(), count(), time.perf_counter() + seconds

    async def client() -> None:
        connection = None
        while time.perf_counter() < deadline:
            index = next(request_indices) % len(requests)
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                start = time.perf_counter()
                status, body = await _send_request(*connection, requests[index])
                if time.perf_counter() > deadline:
                    break  # what is answered later does not count for this round
                if status == 200:
                    result.latencies.append(time.perf_counter() - start)
                    result.mismatches += json.loads(body)["readings"][0]["digits"] != expected[index]
                else:
                    result.errors += 1
            except (OSError, asyncio.IncompleteReadError):
                result.errors += 1
                connection = None
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(num_clients)))
    return result


async def _send_request(
    stream_reader: asyncio.StreamReader, stream_writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Send a request; return status and body of the response."""
    stream_writer.write(request)
    head = await stream_reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    body = await stream_reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12]), body
