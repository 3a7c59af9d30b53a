"""The tokens of an answer: before it is asked for, and estimated where the provider did not report them."""

from streamsvc.events import Usage
from streamsvc.messages import Prompt, TextPart, UserMessage, count_words, parts_of, texts_of
from streamsvc.snapshot import LongText, Standing

BYTES_PER_TOKEN = 4
"""A rough average over languages and models, in UTF-8, not a tokenizer; the result is marked as an estimate."""

MAX_TOKEN_BYTES = 8
"""The mean length of a token in UTF-8 in a language of long ones (English has 4 to 5); two tokens are longer."""

DATA_TOKENS = 1000
"""What an image or a file counts as before it is asked for: providers count 85 to about 1,500 for an image."""


def reservation(prompt: Prompt, answer_tokens: int) -> int:
    """Return how many tokens an answer may take, input and output together.

    Args:
        prompt: what the model is asked.
        answer_tokens: the tokens of an answer whose prompt has no `max_tokens`.
    """
    turns = (turn for turn in prompt.messages if isinstance(turn, UserMessage))
    parts = (part for turn in turns for part in parts_of(turn.content))
    data = sum(not isinstance(part, TextPart) for part in parts)
    output = answer_tokens if prompt.max_tokens is None else prompt.max_tokens
    return _tokens_of_a_prompt(prompt) + data * DATA_TOKENS + output


def total_tokens(usage: Usage) -> int:
    """Return the tokens of an answer, input and output together."""
    return usage.input_tokens + usage.output_tokens


def estimate(prompt: Prompt, answer: Standing, *, counts_words: bool) -> Usage:
    """Count the tokens of a prompt and of its answer, whose provider has not reported them.

    Args:
        prompt: what the model was asked.
        answer: the part of its answer that viewers have.
        counts_words: whether a token is a word of the prompt, and a delta of the answer. Then the count is exact;
            otherwise the tokens are estimated, from the length of the texts and the deltas of the answer.
    """
    count = _deltas if counts_words else _tokens
    reasoning = count(answer.reasoning)
    return Usage(
        input_tokens=count_words(prompt) if counts_words else _tokens_of_a_prompt(prompt),
        output_tokens=count(answer.text)
        + count(answer.refusal)
        + count(answer.arguments)
        + reasoning,
        reasoning_tokens=reasoning or None,
        estimated=True,
    )


def _tokens_of_a_prompt(prompt: Prompt) -> int:
    size_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts_of(prompt))
    return -(-size_bytes // BYTES_PER_TOKEN)


def _deltas(text: LongText) -> int:
    return text.deltas


def _tokens(text: LongText) -> int:
    """Estimate the tokens of a text that has arrived in deltas.

    Most providers send a token at a time: deltas of two to eight bytes on average, by language. Longer deltas have
    several tokens each.
    """
    if text.size_bytes <= text.deltas * MAX_TOKEN_BYTES:
        return text.deltas
    return -(-text.size_bytes // BYTES_PER_TOKEN)
