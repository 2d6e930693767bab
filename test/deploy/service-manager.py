"""The part of a service manager that is told things: binds the Unix socket named first, prints each notification as a
line of JSON, and "silent" once nothing has come for the seconds named second, as systemd's watchdog counts them."""

import json
import socket
import sys

path, silent_seconds = sys.argv[1], float(sys.argv[2])
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(path)
print(json.dumps("bound"), flush=True)
while True:
    receiver.settimeout(silent_seconds)
    try:
        # What systemd-notify waits for is the end of a descriptor that comes along, and not taken here.
        assignments = receiver.recv(4096).decode().strip().split("\n")
    except TimeoutError:
        print(json.dumps("silent"), flush=True)
        continue
    if assignments != ["BARRIER=1"]:
        print(json.dumps(assignments), flush=True)
