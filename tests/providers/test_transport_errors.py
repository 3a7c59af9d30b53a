"""Each error of the HTTP client becomes one provider error, in one place."""

import pytest

from streamsvc.provider_errors import (
    ProviderError,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers.error_mapping import error_for_transport, transport_errors_mapped
from streamsvc.providers.http.errors import (
    BodyCut,
    ConnectFailed,
    ConnectTimedOut,
    LineTooLong,
    NoResponse,
    TransportError,
    UnusableEndpoint,
)

EXPECTED: dict[type[TransportError], tuple[TransportError, type[ProviderError]]] = {
    UnusableEndpoint: (UnusableEndpoint("why"), ProviderUnavailable),
    ConnectFailed: (ConnectFailed(), ProviderUnavailable),
    ConnectTimedOut: (ConnectTimedOut(), ProviderTimedOut),
    NoResponse: (NoResponse(has_begun=False), ProviderUnavailable),
    BodyCut: (BodyCut(), UpstreamCut),
    LineTooLong: (LineTooLong(), UpstreamInvalid),
}


def test_every_transport_error_is_mapped() -> None:
    assert set(TransportError.__subclasses__()) == set(EXPECTED)
    for error, kind in EXPECTED.values():
        mapped = error_for_transport(error)
        assert type(mapped) is kind
        assert mapped.__cause__ is error


def test_connect_timeout_names_its_deadline() -> None:
    error = error_for_transport(ConnectTimedOut())
    assert isinstance(error, ProviderTimedOut)
    assert error.deadline == "connect"


def test_mapping_keeps_the_causes_and_other_exceptions() -> None:
    with pytest.raises(ProviderUnavailable) as caught, transport_errors_mapped:
        raise ConnectFailed from ConnectionRefusedError()
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert isinstance(caught.value.__cause__.__cause__, ConnectionRefusedError)
    with pytest.raises(ZeroDivisionError), transport_errors_mapped:
        raise ZeroDivisionError
