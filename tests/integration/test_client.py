"""The example edge service, which asks by way of libsluice, as a web server sees it."""

import http.client
import os
import time

from harness import BIN, ClusterTest, Process, free_ports, metronome, say, wait_for


class EdgeServiceTest(ClusterTest):
    cluster_options = {"nodes": 1}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = free_ports()
        cls.service = Process("edge-service", [os.path.join(BIN, "edge_service"), cls.port,
                                               cls.cluster.router.url], cls.cluster.directory)
        cls.cluster.processes.insert(0, cls.service.start())
        wait_for("the service answers", lambda: cls.get("nobody") is not None)

    @classmethod
    def get(cls, key, query=""):
        """(status, headers), or None if nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=10)
        try:
            connection.request("GET", "/" + query, headers={"x-api-key": key} if key else {})
            answer = connection.getresponse()
            answer.read()
            return answer.status, dict(answer.getheaders())
        except ConnectionError:
            return None
        finally:
            connection.close()

    def test_granted_and_refused(self):
        key = self.new_key("edge").decode()
        self.assertEqual(self.get(key, "?cost=990")[0], 200)
        self.assertEqual(self.get(key, "?cost=10")[0], 200)
        status, headers = self.get(key)
        self.assertEqual(status, 429)
        self.assertGreater(int({name.lower(): value for name, value in headers.items()}
                               ["retry-after"]), 3000)
        self.assertEqual(self.get(None)[0], 400)

    def test_the_client_outlives_its_router(self):
        key = self.new_key("edge").decode()
        self.assertEqual(self.get(key)[0], 200)
        self.cluster.router.kill9()
        metronome().reset()
        began = time.monotonic()
        self.assertEqual(self.get(key)[0], 503)
        self.assertLess(time.monotonic() - began, 2 + metronome().slack_s())
        self.cluster.router.start()
        began = time.monotonic()
        wait_for("takes are granted again", lambda: self.get(key)[0] == 200)
        say("libsluice had its answers again %.2f s after the router's start" %
            (time.monotonic() - began))
