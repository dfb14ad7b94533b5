"""Independent requests of one thread, made on several connections at once, within one budget."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from typing import Final, TypeVar

from markets.json.words import COST

from .kalshi.client import Client, ExchangeError, Params, Reply, Stopped

T = TypeVar("T")

FEWEST: Final = 2
WAITING_PER_CONNECTION: Final = 2
"""How many answers may wait to be read: they are megabytes."""


def connections(rate_per_s: float, page_s: float, most: int) -> int:
    """Return how many connections use up a budget of tokens if an answer takes `page_s`, plus one."""
    return max(1, min(most, max(FEWEST, ceil(rate_per_s / COST * page_s) + 1)))


def fetch_all(
    clients: Sequence[Client], path: str, queries: Iterable[Params], read: Callable[[bytes], T]
) -> Iterator[tuple[T, Reply] | ExchangeError]:
    """Yield the answer to every query, or its failure, in order of arrival.

    Args:
        clients: used until the iterator ends, and by nobody else meanwhile.
        queries: taken one by one as connections become free, in any of their threads. The queries may
            themselves come from requests; a failure of those ends them.

    Raises:
        Stopped: the process is to stop.
    """
    if len(clients) == 1:
        for found in _each(queries):
            yield found if isinstance(found, ExchangeError) else _result(clients[0], path, found, read)
        return
    todo, todo_lock = _each(queries), threading.Lock()
    done: queue.Queue[tuple[T, Reply] | ExchangeError | Stopped | None] = queue.Queue(
        WAITING_PER_CONNECTION * len(clients)
    )
    ended = threading.Event()

    def put(item: tuple[T, Reply] | ExchangeError | Stopped | None) -> None:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                done.put(item, timeout=0.1)
                return

    def work(client: Client) -> None:
        try:
            while not ended.is_set():
                with todo_lock:
                    query = next(todo, None)
                if query is None:
                    break
                put(query if isinstance(query, ExchangeError) else _result(client, path, query, read))
        except Stopped as stopped:
            put(stopped)
        finally:
            put(None)

    threads = [
        threading.Thread(target=work, args=(client,), name=f"fetch-{number}", daemon=True)
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        working = len(threads)
        while working:
            item = done.get()
            if item is None:
                working -= 1
            elif isinstance(item, Stopped):
                raise item
            else:
                yield item
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _each(queries: Iterable[Params]) -> Iterator[Params | ExchangeError]:
    """Yield queries, and finally the failure of their source, if it failed."""
    try:
        yield from queries
    except ExchangeError as error:
        yield error


def _result(
    client: Client, path: str, query: Params, read: Callable[[bytes], T]
) -> tuple[T, Reply] | ExchangeError:
    try:
        return client.get(path, query, read=read)
    except ExchangeError as error:
        return error
