"""The service as a process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.e2e.background_command import environment


class Service:
    """`python -m mnist_seq.serve` on a free port, with its log; torch reads, unless the arguments name an engine."""

    def __init__(self, run: Path | str, *arguments: str, **extra: str) -> None:
        command = [sys.executable, "-m", "mnist_seq.serve", f"run={run}", "port=0", *arguments]
        command += [] if any(it.startswith("engine=") for it in arguments) else ["engine=torch"]
        self.process = subprocess.Popen(command, env=environment(**extra), stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._ready.wait(90)
        self.url = next(filter(None, (re.search(r"http://\S+:\d+", entry.get("message", "")) for entry in self.log)))[0]
        self.port = int(self.url.rpartition(":")[2])

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(json.loads(line) if line.startswith("{") else {"message": line})
            if "listening" in self.log[-1].get("message", ""):
                self._ready.set()
        self._ready.set()

    @property
    def memory(self) -> float:
        """Resident, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000  # type: ignore[index]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        code = self.process.wait(30)
        self._listener.join(5)
        return code

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
