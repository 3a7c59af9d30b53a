"""The `model` of a chat completion: a provider entry, and after a slash one of its models."""

from conftest import Serve
from streamsvc.config.settings import Settings
from support.chat_completions import ASKED, BOUNDED, HURRIED, asking, assert_is_error, chunks, post
from support.service import Service
from support.shared import fresh_upstream, shared_service
from support.upstreams import OPENAI, Upstream, finish, status, text

service = shared_service(BOUNDED)
api = fresh_upstream()


async def test_model_after_the_entry_name_goes_upstream(api: Upstream, serve: Serve) -> None:
    service = await serve(asking(api))
    api.script((text("One"), finish()))
    await post(service, {**ASKED, "model": "fake/meta-llama/llama-3:free"})
    await post(service, ASKED)
    assert [call.body["model"] for call in api.calls] == ["meta-llama/llama-3:free", "gpt-test"]


async def test_entry_name_may_have_a_slash(service: Service) -> None:
    answer, _ = await post(service, {**ASKED, "model": "a/b"})
    assert answer.status == 200


async def test_chunks_name_the_requested_model(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))
    _, raw = await post(service, {**ASKED, "model": "fake/other", "stream": True})
    assert {chunk["model"] for chunk in chunks(raw)} == {"other"}


async def test_fallback_is_asked_for_its_own_model(api: Upstream, serve: Serve) -> None:
    first = OPENAI.entry(api.url, attempts=1, fallbacks=("other",))
    other = OPENAI.entry(api.url, model="its-own")
    service = await serve(Settings(providers={"fake": first, "other": other}))
    api.script((status(500),), (text("One"), finish()))
    await post(service, {**ASKED, "model": "fake/overridden"})
    assert [call.body["model"] for call in api.calls] == ["overridden", "its-own"]


async def test_unknown_models_do_not_open_the_circuit(api: Upstream, serve: Serve) -> None:
    """Otherwise one client could switch an entry off for everyone."""
    service = await serve(asking(api))
    api.script((status(404),))
    for _ in range(5):
        answer, _ = await post(service, {**ASKED, "model": "fake/none"})
        assert answer.status == 404
    (entry,) = service.supervisor.entries
    assert entry.circuit.state == "closed"


async def test_entry_without_its_key_is_not_ready_and_not_listed(service: Service) -> None:
    answer, body = await post(service, {**ASKED, "model": "keyless"})
    assert_is_error(answer, body, 503, "model", "provider_not_ready")
    assert answer.headers["x-should-retry"] == "false"
    models = (await service.client.get("/v1/models")).json()
    assert models == {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 0, "owned_by": "fake"}
            for name in ("fake", "a/b")
        ],
    }
