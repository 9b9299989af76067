"""Draw pictures in threads, in order and within bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from anomalib_flows.core.files import default_threads

T = TypeVar("T")


class Drawing:
    """Draw in threads, with a bounded number of pictures in memory: Pillow packs files without Python's global lock."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool, self.pending = pool, deque[tuple[Future[Any], Callable[[Any], object] | None]]()
        self.limit, self.failed = 2 * default_threads(), False

    def submit(self, draw: Callable[..., T], *arguments: Any, then: Callable[[T], object] | None = None) -> None:
        """Draw a picture, and wait for the oldest one if many are pending; raise its error if it failed.

        ``then`` is given what ``draw`` returns, in the order of the submissions and in this thread. It is not called
        after one that failed.
        """
        self.pending.append((self.pool.submit(draw, *arguments), then))
        if len(self.pending) > self.limit:
            self._settle()

    def after(self, act: Callable[[T], object], argument: T) -> None:
        """Call a function in this thread as soon as all pictures that were submitted before are drawn."""
        known: Future[T] = Future()
        known.set_result(argument)
        self.pending.append((known, act))
        while self.pending and (self.pending[0][0].done() or len(self.pending) > self.limit):
            self._settle()

    def _settle(self) -> None:
        picture, then = self.pending[0]
        picture.exception()  # waits; Ctrl-C meanwhile leaves the picture in its place
        failed, self.failed = self.failed, True  # unless what follows goes well
        self.pending.popleft()
        drawn = picture.result()
        if then and not failed:
            then(drawn)
        self.failed = failed

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Wait for all pictures at the end of the block, also after an error, which is raised then."""
        try:
            yield
        except BaseException:
            while self.pending:
                with suppress(Exception):  # the first error is the one to raise
                    self._settle()
            raise
        while self.pending:
            self._settle()


@contextmanager
def drawing() -> Iterator[Drawing]:
    """Start threads that draw, and wait for their pictures at the end."""
    with ThreadPoolExecutor(default_threads()) as pool:
        started = Drawing(pool)
        with started.finished():
            yield started
