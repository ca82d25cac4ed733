"""A bucket in this process that speaks as much of S3 as a registry asks for, without looking at signatures."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_DATE = "2026-01-01T00:00:00.000Z"


@dataclass
class Bucket:
    """Objects by their names, and uploads in parts that have not ended: name and parts by their id."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def part(self, source: str, first: str) -> bytes:
        """An object, or the range of it that ``bytes=0-9`` or ``bytes=0-`` names."""
        content = self.objects[source]
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", first)
        return content[int(found[1]) : int(found[2]) + 1 if found[2] else None] if found else content


class Handler(BaseHTTPRequestHandler):
    """One connection of the registry."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def _answer(self, make: Callable[[], tuple[int, bytes]]) -> None:
        place = urlsplit(self.path)
        _, _, self.name = unquote(place.path).strip("/").partition("/")
        self.query = dict(parse_qsl(place.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.bucket.lock:
            try:
                code, content = make()
            except KeyError:
                code, content = 404, _xml("Error", "<Code>NoSuchKey</Code>")
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{md5(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _get(self) -> tuple[int, bytes]:
        if "uploads" in self.query:
            found = [(name, upload) for upload, (name, _) in self.bucket.uploads.items()]
            rows = [f"<Upload><Key>{escape(name)}</Key><UploadId>{upload}</UploadId></Upload>" for name, upload in found
                    if name.startswith(self.query.get("prefix", ""))]  # fmt: skip
            return 200, _xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>" + "".join(rows))
        if "uploadId" in self.query:
            parts = self.bucket.uploads[self.query["uploadId"]][1]
            rows = [f"<Part><PartNumber>{number}</PartNumber><ETag>e</ETag><Size>{len(parts[number])}</Size></Part>"
                    for number in sorted(parts)]  # fmt: skip
            return 200, _xml("ListPartsResult", "<IsTruncated>false</IsTruncated>" + "".join(rows))
        if not self.name:
            return 200, self._listed()
        return (206 if "Range" in self.headers else 200), self.bucket.part(self.name, self.headers.get("Range", ""))

    def _listed(self) -> bytes:
        """Names with a prefix, up to a delimiter; those after the last one that the caller knows."""
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        most = int(self.query.get("max-keys", 1000))
        after = self.query.get("marker") or self.query.get("continuation-token") or ""
        rows: dict[str, str] = {}
        for name in sorted(self.bucket.objects):
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            whole = f"{prefix}{head}{found}" if found else name
            if name.startswith(prefix) and whole > after and not (found and whole == after):
                size = len(self.bucket.objects[name])
                rows[whole] = f"<CommonPrefixes><Prefix>{escape(whole)}</Prefix></CommonPrefixes>" if found else (
                    f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size><LastModified>{_DATE}</LastModified></Contents>"
                )  # fmt: skip
        names = list(rows)[:most]
        more = len(rows) > most and bool(names)
        told = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(names)}</KeyCount>"
        if more:
            last = escape(names[-1])
            told += f"<NextMarker>{last}</NextMarker><NextContinuationToken>{last}</NextContinuationToken>"
        return _xml("ListBucketResult", told + "".join(rows[name] for name in names))

    def _put(self) -> tuple[int, bytes]:
        content = self.body
        if source := self.headers.get("x-amz-copy-source"):
            _, _, name = unquote(source).strip("/").partition("/")
            content = self.bucket.part(name, self.headers.get("x-amz-copy-source-range", ""))
        if "uploadId" in self.query:
            self.bucket.uploads[self.query["uploadId"]][1][int(self.query["partNumber"])] = content
        else:
            self.bucket.objects[self.name] = content
        copied = _xml("CopyObjectResult", f"<ETag>e</ETag><LastModified>{_DATE}</LastModified>")
        return 200, copied if source else b""

    def _post(self) -> tuple[int, bytes]:
        if "uploads" in self.query:
            upload = f"u{len(self.bucket.uploads)}-{md5(self.name.encode(), usedforsecurity=False).hexdigest()}"
            self.bucket.uploads[upload] = (self.name, {})
            return 200, _xml("InitiateMultipartUploadResult",
                             f"<Key>{escape(self.name)}</Key><UploadId>{upload}</UploadId>")  # fmt: skip
        if "uploadId" in self.query:
            name, parts = self.bucket.uploads.pop(self.query["uploadId"])
            self.bucket.objects[name] = b"".join(parts[number] for number in sorted(parts))
            return 200, _xml("CompleteMultipartUploadResult", f"<Key>{escape(name)}</Key><ETag>e</ETag>")
        for item in ElementTree.fromstring(self.body).iter():
            if item.tag.rpartition("}")[2] == "Key" and item.text:
                self.bucket.objects.pop(item.text, None)
        return 200, _xml("DeleteResult", "")

    def _delete(self) -> tuple[int, bytes]:
        if "uploadId" in self.query:
            self.bucket.uploads.pop(self.query["uploadId"], None)
        else:
            self.bucket.objects.pop(self.name, None)
        return 204, b""

    def log_message(self, format: str, *values: object) -> None:
        pass


def _xml(name: str, inner: str) -> bytes:
    return f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{name}>'.encode()


@contextmanager
def bucket_served() -> Iterator[tuple[Bucket, str]]:
    """An empty bucket, and the address of the server that has it."""
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield bucket, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
