"""A live server for tests, on loopback, with a small network or a stand-in for one."""

from __future__ import annotations

import contextlib
import threading
import time

import uvicorn

from sammed3d.server.app import create_app
from sammed3d.server.compute.engine import Engine
from sammed3d.server.compute.scheduler import Scheduler
from sammed3d.server.http.connections import Connections, Shares
from sammed3d.server.http.protocol import ConfigOfServer, protocol_with
from sammed3d.wire.messages import ModelInfo


class LiveServer:
    """A server in a thread; can be stopped and started again at the same address, with empty caches."""

    def __init__(self, predictor, keys=None, devices=(), **options):
        self.weights = "0" * 64
        self._predictor, self._keys, self._devices, self._options = predictor, keys, devices, options
        self._port = 0
        self.start()

    @property
    def url(self):
        return f"{'https' if 'tls' in self._options else 'http'}://127.0.0.1:{self._port}"

    def start(self):
        preset, capabilities = self._predictor.preset, self._predictor.capabilities
        model = ModelInfo("default", "Test model", self.weights, "Apache-2.0", preset, capabilities, "cpu")
        devices = self._devices or [Scheduler({"default": self._predictor}, self._options.get("batch", 1))]
        of_engine = {k: v for k, v in self._options.items() if k in ("cache_mib", "queue", "quotas", "shared")}
        self.engine = Engine([model], devices, **of_engine)
        rest = {
            k: v for k, v in self._options.items() if k in ("hosts", "max_body", "facades", "origins", "uploads_mib")
        }
        self.app = app = create_app(self.engine, self._keys, **rest)
        self.connections = Connections(self._options.get("shares", Shares()))
        config = ConfigOfServer(
            app,
            host="127.0.0.1",
            port=self._port,
            http=protocol_with(self.connections),
            ws="none",
            log_level="warning",
            access_log=False,
        )
        if "tls" in self._options:
            config.ssl_certfile, config.ssl_keyfile = self._options["tls"]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]

    def start_with(self, predictor, weights):
        """Start again at the same address with another model under the same name."""
        self._predictor, self.weights = predictor, weights
        self.start()

    def start_with_keys(self, keys):
        """Start again at the same address for other keys."""
        self._keys = keys
        self.start()

    def stop(self):
        self._server.should_exit = True
        self._thread.join(3)
        self._server.force_exit = True
        self._thread.join(10)


@contextlib.contextmanager
def serving(predictor, keys=None, **options):
    """Run a server for a while."""
    server = LiveServer(predictor, keys, **options)
    try:
        yield server
    finally:
        server.stop()
