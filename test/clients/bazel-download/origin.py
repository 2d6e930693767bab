"""Serves a folder on a free port of 127.0.0.1; prints the port, and on stderr each path asked for and who asked."""

import functools
import http.server
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code="-", size="-"):
        print(self.path, self.headers["User-Agent"], file=sys.stderr, flush=True)

    def log_error(self, *_):
        pass


handler = functools.partial(Handler, directory=sys.argv[1])
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
