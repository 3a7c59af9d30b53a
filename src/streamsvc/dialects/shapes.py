"""Messages, tools and formats as clients send them: the shapes of OpenAI's chat completions, in every dialect.

Names and nesting are those of openai-python, `types/chat/chat_completion_message_param.py`,
`chat_completion_content_part_param.py`, `chat_completion_tool_union_param.py` and `completion_create_params.py`.
These types check the shapes; `content`, `media` and `tools` check the rest, and turn them into the service's own types.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

JsonObject = dict[str, Any]

MAX_TOOLS = 128
"""As in OpenAI's API."""


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object without unknown fields."""


class TextShape(_Shape, tag="text", tag_field="type"):
    """Text."""

    text: str


class ImageAddress(_Shape):
    """The address of an image: `https`, or a data URL."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageShape(_Shape, tag="image_url", tag_field="type"):
    """An image, in a user message."""

    image_url: ImageAddress


class FileData(_Shape):
    """A file: its data, as a data URL. `file_id` names an uploaded file, which is refused: there are no uploads."""

    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FileShape(_Shape, tag="file", tag_field="type"):
    """A document, in a user message."""

    file: FileData


class RefusalShape(_Shape, tag="refusal", tag_field="type"):
    """The text with which the model refused, in an assistant message."""

    refusal: str


PartShape = TextShape | ImageShape | FileShape | RefusalShape
"""A piece of a message."""


class FunctionCallShape(_Shape):
    """The name of a tool and its arguments, a JSON object in a string."""

    name: str
    arguments: str


class ToolCallShape(_Shape, kw_only=True):
    """A tool call, in an assistant message.

    Attributes:
        id: the result refers to it.
        function: the tool, and its arguments.
        type: functions are the only type.
        provider_data: the provider data that came with the call, unchanged.
    """

    id: str
    function: FunctionCallShape
    type: Literal["function"] = "function"
    provider_data: JsonObject | None = None


Role = Literal["system", "developer", "user", "assistant", "tool"]
"""Who wrote a message; `developer` is OpenAI's newer name for `system`."""


class Turn(_Shape):
    """One message of the conversation.

    Attributes:
        role: who wrote it.
        content: a string or parts; a message without content is left out, unless it has tool calls or is a result.
        name: distinguishes users, or assistants.
        refusal: the text with which an assistant refused.
        tool_calls: the tool calls of an assistant.
        tool_call_id: the call whose result a tool message has.
        provider_data: the provider data that came with an assistant's answer, unchanged.
    """

    role: Role
    content: str | list[PartShape] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallShape] | None = None
    tool_call_id: str | None = None
    provider_data: JsonObject | None = None


class FunctionShape(_Shape):
    """A function that the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolShape(_Shape):
    """A tool; functions are the only type."""

    function: FunctionShape
    type: Literal["function"] = "function"


class FunctionName(_Shape):
    """The name of a tool."""

    name: str


class NamedChoice(_Shape):
    """The tool that the model must call."""

    function: FunctionName
    type: Literal["function"] = "function"


class TextFormat(_Shape, tag="text", tag_field="type"):
    """An answer in plain text, the default."""


class JsonObjectFormat(_Shape, tag="json_object", tag_field="type"):
    """An answer that is a JSON object."""


class SchemaShape(_Shape):
    """A JSON Schema, with a name."""

    name: str
    schema: JsonObject | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(_Shape, tag="json_schema", tag_field="type"):
    """An answer that is JSON and follows a schema."""

    json_schema: SchemaShape


class Prediction(_Shape, tag="content", tag_field="type"):
    """Text that the answer will mostly repeat."""

    content: str | list[TextShape]


Tools = Annotated[list[ToolShape], Meta(max_length=MAX_TOOLS)]
Choice = Literal["auto", "none", "required"] | NamedChoice
Format = TextFormat | JsonObjectFormat | JsonSchemaFormat
