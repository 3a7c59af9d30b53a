"""How the commands treat settings and arguments: output, standard error and exit codes."""

import importlib.metadata
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

import streamsvc
from streamsvc.arguments import options_of, parse
from streamsvc.cli import main
from streamsvc.config.file import shipped_providers
from streamsvc.config.load import load
from streamsvc.config.paths import OPTIONS, default_of, dotted
from streamsvc.config.provider_settings import ParameterName
from streamsvc.config.settings import Settings
from support.commands import COMMAND, environment, run

OPENAI_MODEL, GEMINI_MODEL = (shipped_providers()[name]["model"] for name in ("openai", "gemini"))


def test_valid_settings_are_described_with_their_file(tmp_path: Path) -> None:
    text = '[providers.fake]\nkind = "fake"\n[providers.a]\nkind = "openai"\nmodel = "m"\n'
    (tmp_path / "config.toml").write_text(f'{text}api_key_env = "A_KEY"\n')
    result = run(tmp_path, "check-config")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "Configuration OK (config.toml). Provider: 'fake'.\n"
        "  fake: kind fake, model words\n"
        "  a: kind openai, model m, no key set\n"
        f"  openai: kind openai, model {OPENAI_MODEL}, no key set\n"
        f"  gemini: kind gemini, model {GEMINI_MODEL}, no key set\n"
    )
    environ = {"A_KEY": "sk-secret", "STREAMSVC_PROVIDER": "a"}
    result = run(tmp_path, "check-config", environ=environ)
    assert "Provider: 'a'." in result.stdout
    assert "  a: kind openai, model m, key set\n" in result.stdout


def test_without_a_file_the_defaults_are_described(tmp_path: Path) -> None:
    result = run(tmp_path, "check-config")
    assert result.returncode == 0
    assert "Configuration OK (no file, defaults)." in result.stdout


def test_settings_are_checked_with_the_flags_of_serve(tmp_path: Path) -> None:
    result = run(tmp_path, "check-config", "--provider", "openai", environ={"OPENAI_API_KEY": "k"})
    assert result.returncode == 0
    assert "Provider: 'openai'." in result.stdout
    result = run(tmp_path, "check-config", "--port", "http", "--workers", "0")
    assert result.returncode == 2
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "--port",
        "--workers",
    ]


def test_params_prints_the_fate_of_each_parameter(tmp_path: Path) -> None:
    """Without an entry, it is the configured one."""
    result = run(tmp_path, "params", "gemini")
    assert (result.returncode, result.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (*lines,) == get_args(ParameterName)
    assert lines["top_p"] == "sent as generationConfig.topP"
    assert lines["logit_bias"] == "not supported; refused"
    assert {
        line.index(fate)
        for line, fate in zip(result.stdout.splitlines(), lines.values(), strict=True)
    } == {24}
    environ = {
        "STREAMSVC_PROVIDERS__FAKE__PARAMS_LACKED": "seed,image_url",
        "STREAMSVC_PROVIDERS__FAKE__PARAMS_UNSUPPORTED": "drop",
    }
    result = run(tmp_path, "params", environ=environ)
    assert result.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["seed"] == "not supported: params_lacked names it; dropped"
    assert lines["image_url"] == "not supported: params_lacked names it; refused"


@pytest.mark.promise("input:clear-error")
def test_params_of_an_unknown_entry_names_the_known_ones(tmp_path: Path) -> None:
    result = run(tmp_path, "params", "opnai")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "Unknown provider 'opnai'; configured: fake, gemini, openai.\n"


@pytest.mark.promise("secret:kept")
def test_description_shows_no_key_even_in_the_wrong_place(
    tmp_path: Path,
) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__A__KIND": "gemini",
        "STREAMSVC_PROVIDERS__A__MODEL": "m",
        "STREAMSVC_PROVIDERS__A__API_KEY_ENV": "AIzaSySecret",
        "AIzaSySecret": "sk-secret",
    }
    result = run(tmp_path, "check-config", environ=environ)
    assert result.returncode == 0
    assert "ecret" not in result.stdout + result.stderr


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "command", [["check-config"], ["serve"], ["params"], ["ask", "--direct", "hello"]]
)
def test_mistake_is_one_line_on_standard_error(tmp_path: Path, command: list[str]) -> None:
    """This holds for every command, and nothing starts."""
    named = tmp_path / "bad.toml"
    named.write_text("[server]\nport = 70000\n")
    result = run(tmp_path, *command, "--config", named)
    assert (result.returncode, result.stdout) == (2, "")
    line = "server.port: found 70000; accepted: a whole number from 0 to 65535"
    assert result.stderr == f"{named}: {line}\n"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("command", [["check-config"], ["serve"], ["ask", "hello"]], ids=str)
def test_unreadable_certificates_are_one_line(tmp_path: Path, command: list[str]) -> None:
    """Otherwise every HTTP client would fail with a traceback."""
    (tmp_path / "none.pem").write_text("no certificate")
    for path in ("missing.pem", "none.pem"):
        result = run(tmp_path, *command, environ={"SSL_CERT_FILE": path})
        assert (result.returncode, result.stdout) == (2, "")
        accepted = "a readable file of PEM certificates"
        assert result.stderr == f"SSL_CERT_FILE: found {path!r}; accepted: {accepted}\n"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["ask"], ["serve", "--nonsense", "1"]])
