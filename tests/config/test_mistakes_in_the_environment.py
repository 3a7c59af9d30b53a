"""A mistake in the environment is one line that names the variable."""

import pytest

from support.settings import (
    ENTRY_NAMES,
    KINDS_ACCEPTED,
    LEVELS,
    MODEL,
    ORIGIN,
    PORT,
    SECRET,
    mistake,
)

VARIABLES = "the keys of config.toml, as in STREAMSVC_PROVIDER, STREAMSVC_SERVER__PORT"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("environ", "found", "accepted"),
    [
        ({"STREAMSVC_SERVER__PORT": "many"}, "STREAMSVC_SERVER__PORT: found 'many'", PORT),
        ({"STREAMSVC_SERVER__PORT": ""}, "STREAMSVC_SERVER__PORT: found ''", PORT),
        ({"STREAMSVC_SERVER__HOST": ""}, "STREAMSVC_SERVER__HOST: found ''", "a string, not empty"),
        (
            {"STREAMSVC_SERVER__DRAIN_SECONDS": "inf"},
            "STREAMSVC_SERVER__DRAIN_SECONDS: found 'inf'",
            "a number of at least 0, and not infinite",
        ),
        (
            {"STREAMSVC_SERVER__LOG_LEVEL": "INFO"},
            "STREAMSVC_SERVER__LOG_LEVEL: found 'INFO'",
            LEVELS,
        ),
        (
            {"STREAMSVC_CORS__ORIGINS": '["https://a.test"'},
            "STREAMSVC_CORS__ORIGINS: found '[\"https://a.test\"'",
            "strings separated by commas",
        ),
        (
            {"STREAMSVC_CORS__ORIGINS": "https://a.test/"},
            "STREAMSVC_CORS__ORIGINS: found 'https://a.test/'",
            ORIGIN,
        ),
        (
            {"STREAMSVC_CORS__ORIGINS": "[\udcff"},
            "STREAMSVC_CORS__ORIGINS: found '[\\udcff'",
            "strings separated by commas",
        ),
        (
            {"STREAMSVC_NONSENSE": SECRET},
            "STREAMSVC_NONSENSE: found an unknown setting",
            VARIABLES,
        ),
        (
            {"STREAMSVC_SERVER_PORT": "9000"},
            "STREAMSVC_SERVER_PORT: found an unknown setting (did you mean STREAMSVC_SERVER__PORT?)",
            VARIABLES,
        ),
        (
            {"STREAMSVC_PORT": "9000"},
            "STREAMSVC_PORT: found an unknown setting (did you mean STREAMSVC_SERVER__PORT?)",
            VARIABLES,
        ),
        (
            {"STREAMSVC_NO__SUCH__TABLE": "1"},
            "STREAMSVC_NO__SUCH__TABLE: found an unknown setting",
            VARIABLES,
        ),
        (
            {"STREAMSVC_CORS__ORIGIN": "*"},
            "STREAMSVC_CORS__ORIGIN: found an unknown setting (did you mean STREAMSVC_CORS__ORIGINS?)",
            "STREAMSVC_CORS__ORIGINS",
        ),
        (
            {"STREAMSVC_PROVIDER__MODEL": "m", "STREAMSVC_PROVIDER": "fake"},
            "STREAMSVC_PROVIDER__MODEL: found a key below STREAMSVC_PROVIDER, which is not a table",
            "the name of a setting",
        ),
        (
            {"STREAMSVC_SERVER": "x"},
            "STREAMSVC_SERVER: found a string",
            "variables for its keys, such as STREAMSVC_SERVER__HOST",
        ),
        (
            {"STREAMSVC_PROVIDERS__OPENAI": SECRET},
            "STREAMSVC_PROVIDERS__OPENAI: found a string",
            "variables for its keys, such as STREAMSVC_PROVIDERS__OPENAI__KIND",
        ),
        (
            {"STREAMSVC_PROVIDERS": SECRET},
            "STREAMSVC_PROVIDERS: found a string",
            "variables for its keys, such as STREAMSVC_PROVIDERS__OPENAI__MODEL",
        ),
        (
            {"STREAMSVC_PROVIDERS__OPENIA__MODEL": "m"},
            "STREAMSVC_PROVIDERS__OPENIA__MODEL: providers.openia.kind: found nothing",
            KINDS_ACCEPTED,
        ),
        (
            {"STREAMSVC_PROVIDERS__A__KIND": "opnai"},
            "STREAMSVC_PROVIDERS__A__KIND: found 'opnai'",
            KINDS_ACCEPTED,
        ),
        (
            {"STREAMSVC_PROVIDERS__A__KIND": "openai"},
            "STREAMSVC_PROVIDERS__A__KIND: providers.a.model: found nothing",
            MODEL,
        ),
        (
            {"STREAMSVC_PROVIDERS____KIND": "fake"},
            "STREAMSVC_PROVIDERS____KIND: found an invalid entry name",
            ENTRY_NAMES,
        ),
        (
            {"STREAMSVC_PROVIDER": "opnai"},
            "STREAMSVC_PROVIDER: found 'opnai'",
            "the name of an entry, one of 'fake', 'gemini', 'openai'",
        ),
        (
            {"STREAMSVC_GENERATIONS__GRACE_SECONDS": "120.5"},
            "STREAMSVC_GENERATIONS__GRACE_SECONDS: found 120.5",
            "at most max_grace_seconds, which is 120",
        ),
    ],
)
def test_mistake_in_the_environment_is_one_line(
    environ: dict[str, str], found: str, accepted: str
) -> None:
    """The line names the variable, not the file."""
    assert mistake(None, environ) == f"{found}; accepted: {accepted}"


@pytest.mark.promise("input:clear-error")
def test_missing_key_in_a_table_of_the_file_names_the_file() -> None:
    """This holds even if a variable replaces one of the keys of the table."""
    text = '[providers.a]\nkind = "openai"\nbase_url = "http://a.test"\n'
    assert mistake(text, {"STREAMSVC_PROVIDERS__A__KIND": "gemini"}) == (
        f"config.toml: providers.a.model: found nothing; accepted: {MODEL}"
    )


def test_variable_below_a_plain_key_names_that_key() -> None:
    assert mistake("server = 1", {"STREAMSVC_SERVER__PORT": "1"}) == (
        "STREAMSVC_SERVER__PORT: found a key below server, which is not a table; "
        "accepted: the name of a setting\n"
        "config.toml: server: found 1; accepted: a table, [server]"
    )
