# Varnish in front of the API. docs/behind-a-proxy.md explains it.
#
# varnishd -a :80 -f /etc/varnish/orders.vcl -p backend_idle_timeout=60
#
# The API closes a connection after 75 idle seconds (KEEP_ALIVE).
vcl 4.1;

backend orders {
    .host = "127.0.0.1";
    .port = "8000";
    .connect_timeout = 3s;
    .first_byte_timeout = 60s; # a read may wait 30 seconds for its Sync-Token
    .between_bytes_timeout = 60s;
    .probe = {
        .url = "/healthz";
        .interval = 2s;
        .timeout = 2s;
        .window = 3;
        .threshold = 2;
    }
}

# Where the proxy is that ends TLS. Varnish adds that proxy's address to X-Forwarded-For; the API takes the last address
# there for the client's.
acl tls_proxies {
    "127.0.0.1";
}

sub vcl_recv {
    if (client.ip ~ tls_proxies) {
        set req.http.X-Forwarded-For = regsub(req.http.X-Forwarded-For, ", *[^,]+$", "");
    }
    if (!req.http.Host && req.proto == "HTTP/1.1") {
        return (synth(400)); # Varnish would send the API a Host of its own
    }
    unset req.http.Upgrade;
    unset req.http.Range; # the API answers with the whole, and Varnish would cut a part out of it
    # Only the files of /docs are for everybody. All else goes to the API, each request by itself: a read that waits
    # for its Sync-Token must not hold up others for the same path. Never pipe: Varnish does not read what it pipes.
    if (req.url !~ "^/static/") {
        return (pass);
    }
}

sub vcl_backend_fetch {
    return (fetch); # with its body, which Varnish's own rules take off a GET: the API refuses filters there
}
