"""Who calls: a principal is a team, a service or a user, and everything that it creates belongs to it."""

from collections.abc import Collection, Mapping

import msgspec

from streamsvc.config.guard_settings import PrincipalLimits


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request.

    Attributes:
        name: unique among principals; "" if the service asks for no credential.
        limits: what it may use.
        providers: the provider entries that it may name; None means all.
        models: the models that may answer it; None means all.
        credential: which of its keys or tokens it came with; never the secret itself.
    """

    name: str = ""
    limits: PrincipalLimits = PrincipalLimits()
    providers: frozenset[str] | None = None
    models: frozenset[str] | None = None
    credential: str = ""

    def visible(self, entries: Collection[str]) -> list[str]:
        """Return those of the provider entries that it may name."""
        return [name for name in entries if self.providers is None or name in self.providers]

    def entry(self, usual: str, models: Mapping[str, str]) -> str:
        """Return the provider entry for a request that names none: the usual one, or the first that may answer.

        Args:
            usual: the entry that the settings name.
            models: the model of each entry.
        """
        if self.providers is None and self.models is None:
            return usual
        usable = [name for name in self.visible(models) if self.may_use(models[name])]
        return usual if usual in usable or not usable else usable[0]

    def may_use(self, model: str) -> bool:
        """Return whether a model may answer it."""
        return self.models is None or model in self.models


ANONYMOUS = Principal()
"""The principal of a service that asks for no credential."""
