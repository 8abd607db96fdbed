"""toxiproxy-python 0.1.1 from PyPI, as its documentation uses it."""

import json
import socket
import sys
import threading
import time

from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

host, port = sys.argv[1].rsplit(":", 1)
server = Toxiproxy()
server.update_api_consumer(host, int(port))

listener = socket.create_server(("127.0.0.1", 0))
upstream = "127.0.0.1:%d" % listener.getsockname()[1]


def echo(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def serve():
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()


def round_trip(proxy):
    at = proxy.listen.rsplit(":", 1)
    with socket.create_connection((at[0], int(at[1])), timeout=30) as connection:
        began = time.monotonic()
        connection.sendall(b"ping")
        answer = connection.recv(4)
        return answer, time.monotonic() - began


def raises(error, what):
    try:
        what()
    except error:
        return
    raise AssertionError("%s was not raised" % error.__name__)


assert server.running()
assert json.loads(server.version())["version"] >= "2.6.0"
server.destroy_all()

proxy = server.create(upstream=upstream, name="echo")
assert proxy.enabled and proxy.listen.startswith("127.0.0.1:")
assert server.get_proxy("echo").upstream == upstream
assert server.get_proxy("nobody") is None
raises(ProxyExists, lambda: server.create(upstream=upstream, name="echo"))
assert round_trip(proxy)[0] == b"ping"

proxy.add_toxic(type="latency", attributes={"latency": 300, "jitter": 0})
toxic = proxy.get_toxic("latency_downstream")
assert toxic.attributes == {"latency": 300, "jitter": 0} and toxic.toxicity == 1
assert round_trip(proxy)[1] >= 0.3
raises(ProxyExists, lambda: proxy.add_toxic(type="latency"))
raises(InvalidToxic, lambda: proxy.add_toxic(type="nothing"))
raises(InvalidToxic, lambda: proxy.add_toxic(type="latency", stream="sideways", name="s"))
raises(NotFound, lambda: proxy.destroy_toxic("nothing"))
proxy.destroy_toxic("latency_downstream")
assert proxy.toxics() == {}

for kind, attributes in [
    ("bandwidth", {"rate": 100}),
    ("slow_close", {"delay": 10}),
    ("timeout", {"timeout": 10}),
    ("slicer", {"average_size": 64, "size_variation": 32, "delay": 10}),
    ("limit_data", {"bytes": 100}),
    ("reset_peer", {"timeout": 0}),
    ("noop", {}),
]:
    for stream in ["upstream", "downstream"]:
        proxy.add_toxic(type=kind, stream=stream, toxicity=0.5, attributes=attributes)
        toxic = proxy.get_toxic("%s_%s" % (kind, stream))
        assert (toxic.type, toxic.stream, toxic.toxicity) == (kind, stream, 0.5)
        assert {name: toxic.attributes[name] for name in attributes} == attributes

server.reset()
assert proxy.toxics() == {}

with proxy.down():
    assert not server.get_proxy("echo").enabled
    raises(OSError, lambda: round_trip(proxy))
assert server.get_proxy("echo").enabled
assert round_trip(proxy)[0] == b"ping"

made = server.populate([{"name": "echo", "upstream": upstream, "listen": proxy.listen}, {"name": "more", "upstream": upstream, "listen": "127.0.0.1:0"}])
assert [one.name for one in made] == ["more"]
server.destroy(server.get_proxy("more"))
server.destroy_all()
assert server.proxies() == {}
print("toxiproxy-python: its operations work")
