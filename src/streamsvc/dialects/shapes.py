"""Messages, tools and formats as clients send them, in the shapes of OpenAI's chat completions.

The names and nesting are those of openai-python, `types/chat/chat_completion_message_param.py`,
`chat_completion_content_part_param.py`, `chat_completion_tool_union_param.py` and `completion_create_params.py`.
The types check the shapes; `content`, `media` and `tools` check the rest, and make them the service's own.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

JsonObject = dict[str, Any]

MAX_TOOLS = 128
"""As in OpenAI's API."""


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    """An object that has the fields of its class and no others."""


class TextShape(_Shape, tag="text", tag_field="type"):
    """Words."""

    text: str


class ImageAddress(_Shape):
    """Where an image is: an `https` address or a data URL."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageShape(_Shape, tag="image_url", tag_field="type"):
    """An image, in a user's message."""

    image_url: ImageAddress


class FileData(_Shape):
    """A file: its data, as a data URL. `file_id` names one that was uploaded, which nobody can do here."""

    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FileShape(_Shape, tag="file", tag_field="type"):
    """A document, in a user's message."""

    file: FileData


class RefusalShape(_Shape, tag="refusal", tag_field="type"):
    """The sentence with which the model refused, in an assistant's message."""

    refusal: str


PartShape = TextShape | ImageShape | FileShape | RefusalShape
"""A piece of a message."""


class FunctionCallShape(_Shape):
    """The name of a tool, and the JSON object with which it is called, as text."""

    name: str
    arguments: str


class ToolCallShape(_Shape, kw_only=True):
    """A call that the model asked for.

    Attributes:
        id: the result refers to it.
        function: what is called.
        type: there is no other.
        provider_data: what came with the call, as it came.
    """

    id: str
    function: FunctionCallShape
    type: Literal["function"] = "function"
    provider_data: JsonObject | None = None


Role = Literal["system", "developer", "user", "assistant", "tool"]
"""Who says a message; `developer` is OpenAI's newer word for `system`."""


class Turn(_Shape):
    """One message of the conversation.

    Attributes:
        role: who says it.
        content: a text, or parts; a message without content is left out, unless it has tool calls or is a result.
        name: tells users or assistants apart.
        refusal: of an assistant: the sentence with which it refused.
        tool_calls: of an assistant.
        tool_call_id: of a tool: the call whose result the content is.
        provider_data: of an assistant: what came with its answer, as it came.
    """

    role: Role
    content: str | list[PartShape] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallShape] | None = None
    tool_call_id: str | None = None
    provider_data: JsonObject | None = None


class FunctionShape(_Shape):
    """What the model may call; `parameters` is the JSON Schema of the arguments."""

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolShape(_Shape):
    """A tool; functions are the only ones."""

    function: FunctionShape
    type: Literal["function"] = "function"


class FunctionName(_Shape):
    """The name of a tool."""

    name: str


class NamedChoice(_Shape):
    """The tool that the model has to call."""

    function: FunctionName
    type: Literal["function"] = "function"


class TextFormat(_Shape, tag="text", tag_field="type"):
    """An answer in words, as without a format."""


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
    """Text that the answer is expected to repeat for the most part."""

    content: str | list[TextShape]


Tools = Annotated[list[ToolShape], Meta(max_length=MAX_TOOLS)]
Choice = Literal["auto", "none", "required"] | NamedChoice
Format = TextFormat | JsonObjectFormat | JsonSchemaFormat
