"""Builds scripts for the fake provider, step by step."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from typing_extensions import override

from streamsvc.script import FailureCode, ScriptStep


class Script:
    """An answer, step by step. Immutable: each method returns a longer script.

        script = Script().words("Let me look.").call("get_weather", city="Paris").turn().words("18 °C.")
        client.post("/v1/generations", json={"prompt": "Weather?", "script": script.steps})

    `streamsvc.script.ScriptStep` explains the steps. A wrong step raises a `ValueError` that says what is wrong.

    Args:
        steps: the first ones, as in JSON.
    """

    def __init__(self, steps: Iterable[Mapping[str, Any]] = ()) -> None:
        self._steps = tuple(map(_checked, steps))

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The script as JSON values: for the field `script` of a request, or the setting of an entry."""
        return [*msgspec.to_builtins(self._steps)]

    def words(self, text: str) -> "Script":
        """Say *text*, word by word."""
        return self.step(words=text)

    def reasoning(self, text: str) -> "Script":
        """Reason, word by word."""
        return self.step(reasoning=text)

    def refusal(self, text: str) -> "Script":
        """Refuse with *text*, word by word."""
        return self.step(refusal=text)

    def call(self, tool: str, /, **arguments: Any) -> "Script":
        """Call a tool. For a call with an id of its own, or with broken arguments, use `step`."""
        return self.step(call=tool, arguments=arguments)

    def pause(self, seconds: float) -> "Script":
        """Be silent for *seconds*."""
        return self.step(pause=seconds)

    def pace(self, words_per_second: float) -> "Script":
        """Change the pace; 0 is as fast as possible."""
        return self.step(pace=words_per_second)

    def usage(self, *, input_tokens: int, output_tokens: int, **details: int) -> "Script":
        """Report these tokens; the details are those of `streamsvc.events.Usage`, such as `cached_tokens`."""
        usage = {"input_tokens": input_tokens, "output_tokens": output_tokens, **details}
        return self.step(usage=usage)

    def finish(self, reason: str) -> "Script":
        """End with a reason: `stop`, `length`, `content_filter`, `tool_calls` or `other`."""
        return self.step(finish=reason)

    def fail(
        self,
        code: FailureCode,
        *,
        after: int | None = None,
        times: int | None = None,
        retry_after: float | None = None,
    ) -> "Script":
        """Fail.

        Args:
            code: of the error, such as `provider_rate_limited`.
            after: after how many words and pieces of tool calls; by default, where the step stands.
            times: how many calls for the same answer fail; by default, all.
            retry_after: how many seconds the provider asks to wait.
        """
        details = {"after": after, "times": times, "retry_after": retry_after}
        given = {name: value for name, value in details.items() if value is not None}
        return self.step(fail=code, **given)

    def provider_data(self, **by_vendor: Any) -> "Script":
        """Give the client data that it has to send back, by vendor: `provider_data(google={...})`."""
        return self.step(provider_data=by_vendor)

    def turn(self) -> "Script":
        """Begin the answer to the conversation's next turn."""
        return self.step(turn="next")

    def step(self, **fields: Any) -> "Script":
        """Add a step as in JSON: `step(call="get_weather", id="call_a", arguments="{broken")`."""
        longer = Script()
        longer._steps = (*self._steps, _checked(fields))
        return longer

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Script) and self._steps == other._steps

    @override
    def __hash__(self) -> int:
        return hash(repr(self._steps))

    @override
    def __repr__(self) -> str:
        return f"Script({self.steps!r})"


def _checked(step: Mapping[str, Any]) -> ScriptStep:
    try:
        return msgspec.convert(step, ScriptStep)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
