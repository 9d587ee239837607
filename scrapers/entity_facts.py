"""What settings have to say of one entity before it is asked."""

from pydantic import BaseModel, ConfigDict


class EntityFacts(BaseModel):
    """Base of what settings say of one entity: its platform, currency, address. A field without default is required.

    The ``examples`` of a field are its example in the contract tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
