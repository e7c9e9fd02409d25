"""Running the parts of one stream together."""

import asyncio
from collections.abc import Coroutine


class StreamBrokenError(Exception):
    """A stream ended or stopped answering; begin another."""


async def until_first(*parts: Coroutine[None, None, None]) -> None:
    """Run the parts of a stream until the first ends, then end the others. Raises what that one raised.

    grpc cancels whoever reads from a call that is closed under it. Here that is the stream breaking, not the caller's
    own cancellation, so it becomes a StreamBrokenError.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task.cancelled():
            raise StreamBrokenError("the call was closed")
        try:
            task.result()
        except asyncio.InvalidStateError:  # grpc's word for a write to a call that has ended
            raise StreamBrokenError("the call has ended") from None
    raise StreamBrokenError("the stream ended")
