"""What the fake provider answers without a script: tool calls, a value that fits a schema, or words."""

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.messages import JsonFormat, Prompt
from streamsvc.provider_errors import ProviderRefused
from streamsvc.providers.fake.calls import as_json, calls_for, question_of, results_of
from streamsvc.providers.fake.schemas import NoValue
from streamsvc.providers.fake.text import before_stop, reply_to
from streamsvc.providers.fake.values import value_for
from streamsvc.script import Script, ScriptStep


def script_for(prompt: Prompt, settings: FakeSettings, preface: str) -> Script:
    """Return the script of the answer to a prompt.

    Args:
        prompt: the request.
        settings: of the entry.
        preface: words before the answer, which make it a different one; a JSON answer has other values instead.

    Raises:
        ProviderRefused: no value fits a schema.
    """
    try:
        calls = calls_for(prompt)
        text = preface if calls else _text(prompt, settings, preface)
    except NoValue as exc:
        raise ProviderRefused from exc
    reasoning = settings.reasoning if prompt.reasoning_effort != "none" else ""
    said = before_stop(text, prompt.stop)
    return (
        *([ScriptStep(reasoning=reasoning)] if reasoning else []),
        *([ScriptStep(words=said)] if said else []),
        *(ScriptStep(call=name, arguments=arguments) for name, arguments in calls),
    )


def _text(prompt: Prompt, settings: FakeSettings, preface: str) -> str:
    """Return the words of an answer."""
    if settings.reply == "echo":
        return preface + question_of(prompt)
    if settings.reply == "text":
        return preface + settings.text
    if prompt.response_format:
        return _json(prompt.response_format, settings, is_other=bool(preface))
    if results := results_of(prompt):
        said = (f"The result of {result.name} is {result.content}" for result in results)
        return preface + "\n".join(said)
    return preface + (reply_to(question_of(prompt)) or settings.text)


def _json(form: JsonFormat, settings: FakeSettings, *, is_other: bool) -> str:
    if form.schema is None:
        return as_json({"other_answer" if is_other else "answer": settings.text})
    return as_json(value_for(form.schema, variant=int(is_other)))
