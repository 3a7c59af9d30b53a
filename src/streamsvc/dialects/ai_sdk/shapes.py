"""UI messages, as `useChat` sends them with every request.

The fields are those of the package `ai`, `src/ui/ui-messages.ts`; what is not used here is not checked.
"""

from typing import Any, Literal

import msgspec

SILENT_TYPES = ("reasoning", "step-start", "source-url", "source-document", "data-", "custom")
"""How the types of parts begin that are not part of the conversation; the model does not get them."""

DENIED = "Tool call execution denied."
"""The result of a call that the user denied without a reason (the AI SDK's words)."""

Json = msgspec.Raw | msgspec.UnsetType


class Approval(msgspec.Struct):
    """What the user said when asked whether a tool may run."""

    approved: bool | None = None
    reason: str | None = None


class UIPart(msgspec.Struct, rename="camel"):
    """A part of a message: of any type, with the fields that its type has."""

    type: str
    id: str | None = None
    text: str | None = None
    state: str = ""
    provider_metadata: dict[str, Any] | None = None

    tool_call_id: str = ""
    tool_name: str = ""
    title: str | None = None
    tool_metadata: dict[str, Any] | None = None
    provider_executed: bool | None = None
    input: Json = msgspec.UNSET
    raw_input: Json = msgspec.UNSET
    output: Json = msgspec.UNSET
    error_text: str = ""
    preliminary: bool | None = None
    approval: Approval | None = None
    call_provider_metadata: dict[str, Any] | None = None
    result_provider_metadata: dict[str, Any] | None = None

    url: str = ""
    media_type: str = ""
    filename: str | None = None
    source_id: str | None = None
    kind: str | None = None
    data: Json = msgspec.UNSET

    @property
    def is_tool(self) -> bool:
        """Whether it is a tool call, maybe with its result."""
        return self.type == "dynamic-tool" or self.type.startswith("tool-")

    @property
    def tool(self) -> str:
        """The name of the tool that it calls."""
        return self.tool_name if self.type == "dynamic-tool" else self.type.removeprefix("tool-")

    @property
    def is_silent(self) -> bool:
        """Whether the model does not get it."""
        return self.type.startswith(SILENT_TYPES)


class UIMessage(msgspec.Struct):
    """A message: the whole answer, with all its steps, is one message of the assistant."""

    role: Literal["system", "user", "assistant"]
    id: str = ""
    metadata: Json = msgspec.UNSET
    parts: list[UIPart] | None = None
