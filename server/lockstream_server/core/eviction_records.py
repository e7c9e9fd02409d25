"""The records of evictions that etcd keeps, by key and by session."""

from collections.abc import Collection, Iterator, Mapping

from lockstream_server.core.model import EvictionRecord


class EvictionRecords(Mapping[str, EvictionRecord]):
    """Each under the last part of its key. Only the fold changes them."""

    __slots__ = ("_by_key", "_by_session")

    def __init__(self) -> None:
        self._by_key: dict[str, EvictionRecord] = {}
        self._by_session: dict[int, dict[str, EvictionRecord]] = {}

    def __getitem__(self, key: str) -> EvictionRecord:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def __repr__(self) -> str:
        return f"EvictionRecords({self._by_key!r})"

    def of_session(self, session: int) -> Collection[EvictionRecord]:
        """Those of one session, and of its holds. Of session 0 they are those of foreign entries."""
        return self._by_session.get(session, {}).values()

    def put(self, key: str, record: EvictionRecord) -> None:
        """A record was written, maybe over another one."""
        self.forget(key)
        self._by_key[key] = record
        self._by_session.setdefault(record.session, {})[key] = record

    def forget(self, key: str) -> None:
        """A record was deleted. One that is not there is fine."""
        record = self._by_key.pop(key, None)
        if record is None:
            return
        of_session = self._by_session[record.session]
        del of_session[key]
        if not of_session:
            del self._by_session[record.session]
