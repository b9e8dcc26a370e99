"""A TCP proxy whose connections can go dumb, as a cut cable makes them: open, and silent."""

import asyncio
from typing import Self


class FreezingProxy:
    """Passes connections on to one address; `freeze` stops those that are open, not later ones."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everything."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    def freeze(self) -> None:
        """Pass on nothing more of the connections that are open now."""
        self._thawed.clear()
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(*self._target)
        self._writers += [writer, onward_writer]
        for source, sink in ((reader, onward_writer), (onward_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink, self._thawed))
            self._tasks.add(task)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, thawed: asyncio.Event
    ) -> None:
        try:
            while data := await source.read(65_536):
                await thawed.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            # One side has gone: so does the other.
            pass
        finally:
            if thawed.is_set():
                sink.close()