def test_invalid_arguments_print_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: streamsvc")
    assert "Traceback" not in result.stderr


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    returncode: int
    stdout: str
    stderr: str


RunHere = Callable[..., Said]


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunHere:
    """Run a command that ends at once, in this process and an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - environment({}).keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Said:
        try:
            code = main(arguments)
        except SystemExit as exc:  # as argparse ends a process
            code = int(exc.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("command", "option", "setting"),
    [
        ("serve", ["--drain-seconds", "1"], "server.drain_seconds|SERVER__DRAIN_SECONDS"),
        ("serve", ["--server-hosts=a"], "server.hosts|SERVER__HOSTS"),
        ("demo", ["--hosts", "a"], "server.hosts|SERVER__HOSTS"),
        ("params", ["--provider=openai"], "provider|PROVIDER"),
    ],
)
def test_option_that_is_a_setting_gets_a_hint(
    run_here: RunHere, command: str, option: list[str], setting: str
) -> None:
    result = run_here(command, *option)
    assert (result.returncode, result.stdout) == (2, "")
    key, variable = setting.split("|")
    line = result.stderr.splitlines()[-1]
    unknown = f"unrecognized arguments: {' '.join(option)}"
    hint = f"(set {key} in config.toml, or STREAMSVC_{variable})"
    assert line == f"streamsvc {command}: error: {unknown} {hint}"


@pytest.mark.promise("input:clear-error")
def test_demo_says_what_it_sets_itself(run_here: RunHere) -> None:
    """Whoever reaches its page may kill workers, so it listens on loopback whatever the settings say."""
    result = run_here("demo", "--host", "::1")
    assert result.returncode == 2
    assert result.stderr.endswith(
        "unrecognized arguments: --host ::1 (the demo sets server.host itself)\n"
    )


def test_help_of_serve_names_each_flag_with_its_setting_and_default(run_here: RunHere) -> None:
    result = run_here("serve", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.strip() for line in result.stdout.splitlines()]
    for flag, path in OPTIONS.items():
        [line] = [line for line in lines if line.startswith(flag)]
        assert line.endswith(f"(`{dotted(path)}`, default: {default_of(path)})")
    assert default_of(("server", "port")) == "8000"
    assert default_of(("server", "watch_config")) == "false"


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_help_has_examples_that_are_accepted(run_here: RunHere, command: list[str]) -> None:
    result = run_here(*command, "--help")
    examples = result.stdout.partition("examples:\n")[2].splitlines()
    commands = [re.split(r"  +", line.strip())[0] for line in examples if "streamsvc " in line]
    assert len(commands) >= 4
    for line in commands:
        if not line.startswith("`"):
            program, *arguments = shlex.split(line)
            assert program == "streamsvc"
            assert parse(arguments).command == arguments[0]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("flag", "text", "accepted"),
    [
        ("--port", "http", "a whole number from 0 to 65535"),
        ("--host", "", "a string, not empty"),
        ("--provider", "opnai", "the name of an entry, one of 'fake', 'gemini', 'openai'"),
        ("--log-level", "loud", "one of 'debug', 'error', 'info', 'warning'"),
    ],
)
def test_mistake_in_a_flag_names_the_flag(
    run_here: RunHere, flag: str, text: str, accepted: str
) -> None:
    result = run_here("serve", f"{flag}={text}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"{flag}: found {text!r}; accepted: {accepted}\n"


@pytest.mark.promise("input:clear-error")
def test_a_flag_that_opens_the_service_to_others_is_refused_by_its_name(run_here: RunHere) -> None:
    result = run_here("serve", "--host", "0.0.0.0")  # it is refused
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("--host: found '0.0.0.0'; accepted: a loopback address")


@pytest.mark.parametrize(
    ("flag", "variable", "path"),
    [
        ("--host", "SERVER__HOST", ("server", "host")),
        ("--port", "SERVER__PORT", ("server", "port")),
        ("--provider", "PROVIDER", ("provider",)),
        ("--log-level", "SERVER__LOG_LEVEL", ("server", "log_level")),
    ],
)
def test_flags_override_variables_which_override_the_file(
    tmp_path: Path, flag: str, variable: str, path: tuple[str, ...]
) -> None:
    kinds = {
        "--host": ("127.0.0.2", "127.0.0.3", "127.0.0.4"),
        "--port": ("1", "2", "3"),
        "--provider": ("a", "b", "c"),
        "--log-level": ("debug", "error", "warning"),
    }
    filed, set_, given = kinds[flag]
    values = {"host": "'127.0.0.2'", "port": "1", "log_level": "'debug'"}
    server = "\n".join(f"{name} = {value}" for name, value in values.items())
    entries = "\n".join(f"[providers.{name}]\nkind = 'fake'" for name in "abc")
    file = tmp_path / "config.toml"
    file.write_text(f"provider = 'a'\n[server]\n{server}\n{entries}\n")
    environ = {f"STREAMSVC_{variable}": set_}
    options = options_of(parse(["serve", flag, given]))
    assert _at(load(file, {}), path) == filed
    assert _at(load(file, environ), path) == set_
    assert _at(load(file, environ, options), path) == given


def _at(settings: Settings, path: tuple[str, ...]) -> str:
    value: object = settings
    for name in path:
        value = getattr(value, name)
    return str(value)


def test_reload_needs_no_value(tmp_path: Path) -> None:
    options = options_of(parse(["serve", "--reload"]))
    assert options == {"--reload": "true"}
    file = tmp_path / "config.toml"
    file.write_text("")
    assert load(file, {}, options).server.watch_config is True


def test_a_provider_that_is_asked_for_is_not_a_setting() -> None:
    """A running service may have entries that the settings here do not name."""
    arguments = parse(["ask", "--provider", "theirs", "hello"])
    assert (arguments.provider, options_of(arguments)) == ("theirs", {})


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("arguments", "environ", "place"),
    [
        (["serve", "--workers", "2"], {}, "--workers"),
        (["serve"], {"STREAMSVC_SERVER__WORKERS": "2"}, "STREAMSVC_SERVER__WORKERS"),
        (["check-config"], {"STREAMSVC_SERVER__WORKERS": "2"}, "STREAMSVC_SERVER__WORKERS"),
    ],
)
def test_several_workers_without_redis_are_refused_in_a_sentence(
    tmp_path: Path, arguments: list[str], environ: Mapping[str, str], place: str
) -> None:
    result = run(tmp_path, *arguments, environ=environ)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"{place}: found 2; accepted: 1, because server.workers above 1 needs log.kind = 'redis': "
        "workers share answers through Redis\n"
    )


@pytest.mark.promise("input:clear-error")
def test_the_option_for_workers_overrides_the_setting(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_SERVER__WORKERS": "300",
        "STREAMSVC_SERVER__HOST": "192.0.2.1",
        "STREAMSVC_AUTH__ALLOW_ANONYMOUS": "true",
    }
    result = run(tmp_path, "serve", "--workers", "1", environ=environ)
    assert result.stderr == "server.host: '192.0.2.1' is not an address of this machine.\n"
    result = run(tmp_path, "serve", "--workers", "0", environ=environ)
    accepted = "accepted: a whole number from 1 to 256"
    assert (result.returncode, result.stderr) == (2, f"--workers: found '0'; {accepted}\n")


@pytest.mark.promise("input:clear-error")
def test_with_several_workers_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environ = {"STREAMSVC_SERVER__PORT": str(port), "STREAMSVC_LOG__KIND": "redis"}
        result = run(tmp_path, "serve", "--workers", "2", environ=environ)
    assert (result.returncode, result.stdout) == (2, "")
    reason = "is in use by another process"
    assert result.stderr.startswith(f"server.port: {port} on 127.0.0.1 {reason}; stop it, or ")
    assert result.stderr.count("\n") == 1


@pytest.mark.promise("input:clear-error")
def test_wrong_settings_of_the_workers_end_the_service(tmp_path: Path) -> None:
    """Only a worker reads the keys file."""
    config = b"[log]\nkind = 'redis'\n[server]\nport = 0\n[auth]\nkeys_file = 'keys.toml'\n"
    (tmp_path / "keys.toml").write_text("x = 1\n")
    done = subprocess.run(
        [*COMMAND, "serve", "--workers", "2", "--config", "/dev/stdin"],
        input=config,
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        timeout=100,
        check=False,
    )
    wrong, *_, died = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert wrong.startswith("keys.toml: x: found an unknown key")
    assert "worker.died number=1" in died
    assert "exit=2" in died


def test_unknown_option_that_is_nearly_one_gets_a_hint(tmp_path: Path) -> None:
    result = run(tmp_path, "serve", "--prt=1", "--nonsense")
    unknown = "unrecognized arguments: --prt=1 --nonsense (did you mean --port?)"
    assert result.stderr.endswith(f"streamsvc serve: error: {unknown}\n")
    result = run(tmp_path, "ask", "--prot=1", "hello")
    assert result.stderr.endswith("unrecognized arguments: --prot=1 (did you mean --port?)\n")
    result = run(tmp_path, "serve", "--nonsense")
    assert result.stderr.endswith("streamsvc serve: error: unrecognized arguments: --nonsense\n")


def test_version_is_the_packages(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"streamsvc {streamsvc.__version__}\n"
    assert streamsvc.__version__ == importlib.metadata.version("streamsvc")


@pytest.mark.promise("input:clear-error")
def test_every_mistake_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 70000\nprot = 1\n")
    result = run(tmp_path, "serve", environ={"STREAMSVC_PROVIDER": "opnai"})
    assert (result.returncode, result.stdout) == (2, "")
    assert [line.partition(": found")[0] for line in result.stderr.splitlines()] == [
        "config.toml: server.prot",
        "config.toml: server.port",
        "STREAMSVC_PROVIDER",
    ]
