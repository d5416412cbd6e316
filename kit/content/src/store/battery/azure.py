"""Makes a container, or puts, gets or deletes a blob, whose content is a file
(Shared Key authorization); exits 3 if there is no such blob:

    azure.py ENDPOINT ACCOUNT KEY make|put|get|delete NAME [FILE]
"""

import base64
import hashlib
import hmac
import sys
import urllib.error
import urllib.request
from email.utils import formatdate

endpoint, account, key, verb, name, *file = sys.argv[1:]
path = f"/{account}/{name}"
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
content, length, kind, query, resource = None, "", "", "", ""
method, expected = {
    "make": ("PUT", 201),
    "put": ("PUT", 201),
    "get": ("GET", 200),
    "delete": ("DELETE", 202),
}[verb]
if verb == "make":
    query, resource = "?restype=container", "\nrestype:container"
if verb == "put":
    content = open(file[0], "rb").read()
    length, kind = str(len(content)), "application/octet-stream"
    headers["x-ms-blob-type"] = "BlockBlob"
own = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
to_sign = f"{method}\n\n\n{length}\n\n{kind}\n" + "\n" * 6 + f"{own}/{account}{path}{resource}"
signature = base64.b64encode(
    hmac.new(base64.b64decode(key), to_sign.encode(), hashlib.sha256).digest()
).decode()
headers["Authorization"] = f"SharedKey {account}:{signature}"
if kind:
    headers["Content-Type"] = kind
request = urllib.request.Request(f"{endpoint}{path}{query}", content, headers, method=method)
try:
    with urllib.request.urlopen(request) as response:
        assert response.status == expected, response.status
        if verb == "get":
            open(file[0], "wb").write(response.read())
except urllib.error.HTTPError as error:
    if error.code != 404:
        raise
    sys.exit(3)
