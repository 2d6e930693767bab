"""Calls of grpcio (gRPC's C core) with messages encoded by hand: grpcio_client.py HOST:PORT [CERTIFICATE].

Prints a line for each thing that is wrong, and exits 1 then.
"""

import hashlib
import os
import sys
import threading
import uuid

import grpc

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/"
ACTION_CACHE = "/build.bazel.remote.execution.v2.ActionCache/"
BYTE_STREAM = "/google.bytestream.ByteStream/"
DEADLINE_S = 60


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def number(field, value):
    return varint(field << 3) + varint(value)


def read_fields(message):
    at = 0

    def read_varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = read_varint()
        value = read_varint()
        if key & 7 == 2:
            yield key >> 3, message[at : at + value]
            at += value
        else:
            yield key >> 3, value


def digest(blob):
    return text(1, hashlib.sha256(blob).hexdigest()) + number(2, len(blob))


def name(blob):
    return f"{hashlib.sha256(blob).hexdigest()}/{len(blob)}"


class Client:
    def __init__(self, endpoint, certificate, compression=None):
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if certificate is None:
            channel = grpc.insecure_channel(endpoint, options, compression)
        else:
            with open(certificate, "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
            channel = grpc.secure_channel(endpoint, credentials, options, compression)
        self.channel = channel

    def unary(self, path, request, **extra):
        return self.channel.unary_unary(path)(request, timeout=extra.pop("timeout", DEADLINE_S), **extra)

    def write(self, blob, chunk_bytes, finish=True):
        resource = f"uploads/{uuid.uuid4()}/blobs/{name(blob)}"

        def requests():
            for at in range(0, max(len(blob), 1), chunk_bytes):
                data = blob[at : at + chunk_bytes]
                is_last = finish and at + chunk_bytes >= len(blob)
                yield text(1, resource) + number(2, at) + number(3, int(is_last)) + text(10, data)

        response = self.channel.stream_unary(BYTE_STREAM + "Write")(requests(), timeout=DEADLINE_S)
        return dict(read_fields(response)).get(1)

    def read(self, blob):
        responses = self.channel.unary_stream(BYTE_STREAM + "Read")(text(1, f"blobs/{name(blob)}"), timeout=DEADLINE_S)
        return b"".join(dict(read_fields(response)).get(10, b"") for response in responses)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def check_calls(client):
    yield "capabilities", len(client.unary(CAPABILITIES + "GetCapabilities", b"")) > 20
    for size_bytes in (0, 1, 16 * 1024, 1_000_000, 5_000_000):
        blob = os.urandom(size_bytes)
        yield f"{size_bytes} bytes are written", client.write(blob, 64 * 1024) == size_bytes
        yield f"{size_bytes} bytes are read", client.read(blob) == blob
    blob = os.urandom(100_000)
    yield "messages of 1000 bytes", client.write(blob, 1000) == len(blob)
    absent = os.urandom(10)
    missing = client.unary(CAS + "FindMissingBlobs", text(2, digest(blob)) + text(2, digest(absent)))
    yield "what is missing", missing == text(2, digest(absent))
    update = text(2, text(1, digest(absent)) + text(2, absent))
    client.unary(CAS + "BatchUpdateBlobs", update)
    batch = client.unary(CAS + "BatchReadBlobs", text(2, digest(absent)))
    yield "a batch", dict(read_fields(dict(read_fields(batch))[1])).get(2) == absent


def check_refusals(client):
    code = grpc.StatusCode
    absent = digest(os.urandom(7))
    yield "not found", code_of(lambda: client.unary(ACTION_CACHE + "GetActionResult", text(2, absent))) == code.NOT_FOUND
    yield "no such method", code_of(lambda: client.unary(CAS + "NoSuch", b"")) == code.UNIMPLEMENTED
    malformed = code_of(lambda: client.unary(CAS + "FindMissingBlobs", b"\xff\xff"))
    yield "malformed", malformed == code.INVALID_ARGUMENT
    huge = text(2, b"x" * 9_000_000)
    yield "too large", code_of(lambda: client.unary(CAS + "BatchUpdateBlobs", huge)) == code.RESOURCE_EXHAUSTED
    half = os.urandom(1000)
    yield "cut short", code_of(lambda: client.write(half, 100, finish=False)) == code.INVALID_ARGUMENT


def check_life(client):
    stalled = threading.Event()

    def never_ending():
        yield text(1, f"uploads/{uuid.uuid4()}/blobs/{name(os.urandom(10))}") + text(10, b"x")
        stalled.wait(DEADLINE_S)

    write = client.channel.stream_unary(BYTE_STREAM + "Write")
    late = code_of(lambda: write(never_ending(), timeout=0.2))
    yield "a deadline", late == grpc.StatusCode.DEADLINE_EXCEEDED
    cancelled = write.future(never_ending(), timeout=DEADLINE_S)
    cancelled.cancel()
    yield "a cancelled call", cancelled.cancelled()
    stalled.set()
    futures = [client.channel.unary_unary(CAPABILITIES + "GetCapabilities").future(b"") for _ in range(500)]
    yield "500 calls at once", len({future.result(DEADLINE_S) for future in futures}) == 1


def main():
    endpoint, certificate = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    plain, gzip = Client(endpoint, certificate), Client(endpoint, certificate, grpc.Compression.Gzip)
    checks = [*check_calls(plain), *check_refusals(plain), *check_life(plain)]
    checks += [(f"{what}, compressed", holds) for what, holds in check_calls(gzip)]
    wrong = [what for what, holds in checks if not holds]
    for what in wrong:
        print(what)
    print(f"{len(checks)} checks")
    sys.exit(1 if wrong else 0)


main()
