"""The operations of tickets."""

from collections.abc import Mapping

from streamsvc.web.openapi import errors
from streamsvc.web.openapi.native import NOTHING_MORE, STREAM, query
from streamsvc.web.openapi.operation import Answer, Body, Operation, json
from streamsvc.web.requests import TICKET_PARAMETERS

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/tickets"): Operation(
        id="createTicket",
        tag="native",
        summary="Create a ticket, with which a page opens one stream.",
        description="The ticket is for a generation of the caller, or for a request: that is checked now, and begins"
        " when the ticket is opened.",
        body=Body("TicketBody", {"request": {"request": {"prompt": "Why stream?"}}}),
        answers={201: Answer("The ticket.", json("NewTicket"))},
        errors=(*errors.OF_BODY, *errors.OF_GENERATION),
    ),
    ("GET", "/v1/stream"): Operation(
        id="openTicket",
        tag="native",
        summary="Stream what a ticket is for, or resume that.",
        description="For an `EventSource`, which needs no other credential. A ticket opens its stream once; after that,"
        " only a client with a cursor can use it. A ticket that opens nothing is answered with one `done`, or with an"
        " error if the client asks for plain text.",
        parameters=(*query(TICKET_PARAMETERS), "Last-Event-ID"),
        answers={200: STREAM, 204: NOTHING_MORE},
        errors=(*errors.OF_TICKET, *errors.OF_GENERATION, *errors.OF_CREATING_BY_GET),
    ),
}
