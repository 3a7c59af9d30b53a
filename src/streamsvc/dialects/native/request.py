"""The native API's requests: the query of `GET /stream-ai`, and the JSON body of `POST /v1/generations`."""

from collections.abc import Mapping

import msgspec

from streamsvc.dialects.json_body import Body, convert, decode
from streamsvc.dialects.request import RequestBuilder, RequestFields
from streamsvc.errors import InvalidField
from streamsvc.messages import GenerationRequest
from streamsvc.script import Script


class _Query(msgspec.Struct):
    """The parameters of a query that are JSON."""

    script: Script


class NativeRequestParser:
    """Parses requests of the native API.

    Args:
        builder: applies the limits on every request.
    """

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder

    def from_query(self, query: Mapping[str, str]) -> GenerationRequest:
        """Parse the GET form, `?prompt=…&provider=…`.

        Raises:
            RequestError: names the parameter.
        """
        if "prompt" not in query:
            raise InvalidField("A prompt is required: ?prompt=…", field="prompt")
        return self._builder.build(
            RequestFields(
                prompt=query["prompt"],
                provider=query.get("provider"),
                fault=query.get("fault", ""),
                script=_script(query.get("script", "")),
            )
        )

    def parse(self, raw: Body) -> GenerationRequest:
        """Parse the JSON body of a POST.

        Raises:
            RequestError: names the field.
        """
        return self._builder.build(decode(raw, RequestFields))


def _script(text: str) -> Script:
    """Return the script in a query, where it is JSON.

    Raises:
        InvalidField: it is not JSON, or not a script.
    """
    if not text:
        return ()
    try:
        steps = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidField("Invalid 'script': it is not JSON.", field="script") from exc
    return convert({"script": steps}, _Query).script
