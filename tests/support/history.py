"""Short ways to write etcd's history down."""

from lockstream_server.core.changes import EntryDeleted, EntryPut, EvictionPut, SessionDeleted, SessionPut
from lockstream_server.core.effects import Attached, Effect, Ended, Granted, Queued, Removed, Rewritten
from lockstream_server.core.model import FOREIGN, EntryRecord, EvictionKind, EvictionRecord, Mode, SessionRecord, Terms
from lockstream_server.store.keys import entry_id, eviction_id

RECORD = SessionRecord("worker", {"zone": "a"}, 10, 10.0, False, "hash", "server-1", 1, 1.5)

EXCLUSIVE = EntryRecord(1, Mode.EXCLUSIVE)
SHARED = EntryRecord(1, Mode.SHARED)


def permits(number: int, limit: int) -> EntryRecord:
    """What an acquire of some of so many permits writes."""
    return EntryRecord(1, Mode.PERMITS, terms=Terms(permits=number, limit=limit))


def upgrade(token: int) -> EntryRecord:
    """What the upgrade of the shared hold with this token writes."""
    return EntryRecord(1, Mode.UPGRADE, terms=Terms(upgrades=token))


def put(name: str, session: int, token: int, record: EntryRecord = EXCLUSIVE, slot: int = 0) -> EntryPut:
    """An acquire's entry, created at revision `token`."""
    return EntryPut(name, entry_id(session, slot), session, record, token)


def delete(name: str, session: int, slot: int = 0) -> EntryDeleted:
    """The deletion of an acquire's entry."""
    return EntryDeleted(name, entry_id(session, slot))


def eviction(name: str, session: int, token: int, *, acquire: int = 1) -> EvictionRecord:
    """What is recorded when the hold with this token is ended by an operator."""
    return EvictionRecord(EvictionKind.FORCE_RELEASED, session, name, acquire, token, "stuck", "operator", 2.5)


def session_eviction(session: int) -> EvictionRecord:
    """What is recorded when a whole session is."""
    return eviction("", session, 0, acquire=0)


def recorded(record: EvictionRecord) -> EvictionPut:
    """An eviction's record, written."""
    return EvictionPut(eviction_id(record), record)


def foreign(name: str, key: str, token: int) -> EntryPut:
    """A key that something other than this service wrote."""
    return EntryPut(name, key, None, FOREIGN, token)


def foreign_gone(name: str, key: str) -> EntryDeleted:
    """Its deletion."""
    return EntryDeleted(name, key)


def opened(session: int, at: int, record: SessionRecord = RECORD) -> SessionPut:
    """A session record written at that revision."""
    return SessionPut(session, record, at)


def ended(session: int) -> SessionDeleted:
    """The end of a session record."""
    return SessionDeleted(session)


def told(effects: list[Effect]) -> list[str]:
    """Effects as short sentences, in order: `granted a/1` for the entry of session 1 on lock `a`."""
    return [_sentence(effect) for effect in effects]


def _sentence(effect: Effect) -> str:
    match effect:
        case Granted(entry) | Queued(entry) | Rewritten(entry):
            return f"{type(effect).__name__.lower()} {entry.name}/{_who(entry.session, entry.key)}"
        case Removed(entry, cause):
            state = "held" if entry.granted else "waiting"
            return f"removed {entry.name}/{_who(entry.session, entry.key)} {state}: {cause.value}"
        case Attached(session, attached_at):
            return f"attached {session} at {attached_at}"
        case Ended(session, by):
            return f"ended {session}" if by is None else f"ended {session} by {by.actor}"


def _who(session: int | None, key: str) -> str:
    return key if session is None else str(session)
