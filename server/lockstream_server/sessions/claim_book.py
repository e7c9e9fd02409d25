"""Which claims there are, whose they are, and where in the table their entries stand. It decides nothing."""

from collections.abc import Mapping, Sequence

from lockstream_server.core.model import Entry
from lockstream_server.core.table import Table
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.slots import Slots
from lockstream_server.store.keys import entry_id
from lockstream_server.store.port import Part


class ClaimBook:
    """The claims of one attachment, from their proposal until nothing in etcd is left of them."""

    __slots__ = ("_claims", "_owners", "_session", "_table", "by_acquire", "by_owner", "entries", "slots")

    def __init__(self, table: Table, session: int) -> None:
        self._table = table
        self._session = session
        self._claims: dict[int, Claim] = {}
        self._owners: dict[tuple[str, str], list[Claim]] = {}
        self.by_acquire: Mapping[int, Claim] = self._claims
        """All of them, by the number that the client gave the acquire."""
        self.by_owner: Mapping[tuple[str, str], Sequence[Claim]] = self._owners
        """The active ones of a name and an owner: one, but for an upgrade beside the shared hold it is for."""
        self.entries = 0
        """How many entries of active claims hold or await their lock."""
        self.slots = Slots()

    def __repr__(self) -> str:
        return f"ClaimBook({list(self._claims.values())!r})"

    def add(self, claim: Claim) -> None:
        """It is active, whether it is new or could not leave."""
        self._claims[claim.acquire] = claim
        self.entries += len(claim.parts)
        for part in claim.parts:
            self._owners.setdefault((part.name, part.record.owner), []).append(claim)

    def disown(self, claim: Claim) -> None:
        """It is not active any more: its owner may ask for the same names. Does nothing the second time."""
        for part in claim.parts:
            key = (part.name, part.record.owner)
            claims = self._owners.get(key, [])
            if claim in claims:
                self.entries -= 1
                claims.remove(claim)
                if not claims:
                    del self._owners[key]

    def forget(self, claim: Claim) -> None:
        """Nothing is left of it: its number and its slots may be used again. Does nothing the second time."""
        if self._claims.get(claim.acquire) is claim:
            del self._claims[claim.acquire]
            self.give_slots_back(claim)

    def give_slots_back(self, claim: Claim) -> None:
        """Its entries are not in etcd, or never were."""
        for part in claim.parts:
            self.slots.give_back(part.name, part.slot)

    def clear(self) -> None:
        """The session is over, and all claims with it."""
        self._claims.clear()
        self._owners.clear()
        self.entries = 0

    # What the table says of them.

    def entry(self, part: Part) -> Entry | None:
        """The entry at the part's key, which a late attempt of another claim may have written."""
        return self._table.entry(part.name, entry_id(self._session, part.slot))

    def leaving(self) -> list[Entry]:
        """The entries that are on their way out."""
        claims = [claim for claim in self._claims.values() if claim.state is State.LEAVING]
        return [entry for claim in claims for part in claim.parts if (entry := self.entry(part)) and claim.has(entry)]

    def position(self, claim: Claim) -> int:
        """The place among the waiters, from 1; the last of several, 0 when all hold."""
        entries = [self.entry(part) for part in claim.parts]
        return max((self._table.position(entry) for entry in entries if entry is not None), default=0)
