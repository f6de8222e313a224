"""What others want a run to see, until its owner puts it in the run's log (DESIGN rule 9)."""

import msgspec
from msgspec import Struct

from durably.engine.execution.outcomes import Outcome
from durably.engine.log.records import AttemptFailed, StepFailed, StepSucceeded

__all__ = ["CancelItem", "Item", "OutcomeItem", "decode_item", "encode_item"]


class CancelItem(Struct, tag="cancel", tag_field="type", frozen=True):
    """Somebody asked for the run to be canceled."""


class OutcomeItem(Struct, tag="outcome", tag_field="type", frozen=True):
    """An attempt ended while its run was blocked; fed when fitting code is there (DESIGN rule 13)."""

    step: str
    attempt: int
    start: int
    records: tuple[AttemptFailed | StepSucceeded | StepFailed, ...]

    def outcome(self, item: int) -> Outcome:
        """The outcome, as it would have been fed; `item` is where it lies."""
        return Outcome(self.step, self.attempt, self.start, self.records, (item,))


Item = CancelItem | OutcomeItem

encode_item = msgspec.json.Encoder().encode
decode_item = msgspec.json.Decoder[Item](Item).decode
