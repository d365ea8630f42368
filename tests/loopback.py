"""httpx for servers on this machine: `loopback.Client`, `loopback.get` and so on.

A client that may speak TLS reads the certificates of all authorities first. That takes 25 ms, more than most requests.
"""

import ssl
from functools import partial

import httpx

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

Client = partial(httpx.Client, verify=NO_TLS)
AsyncClient = partial(httpx.AsyncClient, verify=NO_TLS)
get = partial(httpx.get, verify=NO_TLS)
post = partial(httpx.post, verify=NO_TLS)
delete = partial(httpx.delete, verify=NO_TLS)
head = partial(httpx.head, verify=NO_TLS)
