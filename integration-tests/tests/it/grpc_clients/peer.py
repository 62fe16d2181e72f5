"""A gRPC server and a gRPC client of grpcio, the library that gRPC is known by.

    peer.py serve              says where it listens, and serves until it is killed
    peer.py call ADDRESS HOST  makes every kind of call, and prints what came of each as JSON
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "shop.Cart"
# Nothing but what a test says: no proxies of the environment, and no tries of the client's own.
OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
LARGE = 3 << 20


class Cart:
    """Each method takes and gives bytes."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tries = {}
        self.cancelled = 0

    def unary(self, request, context):
        context.set_trailing_metadata((("sum", str(len(request))),))
        caller = dict(context.invocation_metadata()).get("x-forwarded-client-cert", "")
        return request + b" for " + caller.rpartition("URI=")[2].encode()

    def fail(self, request, context):
        context.set_trailing_metadata((("why-bin", b"\x00\xff"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the cart is empty: 100 % öde")

    def flaky(self, request, context):
        with self.lock:
            tries = self.tries[request] = self.tries.get(request, 0) + 1
        if tries <= 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return str(tries).encode()

    def wait(self, request, context):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(60)
        with self.lock:
            self.cancelled += 1
        return b""

    def cancelled_calls(self, request, context):
        return str(self.cancelled).encode()

    def count(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def count_and_fail(self, request, context):
        yield from self.count(request, context)
        context.abort(grpc.StatusCode.OUT_OF_RANGE, "there are no more")

    def add(self, requests, context):
        return str(sum(int(request) for request in requests)).encode()

    def echo(self, requests, context):
        for request in requests:
            yield request


def serve():
    cart = Cart()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(cart.unary),
        "Fail": grpc.unary_unary_rpc_method_handler(cart.fail),
        "Flaky": grpc.unary_unary_rpc_method_handler(cart.flaky),
        "Wait": grpc.unary_unary_rpc_method_handler(cart.wait),
        "Cancelled": grpc.unary_unary_rpc_method_handler(cart.cancelled_calls),
        "Count": grpc.unary_stream_rpc_method_handler(cart.count),
        "CountAndFail": grpc.unary_stream_rpc_method_handler(cart.count_and_fail),
        "Add": grpc.stream_unary_rpc_method_handler(cart.add),
        "Echo": grpc.stream_stream_rpc_method_handler(cart.echo),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port} (--grpc)", flush=True)
    server.wait_for_termination()


class Caller:
    def __init__(self, address, host):
        options = OPTIONS + [("grpc.default_authority", host)]
        self.channel = grpc.insecure_channel(address, options=options)

    def method(self, kind, name):
        return getattr(self.channel, kind)(f"/{SERVICE}/{name}")

    def unary(self, name, request, **more):
        return self.method("unary_unary", name)(request, timeout=more.pop("timeout", 20), **more)


def failure(call):
    """What a call fails of: its code, its words, and its trailers that are not gRPC's own."""
    try:
        call()
    except grpc.RpcError as error:
        trailers = {name: value.hex() for name, value in error.trailing_metadata() or () if name.endswith("-bin")}
        return [error.code().name, error.details(), trailers]
    return ["OK", "", {}]


def cancel(caller):
    call = caller.method("unary_unary", "Wait").future(b"")
    # It has come as far as the server's sidecar, or further, when another call has been there and back.
    caller.unary("Unary", b"")
    call.cancel()
    return call.code().name


def in_turn(caller):
    """Each message is sent when the one before has come back."""
    turn = threading.Semaphore(1)

    def requests():
        for number in range(100):
            turn.acquire()
            yield str(number).encode()

    seen = []
    for answer in caller.method("stream_stream", "Echo")(requests(), timeout=20):
        seen.append(int(answer))
        turn.release()
    return seen == list(range(100))


def call(address, host):
    caller = Caller(address, host)
    numbers = [str(number).encode() for number in range(1000)]
    answer, details = caller.method("unary_unary", "Unary").with_call(b"hello", timeout=20)
    large = b"x" * LARGE
    started = time.monotonic()
    deadline = failure(lambda: caller.unary("Wait", b"", timeout=0.5))
    waited = time.monotonic() - started
    cancelled = cancel(caller)
    said = []

    def count_and_fail():
        said.extend(int(number) for number in caller.method("unary_stream", "CountAndFail")(b"3", timeout=20))

    result = {
        "unary": [answer.decode(), dict(details.trailing_metadata()).get("sum")],
        "large": caller.unary("Unary", large).startswith(large),
        "fail": failure(lambda: caller.unary("Fail", b"")),
        "missing": failure(lambda: caller.unary("Missing", b""))[0],
        "count": [int(number) for number in caller.method("unary_stream", "Count")(b"1000", timeout=20)]
        == list(range(1000)),
        "count_and_fail": [failure(count_and_fail), said],
        "add": int(caller.method("stream_unary", "Add")(iter(numbers), timeout=20)),
        "echo": in_turn(caller),
        "deadline": [deadline[0], 0.4 < waited < 5],
        "cancel": cancelled,
        "flaky": caller.unary("Flaky", b"one").decode(),
        "flaky_once": failure(lambda: caller.unary("Flaky", b"two", metadata=(("outrigger-no-retry", "1"),)))[0],
    }
    # The server hears of both that nobody waits for.
    until = time.monotonic() + 20
    while caller.unary("Cancelled", b"") != b"2" and time.monotonic() < until:
        time.sleep(0.02)
    result["cancelled"] = int(caller.unary("Cancelled", b""))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        call(*sys.argv[2:])
