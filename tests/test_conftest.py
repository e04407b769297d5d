"""The guards of the suite itself."""

import socket

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("huggingface.co", 443)])
def test_no_test_reaches_another_machine(address: tuple[str, int]) -> None:
    with socket.socket() as one, pytest.raises(RuntimeError, match=f"tried to reach {address[0]}:{address[1]}"):
        one.connect(address)


def test_this_machine_may_be_reached() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        assert client.getpeername() == server.getsockname()
