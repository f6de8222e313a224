"""What a workflow's event loop refuses: all that reaches out of the process, or out of the run.

asyncio and the libraries on top of it do their input and output through methods of the running loop. A
workflow must not do any, since replay could not repeat it (DESIGN rule 5).
"""

import asyncio
import sys
from typing import Any

from durably.engine.errors import Forbidden
from durably.engine.loop.whereabouts import called_by

__all__ = ["ForbiddenCalls"]


def _forbidden(name: str) -> Any:
    """A method that raises at once, before anything that would have to be awaited has been made."""

    def refuse(*_: object, **__: object) -> None:
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # documented
        raise Forbidden(f"{called_by(frame, f'loop.{name}')}()")

    refuse.__name__ = name
    return refuse


class ForbiddenCalls(asyncio.AbstractEventLoop):
    """An event loop without the methods that cannot be deterministic: each raises `Forbidden`."""

    __slots__ = ()

    # life of a loop: the engine drives it
    run_forever = _forbidden("run_forever")
    run_until_complete = _forbidden("run_until_complete")
    stop = _forbidden("stop")
    close = _forbidden("close")
    shutdown_asyncgens = _forbidden("shutdown_asyncgens")
    shutdown_default_executor = _forbidden("shutdown_default_executor")

    # settings
    set_task_factory = _forbidden("set_task_factory")
    set_exception_handler = _forbidden("set_exception_handler")
    set_debug = _forbidden("set_debug")
    set_default_executor = _forbidden("set_default_executor")

    # threads
    run_in_executor = _forbidden("run_in_executor")

    # network
    getaddrinfo = _forbidden("getaddrinfo")
    getnameinfo = _forbidden("getnameinfo")
    create_connection = _forbidden("create_connection")
    create_server = _forbidden("create_server")
    create_unix_connection = _forbidden("create_unix_connection")
    create_unix_server = _forbidden("create_unix_server")
    create_datagram_endpoint = _forbidden("create_datagram_endpoint")
    connect_accepted_socket = _forbidden("connect_accepted_socket")
    start_tls = _forbidden("start_tls")
    sendfile = _forbidden("sendfile")
    sock_accept = _forbidden("sock_accept")
    sock_connect = _forbidden("sock_connect")
    sock_recv = _forbidden("sock_recv")
    sock_recv_into = _forbidden("sock_recv_into")
    sock_recvfrom = _forbidden("sock_recvfrom")
    sock_recvfrom_into = _forbidden("sock_recvfrom_into")
    sock_sendall = _forbidden("sock_sendall")
    sock_sendfile = _forbidden("sock_sendfile")
    sock_sendto = _forbidden("sock_sendto")

    # files, pipes, processes, signals
    add_reader = _forbidden("add_reader")
    remove_reader = _forbidden("remove_reader")
    add_writer = _forbidden("add_writer")
    remove_writer = _forbidden("remove_writer")
    connect_read_pipe = _forbidden("connect_read_pipe")
    connect_write_pipe = _forbidden("connect_write_pipe")
    subprocess_exec = _forbidden("subprocess_exec")
    subprocess_shell = _forbidden("subprocess_shell")
    add_signal_handler = _forbidden("add_signal_handler")
    remove_signal_handler = _forbidden("remove_signal_handler")
